"""fastapi-users as its documentation sets it up, with tokens that are JWTs or rows of a table."""

import os
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import (
    AuthenticationBackend,
    BearerTransport,
    JWTStrategy,
    Strategy,
)
from fastapi_users.authentication.strategy.db import AccessTokenDatabase, DatabaseStrategy
from fastapi_users.password import PasswordHelper
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import (
    SQLAlchemyAccessTokenDatabase,
    SQLAlchemyBaseAccessTokenTableUUID,
)
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

SECRET = os.environ["BENCH_SECRET"]
SECONDS = 3600
PASSES, MEMORY, LANES = map(int, os.environ["BENCH_ARGON2"].split(","))

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1),
    pool_size=10,
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
password_helper = PasswordHelper(PasswordHash((Argon2Hasher(PASSES, MEMORY, LANES),)))


class Base(DeclarativeBase):
    """What the tables have in common."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """Somebody."""


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    """A token, of the strategy that stores them."""


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """As it comes."""

    reset_password_token_secret = SECRET
    verification_token_secret = SECRET


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with sessions() as session:
        yield session


async def get_manager(
    session: Annotated[AsyncSession, Depends(get_session)],
) -> AsyncIterator[UserManager]:
    """Return what manages users."""
    yield UserManager(SQLAlchemyUserDatabase(session, User), password_helper)


async def get_tokens(
    session: Annotated[AsyncSession, Depends(get_session)],
) -> AsyncIterator[SQLAlchemyAccessTokenDatabase]:
    """Return where tokens are stored."""
    yield SQLAlchemyAccessTokenDatabase(session, AccessToken)


def jwt_strategy() -> Strategy:
    """Tokens that are signed; the user is read from the database."""
    return JWTStrategy(SECRET, SECONDS)


def database_strategy(
    tokens: Annotated[AccessTokenDatabase[AccessToken], Depends(get_tokens)],
) -> Strategy:
    """Tokens that are read from the database, and then the user."""
    return DatabaseStrategy(tokens, SECONDS)


backend = AuthenticationBackend(
    os.environ["BENCH_STRATEGY"],
    BearerTransport("login"),
    {"jwt": jwt_strategy, "database": database_strategy}[os.environ["BENCH_STRATEGY"]],
)
users = FastAPIUsers[User, uuid.UUID](get_manager, [backend])
app = FastAPI()
app.include_router(users.get_auth_router(backend))


@app.get("/verify")
async def verify(user: Annotated[User, Depends(users.current_user(active=True))]) -> Response:
    """Say who is calling."""
    return Response(status_code=204, headers={"X-Auth-Subject": str(user.id)})
