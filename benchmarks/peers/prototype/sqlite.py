"""The same by hand on SQLite: one thread that writes, and commits together what came together."""

import asyncio
import os
import queue
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
import tokens
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

SWAP = """
UPDATE refresh_tokens
SET current_jti = ?, previous_jti = current_jti, generation = generation + 1,
    user_agent = ?, ip = ?, rotated_at = datetime('now'),
    expires_at = min(datetime('now', '+7 days'), absolute_expires_at)
WHERE id = ? AND current_jti = ? AND revoked_at IS NULL AND expires_at > datetime('now')
    AND EXISTS (SELECT 1 FROM users u WHERE u.id = user_id AND u.status = 'active')
"""
TOLD = """
SELECT f.user_id, u.epoch,
    coalesce((SELECT group_concat(r.role) FROM user_roles r WHERE r.user_id = u.id), ''),
    coalesce((SELECT group_concat(p.value)
              FROM user_roles r JOIN roles n ON n.name = r.role, json_each(n.permissions) p
              WHERE r.user_id = u.id), '')
FROM refresh_tokens f JOIN users u ON u.id = f.user_id WHERE f.id = ?
"""
MOST_TOGETHER = 64

Row = tuple[str, int, str, str] | None
Swap = tuple[tuple[object, ...], str, "asyncio.Future[Row]"]


class Refresh(BaseModel):
    """The refresh token."""

    refresh_token: str


class Writer:
    """One thread that does all swaps that wait, in one transaction with full durability."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._waiting: queue.SimpleQueue[Swap | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    async def swap(self, values: tuple[object, ...], family: str) -> Row:
        """Swap, and return what the access token tells, None if the token was not the live one."""
        future: asyncio.Future[Row] = self._loop.create_future()
        self._waiting.put((values, family, future))
        return await future

    def close(self) -> None:
        """End the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None, timeout=10)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < MOST_TOGETHER and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    return
                batch.append(following)
            connection.execute("BEGIN IMMEDIATE")
            rows: list[Row] = []
            for values, family, _ in batch:
                swapped = connection.execute(SWAP, values).rowcount
                found = connection.execute(TOLD, (family,)).fetchone() if swapped else None
                rows.append(found)
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, batch, rows)


def _settle(batch: list[Swap], rows: list[Row]) -> None:
    for (_, _, future), row in zip(batch, rows, strict=True):
        if not future.done():
            future.set_result(row)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the thread that writes."""
    app.state.writer = Writer(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))
    yield
    app.state.writer.close()


app = FastAPI(lifespan=lifespan)


@app.post("/refresh")
async def refresh(body: Refresh, request: Request) -> JSONResponse:
    """Trade a refresh token for new tokens."""
    try:
        claims = tokens.refresh_claims(body.refresh_token)
    except jwt.InvalidTokenError:
        return JSONResponse({"code": "invalid_refresh_token"}, 401)
    token_id, family = uuid.uuid4(), uuid.UUID(claims["sid"]).hex
    agent = request.headers.get("user-agent")
    client = request.client.host if request.client else None
    old = uuid.UUID(claims["jti"]).hex
    row = await request.app.state.writer.swap((token_id.hex, agent, client, family, old), family)
    if row is None or str(uuid.UUID(row[0])) != claims["sub"]:
        return JSONResponse({"code": "invalid_refresh_token"}, 401)
    answer = tokens.answer(claims["sub"], claims["sid"], str(token_id), row[1:])
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})
