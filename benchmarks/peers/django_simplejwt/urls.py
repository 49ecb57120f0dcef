"""The routes: SimpleJWT's own, and one that asks who is calling."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView


@api_view(["GET"])
@permission_classes([IsAuthenticated])
def verify(request: HttpRequest) -> Response:
    """Say who is calling."""
    return Response(status=204, headers={"X-Auth-Subject": str(request.user.pk)})


def ready(_: HttpRequest) -> HttpResponse:
    """Say that it runs."""
    return HttpResponse()


urlpatterns = [
    path("login", TokenObtainPairView.as_view()),
    path("refresh", TokenRefreshView.as_view()),
    path("verify", verify),
    path("ready", ready),
]
