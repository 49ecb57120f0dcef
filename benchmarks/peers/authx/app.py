"""AuthX as its documentation sets it up; users and passwords are left to the app, so they are here.

What it verifies are signatures alone: it looks at no user and no revocation.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

import asyncpg
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from authx import AuthX, AuthXConfig, TokenPayload
from fastapi import Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel

hasher = PasswordHasher(*map(int, os.environ["BENCH_ARGON2"].split(",")))
security: AuthX = AuthX(
    config=AuthXConfig(
        JWT_SECRET_KEY=os.environ["BENCH_SECRET"],
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=int(os.environ["BENCH_ACCESS_SECONDS"])),
    )
)


class Login(BaseModel):
    """Who logs in."""

    email: str
    password: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pool."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=10) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
security.handle_errors(app)


@app.post("/login")
async def login(body: Login) -> dict[str, str]:
    """Check a password and hand out tokens."""
    row = await app.state.pool.fetchrow(
        "SELECT id::text, password_hash FROM users WHERE email = $1", body.email
    )
    if row is None:
        raise HTTPException(401)
    try:
        await asyncio.to_thread(hasher.verify, row["password_hash"], body.password)
    except VerifyMismatchError:
        raise HTTPException(401) from None
    return {
        "access_token": security.create_access_token(row["id"]),
        "refresh_token": security.create_refresh_token(row["id"]),
    }


@app.get("/verify")
async def verify(
    payload: Annotated[TokenPayload, Depends(security.access_token_required)],
) -> Response:
    """Say who is calling."""
    return Response(status_code=204, headers={"X-Auth-Subject": payload.sub})
