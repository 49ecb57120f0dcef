"""The revocations that keyturn tells other services of: `GET /v1/revocations`."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import httpx

from keyturn.bounded_bodies import UNCOMPRESSED, UnacceptableBody, read_bounded
from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.revocation import Revocation, RevocationKind
from keyturn.domain.secret import Secret
from keyturn.ports.revocations import RevocationList, RevocationPage

LARGEST_PAGE: Final = 64 * 1024 * 1024
"""Bytes of the longest page that is read, some 500,000 entries."""

_FORGOTTEN_CURSOR = frozenset({400, 404, 410, 422})


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is used of an answer; the body of one without a page is not read."""

    status: int
    etag: str | None
    body: bytes


class HttpRevocationList(RevocationList):
    """Reads the revocation feed as a client that proves who it is (RFC 6749 §2.3.1)."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, *, client_id: str, client_secret: Secret
    ) -> None:
        """Read from `url` as `client_id`."""
        self._http = http
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._etag: str | None = None
        self._forgotten: str | None = None

    async def read(self, after: str | None) -> RevocationPage:
        # After another database, say, the service knows nothing of our cursor: from the start.
        start = None if after is not None and after == self._forgotten else after
        answer = await self._get(start)
        if start is not None and answer.status in _FORGOTTEN_CURSOR:
            self._forgotten = after
            answer = await self._get(None)
        if answer.status == httpx.codes.NOT_MODIFIED and after is not None:
            return RevocationPage((), after)
        if answer.status != httpx.codes.OK:
            raise StoreUnavailable from ValueError(f"the feed answers {answer.status}")
        try:
            page = _page(json.loads(answer.body))
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            # An entry that can't be understood can't be obeyed: better to lose touch and say so.
            raise StoreUnavailable from error
        self._etag = answer.etag
        return page

    async def _get(self, after: str | None) -> _Answer:
        headers = {"Accept": "application/json", **UNCOMPRESSED}
        # The tag names the entries whatever the cursor: these are known, and no others came.
        if after is not None and self._etag is not None:
            headers["If-None-Match"] = self._etag
        try:
            async with self._http.stream(
                "GET",
                self._url,
                params={} if after is None else {"after": after},
                headers=headers,
                auth=httpx.BasicAuth(self._client_id, self._client_secret.reveal()),
            ) as answer:
                is_page = answer.status_code == httpx.codes.OK
                body = await read_bounded(answer, LARGEST_PAGE) if is_page else b""
                return _Answer(answer.status_code, answer.headers.get("ETag"), body)
        except (httpx.HTTPError, httpx.InvalidURL, UnacceptableBody) as error:
            raise StoreUnavailable from error


def _page(document: object) -> RevocationPage:
    if not isinstance(document, dict) or not isinstance(document["revocations"], list):
        raise TypeError("the feed is no list of revocations")
    cursor = document["cursor"]
    if not isinstance(cursor, str):
        raise TypeError("the feed has no cursor")
    return RevocationPage(tuple(_revocation(entry) for entry in document["revocations"]), cursor)


def _revocation(entry: object) -> Revocation:
    if not isinstance(entry, dict):
        raise TypeError("an entry is no object")
    epoch = entry["epoch"]
    if not isinstance(epoch, int) or isinstance(epoch, bool):
        raise TypeError("an epoch is no whole number")
    return Revocation(
        RevocationKind(entry["kind"]),
        UUID(str(entry["subject"])),
        epoch,
        _moment(entry["expires_at"]),
    )


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    return moment.astimezone(UTC)
