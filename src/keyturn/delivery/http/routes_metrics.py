"""Figures for Prometheus."""

from abc import abstractmethod
from typing import Protocol

from fastapi import APIRouter, Request, Response

from keyturn.delivery.http.openapi import operation_id


class MetricsPage(Protocol):
    """All figures as they are now."""

    @abstractmethod
    async def render(self) -> bytes:
        """Return them as text."""

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The media type of the text."""


router = APIRouter(tags=["Operations"], generate_unique_id_function=operation_id)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The figures."}},
)
async def metrics(request: Request) -> Response:
    """Return the figures of all workers of this machine; none of them speaks of one person."""
    page: MetricsPage = request.app.state.keyturn_metrics
    return Response(await page.render(), media_type=page.content_type)
