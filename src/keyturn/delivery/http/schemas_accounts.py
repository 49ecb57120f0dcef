"""What the routes for addresses, forgotten passwords and one's own data take and give."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from keyturn.delivery.http.schemas import (
    EXAMPLE_SESSION_ID,
    EXAMPLE_USER_ID,
    KnownEmail,
    NewEmail,
    SecretText,
    example,
    example_answer,
)
from keyturn.delivery.http.schemas_admin import EXAMPLE_EVENT, AuditEventItem
from keyturn.domain.refresh_token_family import RefreshTokenFamily
from keyturn.domain.secret import Secret
from keyturn.domain.user import User, UserStatus
from keyturn.use_cases.estimate_strength import EstimateStrengthResult
from keyturn.use_cases.export_account import AccountExport

_EXAMPLE_LINK_TOKEN = "kXn2t0a1Zc7m3uB8eQ4rVw6yHs9dLfGjPpNoIiUuTtE"
_EXAMPLE_EXPORTED_USER: dict[str, JsonValue] = {
    "id": EXAMPLE_USER_ID,
    "email": "ada@example.com",
    "email_verified_at": "2030-01-01T12:05:00Z",
    "display_name": "Ada",
    "status": "active",
    "roles": ["user"],
    "permissions": ["profile:read", "profile:write"],
    "created_at": "2030-01-01T12:00:00Z",
    "updated_at": "2030-01-01T12:05:00Z",
    "last_login_at": "2030-01-02T08:30:00Z",
    "failed_logins": 0,
    "last_failed_login_at": None,
    "deletion_due_at": None,
}
_EXAMPLE_EXPORTED_SESSION: dict[str, JsonValue] = {
    "id": EXAMPLE_SESSION_ID,
    "client_id": "keyturn",
    "scope": None,
    "device_name": "Ada's phone",
    "user_agent": "Mozilla/5.0",
    "ip": "192.0.2.7",
    "created_at": "2030-01-01T12:00:00Z",
    "last_used_at": "2030-01-02T08:30:00Z",
    "expires_at": "2030-01-09T08:30:00Z",
    "absolute_expires_at": "2030-01-31T12:00:00Z",
    "revoked_at": None,
    "reason": None,
}


class AddressedRequest(BaseModel):
    """Whose mail is asked for."""

    model_config = example(email="ada@example.com")

    email: NewEmail


class EmailConfirmation(BaseModel):
    """What a link in a mail holds, and the account's password or a new one, not both."""

    model_config = example(token=_EXAMPLE_LINK_TOKEN, password="nine purple anvils")

    token: SecretText
    password: SecretText | None = Field(
        default=None, description="The account's: for the first proof of an address, or a change."
    )
    new_password: SecretText | None = Field(
        default=None,
        description="15 to 1024 characters: what the password becomes at the first proof.",
    )

    @field_validator("new_password")
    @classmethod
    def _not_both(cls, value: Secret | None, info: ValidationInfo) -> Secret | None:
        if value is not None and info.data.get("password") is not None:
            raise PydanticCustomError("both_passwords", "Give password or new_password, not both.")
        return value


class PasswordReset(BaseModel):
    """What a link in a mail holds, and the password that shall be."""

    model_config = example(token=_EXAMPLE_LINK_TOKEN, new_password="seven quiet glaciers")

    token: SecretText
    new_password: SecretText = Field(description="15 to 1024 characters, no other rules.")


class PasswordIdea(BaseModel):
    """A password that somebody thinks of."""

    model_config = example(password="nine purple anvils", email="ada@example.com")

    password: SecretText
    email: KnownEmail | None = Field(
        default=None, description="The password must not be made of it."
    )


