"""The pages that links in mails lead to, unless a deployment has pages of its own."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from keyturn.delivery.http.errors import RouteNotFound

router = APIRouter(include_in_schema=False, prefix="/account")

_FOLDER = Path(str(files("keyturn.delivery.http") / "assets"))
_ASSETS = frozenset({"account.css", "account.js"})
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
}


@router.get("/verify-email")
async def show_email_page() -> FileResponse:
    """Return the page that confirms an address; the token stays in the browser until it does."""
    return FileResponse(_FOLDER / "verify-email.html", headers=_HEADERS)


@router.get("/reset-password")
async def show_password_page() -> FileResponse:
    """Return the page that sets a new password."""
    return FileResponse(_FOLDER / "reset-password.html", headers=_HEADERS)


@router.get("/assets/{name}")
async def show_page_asset(name: str) -> FileResponse:
    """Return the script or the style of the pages."""
    if name not in _ASSETS:
        raise RouteNotFound
    return FileResponse(_FOLDER / name, headers={"Cache-Control": "public, max-age=3600"})
