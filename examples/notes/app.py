"""The notes over HTTP: translate, call the notebook, translate back."""

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from examples.notes.notebook import Note, Notebook, NoteNotFound
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from keyturn.verifier import KeyturnError, RevocationFeed, StaticTokenVerifier, TokenVerifier
from keyturn.verifier.fastapi import CurrentPrincipal, protect

RESOURCE = "https://notes.example"
"""Whom the access tokens are for that this service accepts; keyturn declares it."""


class NewNote(BaseModel):
    """What somebody wants to note."""

    text: str = Field(min_length=1, max_length=10_000)


class ShownNote(BaseModel):
    """A note as its owner sees it."""

    id: int
    text: str


def create_app() -> FastAPI:
    """Return the service as the environment describes it.

    `AUTH_URL` is where keyturn is, `NOTES_CLIENT_SECRET` what `keyturn clients add` printed.
    """
    verifier = TokenVerifier(
        issuer=os.environ["AUTH_URL"],
        audience=RESOURCE,
        revocations=RevocationFeed("notes", os.environ["NOTES_CLIENT_SECRET"]),
    )
    return build_app(verifier, lifespan=verifier.lifespan, ready=verifier.check)


async def _always_ready() -> None:
    """Say yes."""


def build_app(
    verifier: TokenVerifier | StaticTokenVerifier,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    ready: Callable[[], Awaitable[None]] = _always_ready,
) -> FastAPI:
    """Return the service; tests hand over a verifier that needs no keyturn."""
    app = FastAPI(title="notes", lifespan=lifespan)
    protect(app, verifier)
    notebook = Notebook()

    @app.exception_handler(NoteNotFound)
    async def not_found(request: Request, error: NoteNotFound) -> JSONResponse:  # noqa: ARG001 - FastAPI's signature
        return JSONResponse({"detail": "There is no such note."}, status_code=404)

    @app.get("/health/ready", status_code=204)
    async def is_ready() -> None:
        try:
            await ready()
        except KeyturnError as error:
            raise HTTPException(503, error.detail) from None

    @app.get("/notes")
    async def list_notes(principal: CurrentPrincipal) -> list[ShownNote]:
        return [_shown(note) for note in notebook.list_own(principal)]

    @app.post("/notes", status_code=201)
    async def write_note(body: NewNote, principal: CurrentPrincipal) -> ShownNote:
        return _shown(notebook.write(principal, body.text))

    @app.get("/notes/{note_id}")
    async def read_note(note_id: int, principal: CurrentPrincipal) -> ShownNote:
        return _shown(notebook.read(principal, note_id))

    @app.delete("/notes/{note_id}", status_code=204)
    async def remove_note(note_id: int, principal: CurrentPrincipal) -> None:
        notebook.remove(principal, note_id)

    return app


def _shown(note: Note) -> ShownNote:
    return ShownNote(id=note.id, text=note.text)
