"""A rotation as somebody writes it by hand who wants it fast: FastAPI, asyncpg, one statement."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import jwt
import tokens
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

# The live token is swapped for its successor, if user and family are alive; what the access
# token tells comes back in the same round trip.
ROTATE = """
WITH swapped AS (
    UPDATE refresh_tokens f
    SET current_jti = $3, previous_jti = f.current_jti, generation = f.generation + 1,
        user_agent = $4, ip = $5, rotated_at = now(),
        expires_at = least(now() + interval '7 days', f.absolute_expires_at)
    FROM users u
    WHERE f.id = $1 AND f.current_jti = $2 AND f.revoked_at IS NULL AND f.expires_at > now()
        AND u.id = f.user_id AND u.status = 'active'
    RETURNING f.user_id, u.epoch
)
SELECT s.user_id, s.epoch,
    coalesce((SELECT string_agg(r.role, ',' ORDER BY r.role)
              FROM user_roles r WHERE r.user_id = s.user_id), '') AS roles,
    coalesce((SELECT string_agg(p, ',' ORDER BY p)
              FROM user_roles r JOIN roles n ON n.name = r.role,
                   json_array_elements_text(n.permissions) p
              WHERE r.user_id = s.user_id), '') AS permissions
FROM swapped s
"""


class Refresh(BaseModel):
    """The refresh token."""

    refresh_token: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pool, as large as keyturn's."""
    # No reset on the way back to the pool: each statement is its own transaction.
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=20, max_size=20, reset=_nothing
    ) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/refresh")
async def refresh(body: Refresh, request: Request) -> JSONResponse:
    """Trade a refresh token for new tokens."""
    try:
        claims = tokens.refresh_claims(body.refresh_token)
    except jwt.InvalidTokenError:
        return JSONResponse({"code": "invalid_refresh_token"}, 401)
    token_id = uuid.uuid4()
    row = await request.app.state.pool.fetchrow(
        ROTATE,
        uuid.UUID(claims["sid"]),
        uuid.UUID(claims["jti"]),
        token_id,
        request.headers.get("user-agent"),
        request.client.host if request.client else None,
    )
    if row is None or str(row["user_id"]) != claims["sub"]:
        return JSONResponse({"code": "invalid_refresh_token"}, 401)
    told = (row["epoch"], row["roles"], row["permissions"])
    answer = tokens.answer(claims["sub"], claims["sid"], str(token_id), told)
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


async def _nothing(_: asyncpg.Connection) -> None:
    pass
