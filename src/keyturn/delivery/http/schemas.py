"""What the routes take and give, as OpenAPI tells it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    JsonValue,
    StringConstraints,
)
from pydantic_core import PydanticCustomError, core_schema

from keyturn.delivery.lines import is_line
from keyturn.domain.errors import InvalidTarget
from keyturn.domain.secret import Secret
from keyturn.domain.user import MAX_EMAIL_LENGTH, User, UserStatus
from keyturn.use_cases.list_sessions import Session
from keyturn.use_cases.rotate_refresh import RefreshOutcome, RotateRefreshResult
from keyturn.use_cases.token_pair import AccessToken, TokenPair


def _normal_email(address: str) -> str:
    # `.test` is what staging and examples use (RFC 6761 §6.2): it reaches nobody, so it may pass.
    return validate_email(address, check_deliverability=False, test_environment=True).normalized


def _new_email(address: str) -> str:
    try:
        return _normal_email(address)
    except EmailNotValidError:
        # The library's own text quotes the address.
        raise PydanticCustomError("email", "This is not a valid e-mail address.") from None


def known_email(address: str) -> str:
    """Return the address that somebody logs in with: normalised if it can be."""
    try:
        return _normal_email(address)
    except EmailNotValidError:
        # An operator may have made accounts that the library would not take.
        return address


def _line(text: str) -> str:
    if is_line(text):
        return text
    raise PydanticCustomError("line", "This must be one line of printable characters.")


_EmailText = Annotated[
    str,
    StringConstraints(max_length=MAX_EMAIL_LENGTH),
    Field(json_schema_extra={"format": "email"}),
]
NewEmail = Annotated[_EmailText, AfterValidator(_new_email)]
"""An address that somebody registers, normalised."""

KnownEmail = Annotated[_EmailText, AfterValidator(known_email)]
"""An address that somebody logs in with: normalised if it can be, otherwise as it is."""

Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_line),
]
"""A short text that people read."""

SecretText = Annotated[
    Secret,
    GetPydanticSchema(
        get_pydantic_core_schema=lambda _type, _handler: (
            core_schema.no_info_after_validator_function(Secret, core_schema.str_schema())
        ),
        get_pydantic_json_schema=lambda _schema, _handler: {
            "type": "string",
            "format": "password",
            "writeOnly": True,
        },
    ),
]
"""A password or a token on its way in."""


def example(**fields: JsonValue) -> ConfigDict:
    """Return how a model is read and told, with an example for OpenAPI."""
    return ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        json_schema_extra={"examples": [dict(fields)]},
    )


def example_answer(**fields: JsonValue) -> ConfigDict:
    """Return how a model of an answer is told, with an example for OpenAPI.

    What writes it is made for the first answer: no start waits for it. With a model that is read,
    FastAPI has Pydantic warn about this.
    """
    return ConfigDict(**example(**fields), defer_build=True)


def _one_resource(value: object) -> object:
    # What is no text is several resources, or none that can be: RFC 8707 §2 has one error for it.
    if value is None or isinstance(value, str):
        return value
    raise InvalidTarget


Resource = Annotated[
    str,
    BeforeValidator(_one_resource),
    Field(
        description="What the access token is for (RFC 8707): a declared resource, or the issuer. "
        "Without it, the default audience.",
        examples=["https://notes.example"],
    ),
]
"""The resource that a client asks for."""

EXAMPLE_USER_ID = "0198f3a2-7c11-7d6e-9a53-1f0e6c1f2b3a"
EXAMPLE_SESSION_ID = "0198f3a2-7c40-7b02-8f6d-3c9a50d1e7aa"


class Registration(BaseModel):
    """Who registers."""

    model_config = example(
        email="ada@example.com", password="nine purple anvils", display_name="Ada"
    )

    email: NewEmail
    password: SecretText = Field(description="15 to 1024 characters, no other rules.")
    display_name: Line | None = None


class Login(BaseModel):
    """Who logs in, and how they want the refresh token."""

    model_config = example(
        email="ada@example.com", password="nine purple anvils", device_name="Ada's phone"
    )

    email: KnownEmail
    password: SecretText
    device_name: Line | None = Field(
        default=None,
        description="Shown in the list of sessions; without it, what the user agent tells.",
    )
    transport: Literal["body", "cookie"] = Field(
        default="body",
        description="Where the refresh token goes: into the answer, or into a cookie that no "
        "script can read.",
    )
    resource: Resource | None = None
    device_token: SecretText | None = Field(
        default=None,
        description="What an earlier login of this user on this device answered; with the "
        "transport `cookie` it comes as a cookie. One that is not valid counts as none.",
    )


class Refresh(BaseModel):
    """The refresh token, unless it is in the cookie."""

    model_config = example(refresh_token="eyJhbGciOiJFZERTQSJ9.refresh.signature")

    refresh_token: SecretText | None = None
    resource: Resource | None = None


class Logout(BaseModel):
    """The refresh token of the session that ends, unless another token names it."""

    model_config = example(refresh_token="eyJhbGciOiJFZERTQSJ9.refresh.signature")

    refresh_token: SecretText | None = None


class Reauthentication(BaseModel):
    """The password that proves again who the caller is."""

    model_config = example(password="nine purple anvils")

    password: SecretText


class ProfileChange(BaseModel):
    """What others see of a user."""

    model_config = example(display_name="Ada Lovelace")

    display_name: Line | None = Field(description="null removes it.")


class PasswordChange(BaseModel):
    """The password as it is and as it shall be."""

    model_config = example(
        current_password="nine purple anvils", new_password="seven quiet glaciers"
    )

    current_password: SecretText
    new_password: SecretText = Field(description="15 to 1024 characters, no other rules.")


TokenType = Literal["Bearer", "DPoP"]
"""The scheme that an access token is presented with (RFC 6749 §7.1, RFC 9449 §5)."""


def token_type(key_thumbprint: str | None) -> TokenType:
    """Return how a token is presented that is bound to this key, or to none."""
    return "Bearer" if key_thumbprint is None else "DPoP"


class Tokens(BaseModel):
    """What a login hands out."""

    model_config = example_answer(
        access_token="eyJhbGciOiJFZERTQSJ9.access.signature",
        token_type="Bearer",
        expires_in=900,
        refresh_token="eyJhbGciOiJFZERTQSJ9.refresh.signature",
        refresh_expires_in=604800,
        refresh_after=720,
        session_id=EXAMPLE_SESSION_ID,
        device_token="eyJhbGciOiJFZERTQSJ9.device.signature",
    )

    access_token: str = Field(repr=False)
    token_type: TokenType = "Bearer"
    expires_in: int = Field(description="Seconds that the access token lives.")
    refresh_token: str | None = Field(
        default=None, repr=False, description="Absent when it is in the cookie."
    )
    refresh_expires_in: int = Field(description="Seconds that the refresh token lives, unused.")
    refresh_after: int = Field(description="Seconds after which a client should refresh.")
    session_id: UUID
    device_token: str | None = Field(
        default=None,
        repr=False,
        description="Only after a login: send it with the next login on this device. Absent when "
        "it is in the cookie.",
    )

    @staticmethod
    def of(pair: TokenPair, *, in_cookie: bool) -> "Tokens":
        """Return the answer for a pair; its refresh token only if it is not in the cookie."""
        return Tokens(
            access_token=pair.access_token.reveal(),
            token_type=token_type(pair.key_thumbprint),
            expires_in=pair.expires_in,
            refresh_token=None if in_cookie else pair.refresh_token.reveal(),
            refresh_expires_in=pair.refresh_expires_in,
            refresh_after=pair.refresh_after,
            session_id=pair.session_id,
            device_token=(
                None if in_cookie or pair.device_token is None else pair.device_token.reveal()
            ),
        )


class RecentAccess(BaseModel):
    """What a reauthentication gives."""

    model_config = example_answer(
        access_token="eyJhbGciOiJFZERTQSJ9.access.signature", token_type="Bearer", expires_in=900
    )

    access_token: str = Field(repr=False)
    token_type: TokenType = "Bearer"
    expires_in: int = Field(description="Seconds that the access token lives.")

    @staticmethod
    def of(token: AccessToken) -> "RecentAccess":
        """Return the answer for a token."""
        return RecentAccess(
            access_token=token.token.reveal(),
            token_type=token_type(token.key_thumbprint),
            expires_in=token.expires_in,
        )


class RefreshedTokens(Tokens):
    """What a refresh hands out."""

    model_config = example_answer(
        access_token="eyJhbGciOiJFZERTQSJ9.access.signature",
        token_type="Bearer",
        expires_in=900,
        refresh_token="eyJhbGciOiJFZERTQSJ9.refresh.signature",
        refresh_expires_in=604800,
        refresh_after=720,
        session_id=EXAMPLE_SESSION_ID,
        outcome="rotated",
    )

    outcome: RefreshOutcome = Field(
        description="replayed: the answer to the rotation was lost, this is the same successor."
    )

    @staticmethod
    def after(result: RotateRefreshResult, *, in_cookie: bool) -> "RefreshedTokens":
        """Return the answer for a refresh; its refresh token only if it is not in the cookie."""
        answer = RefreshedTokens.model_validate(RefreshedTokens.members_after(result))
        return answer.model_copy(update={"refresh_token": None}) if in_cookie else answer

    @staticmethod
    def members_after(result: RotateRefreshResult) -> dict[str, object]:
        """Return the members of the answer for a refresh whose token is not in the cookie."""
        pair = result.tokens
        return {
            "access_token": pair.access_token.reveal(),
            "token_type": token_type(pair.key_thumbprint),
            "expires_in": pair.expires_in,
            "refresh_token": pair.refresh_token.reveal(),
            "refresh_expires_in": pair.refresh_expires_in,
            "refresh_after": pair.refresh_after,
            "session_id": str(pair.session_id),
            "outcome": result.outcome.value,
        }


class OAuthTokens(BaseModel):
    """What `/oauth/token` hands out (RFC 6749 §5.1)."""

    model_config = example_answer(
        access_token="eyJhbGciOiJFZERTQSJ9.access.signature",
        token_type="Bearer",
        expires_in=900,
        refresh_token="eyJhbGciOiJFZERTQSJ9.refresh.signature",
        scope="profile:read",
    )

    access_token: str = Field(repr=False)
    token_type: TokenType = "Bearer"
    expires_in: int = Field(description="Seconds that the access token lives.")
    refresh_token: str = Field(repr=False)
    scope: str | None = Field(
        default=None, description="Present when the token is limited to these permissions."
    )

    @staticmethod
    def of(pair: TokenPair) -> "OAuthTokens":
        """Return the answer for a pair."""
        return OAuthTokens(
            access_token=pair.access_token.reveal(),
            token_type=token_type(pair.key_thumbprint),
            expires_in=pair.expires_in,
            refresh_token=pair.refresh_token.reveal(),
            scope=None if pair.scope is None else " ".join(sorted(pair.scope)),
        )


class UserProfile(BaseModel):
    """A user, as they and administrators see them."""

    model_config = example_answer(
        id=EXAMPLE_USER_ID,
        email="ada@example.com",
        display_name="Ada",
        email_verified=True,
        status="active",
        roles=["user"],
        permissions=["profile:read", "profile:write"],
        created_at="2030-01-01T12:00:00Z",
        last_login_at="2030-01-02T08:30:00Z",
        deletion_due_at=None,
    )

    id: UUID
    email: str
    email_verified: bool = Field(description="Whether somebody who reads its mail said so.")
    display_name: str | None
    status: UserStatus
    roles: list[str]
    permissions: list[str]
    created_at: datetime
    last_login_at: datetime | None
    deletion_due_at: datetime | None = Field(
        description="When the user is erased, unless they log in before; null for never."
    )

    @staticmethod
    def of(user: User) -> "UserProfile":
        """Return the answer for a user."""
        return UserProfile(
            id=user.id,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            display_name=user.display_name,
            status=user.status,
            roles=sorted(user.role_names),
            permissions=sorted(user.permissions),
            created_at=user.created_at,
            last_login_at=user.last_login_at,
            deletion_due_at=user.deletion_due_at,
        )


class SessionItem(BaseModel):
    """One login on one device."""

    model_config = example_answer(
        id=EXAMPLE_SESSION_ID,
        device_name="Ada's phone",
        user_agent="Mozilla/5.0",
        ip="192.0.2.7",
        created_at="2030-01-01T12:00:00Z",
        last_used_at="2030-01-02T08:30:00Z",
        expires_at="2030-01-09T08:30:00Z",
        current=True,
        ended_at=None,
        reason=None,
    )

    id: UUID
    device_name: str | None
    user_agent: str | None
    ip: str | None
    created_at: datetime
    last_used_at: datetime = Field(description="The login or the last refresh.")
    expires_at: datetime
    current: bool = Field(description="Whether the access token of this request belongs to it.")
    ended_at: datetime | None = Field(description="null while it is live.")
    reason: str | None = Field(description="Why it ended: logout, evicted, expired and so on.")

    @staticmethod
    def of(session: Session) -> "SessionItem":
        """Return the answer for a session."""
        return SessionItem(
            id=session.id,
            device_name=session.device.name,
            user_agent=session.device.user_agent,
            ip=session.device.ip,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            current=session.current,
            ended_at=session.ended_at,
            reason=None if session.reason is None else session.reason.value,
        )


class SessionList(BaseModel):
    """Where a user is logged in, last used first."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    sessions: list[SessionItem]


class Health(BaseModel):
    """The service answers."""

    model_config = example_answer(status="ok")

    status: Literal["ok"] = "ok"


class InvalidField(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(defer_build=True)

    field: str
    message: str


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(defer_build=True)

    type: str = Field(description="A URI that names the kind of problem.")
    title: str
    status: int
    detail: str
    code: str = Field(description="The same, short and stable: what a program looks at.")
    request_id: str = Field(description="Finds the request in the log of the service.")
    errors: list[InvalidField] | None = Field(
        default=None, description="What is wrong with which field."
    )
    failing: list[str] | None = Field(default=None, description="The health checks that fail.")
    resource: str | None = Field(
        default=None, description="The resource to ask for, to get a token that is accepted."
    )
    max_age: int | None = Field(
        default=None, description="Seconds that a proof of identity may be old."
    )


class OAuthProblem(BaseModel):
    """Why a request under `/oauth/` failed (RFC 6749 §5.2)."""

    model_config = ConfigDict(defer_build=True)

    error: str
    error_description: str
