"""Identifiers, kept apart by type so that one can't be handed over as another."""

from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
"""Identifies a user; the `sub` claim."""

FamilyId = NewType("FamilyId", UUID)
"""Identifies a refresh token family, which is a session; the `sid` claim."""

TokenId = NewType("TokenId", UUID)
"""Identifies one token; the `jti` claim (RFC 7519 §4.1.7)."""

MailId = NewType("MailId", UUID)
"""Identifies a mail that waits to be sent."""

EventId = NewType("EventId", UUID)
"""Identifies an audit event."""
