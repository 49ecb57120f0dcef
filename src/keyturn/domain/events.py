"""What happened, for those who have to answer for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from keyturn.domain.ids import EventId, FamilyId, UserId


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from.

    Attributes:
        ip: the client's address as text, believed only from trusted proxies.
        user_agent: as the client sent it, shortened.
        request_id: the id that keyturn gave the request; its answer and its log lines carry it.
        client_request_id: the `X-Request-ID` that a trusted proxy sent, None for none.
    """

    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    client_request_id: str | None = None


class AuditEventType(StrEnum):
    """What kind of thing happened."""

    USER_REGISTERED = "user_registered"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    REFRESH_REPLAYED = "refresh_replayed"
    REUSE_DETECTED = "reuse_detected"
    SESSION_REVOKED = "session_revoked"
    REAUTHENTICATED = "reauthenticated"
    TOKEN_REVOKED = "token_revoked"
    ALL_SESSIONS_REVOKED = "all_sessions_revoked"
    PASSWORD_CHANGED = "password_changed"
    PROFILE_CHANGED = "profile_changed"
    ROLES_CHANGED = "roles_changed"
    ROLE_DEFINED = "role_defined"
    ROLE_DELETED = "role_deleted"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    USER_IMPORTED = "user_imported"
    ACCOUNT_TAKEN_OVER = "account_taken_over"
    EMAIL_VERIFIED = "email_verified"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_RESET_REQUESTED = "password_reset_requested"
    PASSWORD_RESET = "password_reset"
    DATA_EXPORTED = "data_exported"
    DELETION_REQUESTED = "deletion_requested"
    DELETION_CANCELLED = "deletion_cancelled"
    USER_ERASED = "user_erased"
    WRONG_CURRENT_PASSWORD = "wrong_current_password"
    CSRF_REJECTED = "csrf_rejected"
    CLIENT_REJECTED = "client_rejected"
    PERMISSION_DENIED = "permission_denied"


class LoginFailure(StrEnum):
    """Why a login failed; for the operator, never for the caller."""

    UNKNOWN_EMAIL = "unknown_email"
    WRONG_PASSWORD = "wrong_password"
    USER_DISABLED = "user_disabled"
    EMAIL_NOT_VERIFIED = "email_not_verified"
    TOO_MANY_FAILURES = "too_many_failures"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit trail; holds no password, no token and no hash.

    Attributes:
        at: aware UTC.
        actor: who did it, None for somebody unknown or for the operator's command line.
        subject: whom it was done to.
        session: the session it happened in or to.
        details: short texts such as a reason or the role names.
    """

    id: EventId
    at: datetime
    type: AuditEventType
    actor: UserId | None = None
    subject: UserId | None = None
    session: FamilyId | None = None
    origin: Origin = field(default_factory=Origin)
    details: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