class PasswordStrength(BaseModel):
    """How hard a password is to guess, and why it would be refused."""

    model_config = example_answer(
        score=1,
        warning="This is a very common password.",
        suggestions=["Add another word or two. Uncommon words are better."],
        problems=["password_too_short", "password_too_common"],
    )

    score: int = Field(ge=0, le=4, description="0 (guessed at once) to 4: a hint, no rule.")
    warning: str | None
    suggestions: list[str]
    problems: list[str] = Field(
        description="The codes of the errors for which it would be refused; whether it is known "
        "from a breach is asked only when it is set."
    )

    @staticmethod
    def of(result: EstimateStrengthResult) -> "PasswordStrength":
        """Return the answer for an estimate."""
        return PasswordStrength(
            score=result.strength.score,
            warning=result.strength.warning,
            suggestions=list(result.strength.suggestions),
            problems=list(result.refusals),
        )


class EmailChange(BaseModel):
    """The address that shall be, and the password, so that a stolen token does not suffice."""

    model_config = example(
        current_password="nine purple anvils", new_email="ada.lovelace@example.com"
    )

    current_password: SecretText
    new_email: NewEmail


class ExportedUser(BaseModel):
    """The account."""

    model_config = example_answer(**_EXAMPLE_EXPORTED_USER)

    id: UUID
    email: str
    email_verified_at: datetime | None
    display_name: str | None
    status: UserStatus
    roles: list[str]
    permissions: list[str]
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    failed_logins: int = Field(description="Wrong passwords since the last right one.")
    last_failed_login_at: datetime | None
    deletion_due_at: datetime | None

    @staticmethod
    def of(user: User) -> "ExportedUser":
        """Return the answer for a user."""
        return ExportedUser(
            id=user.id,
            email=user.email,
            email_verified_at=user.email_verified_at,
            display_name=user.display_name,
            status=user.status,
            roles=sorted(user.role_names),
            permissions=sorted(user.permissions),
            created_at=user.created_at,
            updated_at=user.updated_at,
            last_login_at=user.last_login_at,
            failed_logins=user.failed_logins,
            last_failed_login_at=user.last_failed_login_at,
            deletion_due_at=user.deletion_due_at,
        )


class ExportedSession(BaseModel):
    """A login on one device, live or ended."""

    model_config = example_answer(**_EXAMPLE_EXPORTED_SESSION)

    id: UUID
    client_id: str
    scope: list[str] | None = Field(description="null for all that the user may do.")
    device_name: str | None
    user_agent: str | None
    ip: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    revoked_at: datetime | None
    reason: str | None = Field(description="Why it was revoked.")

    @staticmethod
    def of(family: RefreshTokenFamily) -> "ExportedSession":
        """Return the answer for a session."""
        return ExportedSession(
            id=family.id,
            client_id=family.client_id,
            scope=None if family.scope is None else sorted(family.scope),
            device_name=family.device.name,
            user_agent=family.device.user_agent,
            ip=family.device.ip,
            created_at=family.created_at,
            last_used_at=family.rotated_at,
            expires_at=family.expires_at,
            absolute_expires_at=family.absolute_expires_at,
            revoked_at=family.revoked_at,
            reason=None if family.revoke_reason is None else family.revoke_reason.value,
        )


class ExportedAccount(BaseModel):
    """All that is stored of somebody but the hash of the password."""

    model_config = example_answer(
        exported_at="2030-01-02T08:31:00Z",
        user=_EXAMPLE_EXPORTED_USER,
        sessions=[_EXAMPLE_EXPORTED_SESSION],
        events=[EXAMPLE_EVENT],
        has_all_events=True,
    )

    exported_at: datetime
    user: ExportedUser
    sessions: list[ExportedSession] = Field(description="Live ones first.")
    events: list[AuditEventItem] = Field(
        description="What the user did, and what was done to the user, latest first."
    )
    has_all_events: bool = Field(
        description="Whether there are no others: the latest 5,000 are told."
    )

    @staticmethod
    def of(export: AccountExport) -> "ExportedAccount":
        """Return the answer for an export."""
        return ExportedAccount(
            exported_at=export.exported_at,
            user=ExportedUser.of(export.user),
            sessions=[ExportedSession.of(family) for family in export.sessions],
            events=[AuditEventItem.of(event) for event in export.events],
            has_all_events=export.has_all_events,
        )
