"""The least that a rotation by itself can be: no framework at all, asyncpg, one statement."""

import json
import os
import uuid

import asyncpg
import jwt
import tokens
from postgres import ROTATE
from starlette.types import Receive, Scope, Send

_POOL: dict[str, asyncpg.Pool] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Trade a refresh token for new tokens, whatever the path."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, text = await _refresh(body)
    length = str(len(text)).encode()
    headers = [
        (b"content-length", length),
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def _refresh(body: bytes) -> tuple[int, bytes]:
    try:
        claims = tokens.refresh_claims(json.loads(body)["refresh_token"])
    except (jwt.InvalidTokenError, ValueError, KeyError):
        return 401, b'{"code": "invalid_refresh_token"}'
    token_id = uuid.uuid4()
    family, presented = uuid.UUID(claims["sid"]), uuid.UUID(claims["jti"])
    row = await _POOL["pool"].fetchrow(ROTATE, family, presented, token_id, None, None)
    if row is None or str(row["user_id"]) != claims["sub"]:
        return 401, b'{"code": "invalid_refresh_token"}'
    told = (row["epoch"], row["roles"], row["permissions"])
    answer = tokens.answer(claims["sub"], claims["sid"], str(token_id), told)
    return 200, json.dumps(answer).encode()


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    _POOL["pool"] = await asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=20, max_size=20, reset=_nothing
    )
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await _POOL["pool"].close()
    await send({"type": "lifespan.shutdown.complete"})


async def _nothing(_: asyncpg.Connection) -> None:
    pass
