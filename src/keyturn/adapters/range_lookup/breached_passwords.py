"""Breached passwords, asked for by ranges of their digests.

The service is told five of forty digits of the SHA-1 of a password, as some hundreds of listed ones
share them, and answers with the rest of each digest. This is the protocol of Pwned Passwords; a
mirror of one's own speaks it too.
"""

import asyncio
import hashlib
import logging
import re
from datetime import timedelta
from typing import Final

import httpx

from keyturn.domain.secret import Secret
from keyturn.ports.passwords import BreachedPasswords

DEFAULT_TIMEOUT: Final = timedelta(seconds=2)
"""For the whole look-up: somebody waits for it."""

LARGEST_ANSWER: Final = 512 * 1024
"""Bytes; an answer has some thousand lines of at most fifty."""

_LINE = re.compile(rb"([0-9A-Fa-f]{35}):([0-9]{1,18})")

_log = logging.getLogger("keyturn.passwords")


class _NoAnswer(Exception):
    """The service did not say what it is asked."""


class RangeLookup(BreachedPasswords):
    """Asks one service, and lets every password pass while that does not answer.

    It speaks through a transport, not a client: the client would log the URL, which tells a part
    of the digest, and follow redirects. So it knows no proxy of the environment either.
    """

    def __init__(self, url: str, *, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        """Ask at `url`; nothing connects before the first question.

        Args:
            url: what the first five digits are appended to, such as
                `https://api.pwnedpasswords.com/range/`.
            timeout: for a whole look-up.

        Raises:
            ValueError: the URL is none; the message repeats no part of it.
        """
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("the URL of breached passwords must begin with https:// or http://")
        self._url = url if url.endswith("/") else url + "/"
        self._timeout = timeout.total_seconds()
        self._transport = httpx.AsyncHTTPTransport(retries=1)

    async def contains(self, password: Secret) -> bool:
        digest = hashlib.sha1(
            password.reveal().encode("utf-8", "surrogatepass"), usedforsecurity=False
        )
        digits = digest.hexdigest().upper()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(digits[:5], digits[5:].encode())
        except (TimeoutError, httpx.TransportError, _NoAnswer) as error:
            # What an error of the network says may quote the URL.
            reason = str(error) if isinstance(error, _NoAnswer) else type(error).__name__
            _log.warning("breached passwords can't be looked up, any passes: %s", reason)
            return False

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _ask(self, prefix: str, rest: bytes) -> bool:
        request = httpx.Request(
            "GET",
            self._url + prefix,
            headers={
                # So that its length does not tell an eavesdropper which range it is.
                "Add-Padding": "true",
                "Accept-Encoding": "identity",
                "User-Agent": "keyturn",
            },
            extensions={"timeout": httpx.Timeout(self._timeout).as_dict()},
        )
        answer = await self._transport.handle_async_request(request)
        try:
            if answer.status_code != httpx.codes.OK:
                raise _NoAnswer(f"the service answered {answer.status_code}")
            body = await _bounded_body(answer)
        finally:
            await answer.aclose()
        return _count_in(body, rest) > 0


async def _bounded_body(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise _NoAnswer("the answer is too long")
    return bytes(body)


def _count_in(body: bytes, rest: bytes) -> int:
    lines = body.split()
    counts = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            raise _NoAnswer("the answer is no list of digests")
        counts[found[1].upper()] = int(found[2])
    # Lines that pad the answer have a count of 0.
    return counts.get(rest, 0)
