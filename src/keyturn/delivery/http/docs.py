"""Swagger UI, served from here: it works offline and under a strict Content-Security-Policy."""

from functools import cache
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from keyturn.delivery.http.errors import RouteNotFound

router = APIRouter(include_in_schema=False)

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@cache
def _asset_files() -> dict[str, Path]:
    # Only files are taken from the package that carries Swagger UI; its code never runs.
    swagger_ui = Path(str(distribution("fastapi-swagger").locate_file("fastapi_swagger/resources")))
    own = Path(str(files("keyturn.delivery.http") / "assets"))
    return {
        "swagger-ui.css": swagger_ui / "swagger-ui.css",
        "swagger-ui-bundle.js": swagger_ui / "swagger-ui-bundle.js",
        "favicon.png": swagger_ui / "favicon-32x32.png",
        "start.js": own / "start.js",
    }


_PAGE = Path(str(files("keyturn.delivery.http") / "assets" / "docs.html"))


@router.get("/docs")
async def show_docs() -> FileResponse:
    """Return the page."""
    return FileResponse(_PAGE, headers={"Content-Security-Policy": _CONTENT_SECURITY_POLICY})


@router.get("/docs/{name}")
async def show_asset(name: str) -> FileResponse:
    """Return a script, style or image of the page."""
    path = _asset_files().get(name)
    if path is None:
        raise RouteNotFound
    return FileResponse(path, headers={"Cache-Control": "public, max-age=3600"})
