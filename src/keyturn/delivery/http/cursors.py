"""Where the next page of a list begins, as text that means nothing to a client."""

import base64
from enum import Enum
from uuid import UUID

from keyturn.delivery.http.errors import FieldProblem, ValidationFailed


class Listed(Enum):
    """What a list holds; a cursor of one list is none of another."""

    USERS = b"u"
    EVENTS = b"e"


def cursor_after(listed: Listed, last: UUID | None) -> str | None:
    """Return the cursor of the page that follows `last`, None if there is no such page."""
    if last is None:
        return None
    return base64.urlsafe_b64encode(listed.value + last.bytes).rstrip(b"=").decode("ascii")


def position(listed: Listed, cursor: str | None) -> UUID | None:
    """Return what `cursor` comes after, None for the first page.

    Raises:
        ValidationFailed: it is not a cursor of this list.
    """
    if cursor is None:
        return None
    try:
        decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        decoded = b""
    last = UUID(bytes=decoded[1:]) if len(decoded) == 17 else None
    # Written anew it is the same, or it was not written here.
    if cursor_after(listed, last) != cursor:
        raise ValidationFailed([FieldProblem("cursor", "This is not a next_cursor of this list.")])
    return last
