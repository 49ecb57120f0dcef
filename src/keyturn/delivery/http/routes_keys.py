"""The public keys by which other services verify tokens."""

import hashlib
from abc import abstractmethod
from typing import Annotated, Protocol

from fastapi import APIRouter, Header, Request, Response

from keyturn.delivery.http.openapi import operation_id
from keyturn.delivery.http.schemas_keys import JwkSet


class PublishedKeys(Protocol):
    """The keys as they are now."""

    @abstractmethod
    def jwks(self) -> bytes:
        """Return the public keys as a JWK Set (RFC 7517 §5); the same keys give the same bytes."""


router = APIRouter(tags=["OAuth 2"], generate_unique_id_function=operation_id)

_CACHED = "public, max-age=300"
_HEADERS = {
    "ETag": {"description": "Names these keys.", "schema": {"type": "string"}},
    "Cache-Control": {"description": "Five minutes.", "schema": {"type": "string"}},
}


@router.get(
    "/.well-known/jwks.json",
    summary="The public keys",
    response_model=JwkSet,
    responses={
        200: {"headers": _HEADERS},
        304: {"description": "The keys are those of the `ETag` sent.", "headers": _HEADERS},
    },
)
async def published_keys(
    request: Request,
    if_none_match: Annotated[
        str | None, Header(description="The `ETag` of the keys that are known.")
    ] = None,
) -> Response:
    """Return the keys that sign, will sign and have signed tokens that are still good.

    A key is published before it signs. The set is empty where tokens are signed with a secret
    (HS256): nobody else can verify those.
    """
    keys: PublishedKeys = request.app.state.keyturn_published_keys
    body = keys.jwks()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": _CACHED}
    if if_none_match is not None and _names(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _names(if_none_match: str, etag: str) -> bool:
    """Whether the header has the tag, compared weakly (RFC 9110 §13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
