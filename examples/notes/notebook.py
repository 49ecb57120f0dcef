"""The service layer: who may do what with notes is decided here, whatever calls it."""

from dataclasses import dataclass
from itertools import count
from uuid import UUID

from keyturn.verifier import PermissionDenied, Principal


class NoteNotFound(Exception):
    """There is no such note, or none that the caller may know of."""


@dataclass(frozen=True, slots=True)
class Note:
    """A few words that belong to somebody."""

    id: int
    owner: UUID
    text: str


class Notebook:
    """Everybody's notes, kept in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._notes: dict[int, Note] = {}
        self._ids = count(1)

    def list_own(self, principal: Principal) -> list[Note]:
        """Return the caller's notes.

        Raises:
            PermissionDenied: the caller may not read notes.
        """
        _require(principal, "notes:read")
        return [note for note in self._notes.values() if note.owner == principal.user_id]

    def read(self, principal: Principal, note_id: int) -> Note:
        """Return one of the caller's notes.

        Raises:
            PermissionDenied: the caller may not read notes.
            NoteNotFound: there is none, or it is somebody else's: nobody learns which.
        """
        _require(principal, "notes:read")
        return self._own(principal, note_id)

    def write(self, principal: Principal, text: str) -> Note:
        """Keep a note of the caller's.

        Raises:
            PermissionDenied: the caller may not write notes.
        """
        _require(principal, "notes:write")
        note = Note(next(self._ids), principal.user_id, text)
        self._notes[note.id] = note
        return note

    def remove(self, principal: Principal, note_id: int) -> None:
        """Remove one of the caller's notes.

        Raises:
            PermissionDenied: the caller may not write notes.
            NoteNotFound: there is none, or it is somebody else's: nobody learns which.
        """
        _require(principal, "notes:write")
        del self._notes[self._own(principal, note_id).id]

    def _own(self, principal: Principal, note_id: int) -> Note:
        note = self._notes.get(note_id)
        if note is None or note.owner != principal.user_id:
            raise NoteNotFound
        return note


def _require(principal: Principal, permission: str) -> None:
    if not principal.has_permission(permission):
        raise PermissionDenied
