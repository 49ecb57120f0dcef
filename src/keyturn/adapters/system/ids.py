"""Identifiers from the machine's randomness."""

import secrets
import uuid

import uuid_utils.compat

from keyturn.domain.ids import EventId, FamilyId, MailId, TokenId, UserId
from keyturn.domain.secret import Secret
from keyturn.ports.system import IdGenerator


class UuidGenerator(IdGenerator):
    """Makes UUIDs: ordered by time for rows, all random for tokens."""

    def user_id(self) -> UserId:
        """Return a UUIDv7 (RFC 9562 §5.7), so that new rows land side by side in an index."""
        return UserId(uuid_utils.compat.uuid7())

    def family_id(self) -> FamilyId:
        """Return a UUIDv7 (RFC 9562 §5.7), so that new rows land side by side in an index."""
        return FamilyId(uuid_utils.compat.uuid7())

    def token_id(self) -> TokenId:
        """Return a UUIDv4 from the operating system's generator: 122 random bits."""
        return TokenId(uuid.uuid4())

    def event_id(self) -> EventId:
        """Return a UUIDv7 (RFC 9562 §5.7), so that the latest event has the greatest id."""
        return EventId(uuid_utils.compat.uuid7())

    def mail_id(self) -> MailId:
        """Return a UUIDv7 (RFC 9562 §5.7), so that a mail asked for later has the greater id."""
        return MailId(uuid_utils.compat.uuid7())

    def one_time_token(self) -> Secret:
        """Return 256 bits from the operating system's generator in base64url."""
        return Secret(secrets.token_urlsafe(32))
