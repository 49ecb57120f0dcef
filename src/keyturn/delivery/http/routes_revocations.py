"""The revocation feed, for services that check tokens by themselves."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from keyturn.delivery.http.dependencies import services_of
from keyturn.delivery.http.errors import ValidationFailed
from keyturn.delivery.http.oauth_clients import ClientScheme, client_of
from keyturn.delivery.http.openapi import operation_id, problems
from keyturn.delivery.http.schemas_oauth import RevocationFeed
from keyturn.domain.errors import ClientNotAllowed, InvalidClient, StoreUnavailable

router = APIRouter(
    prefix="/v1",
    tags=["OAuth 2"],
    dependencies=[Depends(ClientScheme())],
    generate_unique_id_function=operation_id,
)

_HEADERS = {
    "ETag": {"description": "Names these entries.", "schema": {"type": "string"}},
}


@router.get(
    "/revocations",
    summary="Follow what is revoked",
    response_model=RevocationFeed,
    responses={
        200: {"headers": _HEADERS},
        304: {"description": "The same entries as before; go on from the same cursor."},
        **problems(InvalidClient, ClientNotAllowed, ValidationFailed, StoreUnavailable),
    },
)
async def follow_revocations(
    request: Request,
    response: Response,
    after: Annotated[
        str | None,
        Query(
            max_length=256,
            description="The cursor of the page before; all that still matters without it.",
            examples=["42"],
        ),
    ] = None,
    if_none_match: Annotated[
        str | None,
        Header(
            description="The `ETag` of the page before.",
            examples=['W/"5d41402abc4b2a76b9719d911017c592"'],
        ),
    ] = None,
) -> RevocationFeed | Response:
    """List the access tokens that must die before they expire; only for clients that may read it.

    None is ever skipped, some may be told twice. Without new entries, an `If-None-Match` is
    answered with a 304.
    """
    client = await client_of(request)
    page = await services_of(request).list_revocations.execute(client, after)
    feed = RevocationFeed.of(page)
    etag = _etag(feed)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and etag in (tag.strip() for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return feed


def _etag(feed: RevocationFeed) -> str:
    # Weak, and without the cursor: that one moves also where nothing was revoked, and whoever
    # knows these entries already loses nothing by going on from the cursor before.
    entries = "\n".join(entry.model_dump_json() for entry in feed.revocations)
    return f'W/"{hashlib.sha256(entries.encode()).hexdigest()[:32]}"'
