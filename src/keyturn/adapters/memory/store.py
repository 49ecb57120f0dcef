"""What an in-memory service has committed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keyturn.domain.events import AuditEvent
from keyturn.domain.ids import EventId, FamilyId, MailId, UserId
from keyturn.domain.mail import QueuedMail
from keyturn.domain.one_time_token import OneTimeToken
from keyturn.domain.refresh_token_family import RefreshTokenFamily
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import BUILT_IN_ROLES, Role, User


@dataclass
class MemoryStore:
    """What is committed; shared by the units of work of one event loop."""

    users: dict[UserId, User] = field(default_factory=dict)
    roles: dict[str, Role] = field(
        default_factory=lambda: {role.name: role for role in BUILT_IN_ROLES}
    )
    families: dict[FamilyId, RefreshTokenFamily] = field(default_factory=dict)
    revocations: dict[int, Revocation] = field(default_factory=dict)
    last_position: int = 0
    audit_events: dict[EventId, AuditEvent] = field(default_factory=dict)
    leaders: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    one_time_tokens: dict[str, OneTimeToken] = field(default_factory=dict)
    mails: dict[MailId, QueuedMail] = field(default_factory=dict)
    longest_access_ttl: timedelta = timedelta(0)
    recorded_feed: str | None = None

    def copy(self) -> "MemoryStore":
        """Return a store that can be changed without changing this one; entities are immutable."""
        return MemoryStore(
            dict(self.users),
            dict(self.roles),
            dict(self.families),
            dict(self.revocations),
            self.last_position,
            dict(self.audit_events),
            dict(self.leaders),
            dict(self.one_time_tokens),
            dict(self.mails),
            self.longest_access_ttl,
            self.recorded_feed,
        )

    def replace_by(self, other: "MemoryStore") -> None:
        """Take over everything that `other` holds."""
        self.users, self.roles, self.families = other.users, other.roles, other.families
        self.revocations, self.last_position = other.revocations, other.last_position
        self.audit_events, self.leaders = other.audit_events, other.leaders
        self.one_time_tokens, self.mails = other.one_time_tokens, other.mails

    def add_revocation(self, revocation: Revocation) -> None:
        """Append an entry to the revocation list."""
        self.last_position += 1
        self.revocations[self.last_position] = revocation

    def user(self, user_id: UserId) -> User | None:
        """Return a user with its roles as they are defined now."""
        user = self.users.get(user_id)
        if user is None or all(self.roles.get(role.name) is role for role in user.roles):
            return user
        return replace(
            user,
            roles=frozenset(self.roles[name] for name in user.role_names if name in self.roles),
        )


StagedWrite = Callable[[MemoryStore], None]


async def give_way() -> None:
    """Let other tasks run once, as waiting for a database would, so that races show."""
    await asyncio.sleep(0)
