"""What the routes of administration take and give, as OpenAPI tells it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from keyturn.delivery.http.schemas import (
    EXAMPLE_SESSION_ID,
    EXAMPLE_USER_ID,
    Line,
    UserProfile,
    example,
    example_answer,
)
from keyturn.domain.events import AuditEvent, AuditEventType
from keyturn.domain.user import ROLE_NAME, Role, UserStatus
from keyturn.use_cases.list_users import MAX_PAGE

RoleName = Annotated[str, StringConstraints(pattern=f"^{ROLE_NAME.pattern}$")]
"""The name of a role."""

_PermissionText = Annotated[str, StringConstraints(max_length=129)]
_EXAMPLE_CURSOR = "dQGY86J8EX1umlMfDmwfKzo"
_EXAMPLE_USER: dict[str, JsonValue] = {
    "id": EXAMPLE_USER_ID,
    "email": "ada@example.com",
    "email_verified": True,
    "display_name": "Ada",
    "status": "active",
    "roles": ["user"],
    "permissions": ["profile:read", "profile:write"],
    "created_at": "2030-01-01T12:00:00Z",
    "last_login_at": "2030-01-02T08:30:00Z",
    "deletion_due_at": None,
}
_EXAMPLE_ROLE: dict[str, JsonValue] = {
    "name": "editor",
    "permissions": ["posts:delete", "posts:write"],
    "assignable_by": ["lead"],
}
EXAMPLE_EVENT: dict[str, JsonValue] = {
    "id": "0198f3a2-7c40-7e15-a0b4-9d2c6f1a8e55",
    "at": "2030-01-02T08:30:00Z",
    "type": "session_revoked",
    "actor": EXAMPLE_USER_ID,
    "subject": EXAMPLE_USER_ID,
    "session": EXAMPLE_SESSION_ID,
    "ip": "192.0.2.7",
    "user_agent": "Mozilla/5.0",
    "request_id": "5f0c6a1e9b7d4c2f8a3e1d0b6c9f2a47",
    "client_request_id": None,
    "details": {"reason": "logout"},
}


class _Search(BaseModel):
    # A misspelt filter must not show everybody.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    limit: int = Field(
        default=50, ge=1, le=MAX_PAGE, description="The longest page wanted.", examples=[50]
    )
    cursor: str | None = Field(
        default=None,
        max_length=64,
        description="The next_cursor of the page before.",
        examples=[_EXAMPLE_CURSOR],
    )


class UserSearch(_Search):
    """Which users, and which page of them."""

    email: Line | None = Field(
        default=None, description="A part of the address.", examples=["@example.com"]
    )
    status: UserStatus | None = Field(
        default=None, description="Only these.", examples=["disabled"]
    )
    role: RoleName | None = Field(
        default=None, description="Only those who have it.", examples=["admin"]
    )


class AuditSearch(_Search):
    """Which audit events, and which page of them."""

    type: AuditEventType | None = Field(
        default=None, description="Only of this kind.", examples=["login_failed"]
    )
    actor: UUID | None = Field(
        default=None, description="Only what this user did.", examples=[EXAMPLE_USER_ID]
    )
    subject: UUID | None = Field(
        default=None, description="Only what was done to this user.", examples=[EXAMPLE_USER_ID]
    )


class UserChange(BaseModel):
    """What an administrator changes of a user; what is absent stays.

    Nobody is made to leave: a user asks for that, and an administrator erases at once.
    """

    model_config = example(status="disabled")

    status: Literal[UserStatus.ACTIVE, UserStatus.DISABLED] | None = Field(
        default=None, description="A disabled user loses all sessions and tokens; null leaves it."
    )
    display_name: Line | None = Field(default=None, description="null removes it.")


class RoleAssignment(BaseModel):
    """All the roles that a user shall have."""

    model_config = example(roles=["editor", "user"])

    roles: list[RoleName] = Field(max_length=100)


class RoleDefinition(BaseModel):
    """All that a role shall permit."""

    model_config = example(permissions=["posts:delete", "posts:write"], assignable_by=["lead"])

    permissions: list[_PermissionText] = Field(max_length=500)
    assignable_by: list[RoleName] | None = Field(
        default=None,
        max_length=100,
        description="The roles whose holders may grant this one. Left out, nothing changes.",
    )


class UserList(BaseModel):
    """A page of users, in the order in which they registered."""

    model_config = example_answer(users=[_EXAMPLE_USER], next_cursor=_EXAMPLE_CURSOR)

    users: list[UserProfile]
    next_cursor: str | None = Field(description="Asks for the next page; null on the last one.")


class RoleItem(BaseModel):
    """A role and what it permits."""

    model_config = example_answer(**_EXAMPLE_ROLE)

    name: str
    permissions: list[str]
    assignable_by: list[str] = Field(
        description="The roles whose holders may grant this one, besides those who hold it."
    )

    @staticmethod
    def of(role: Role) -> "RoleItem":
        """Return the answer for a role."""
        return RoleItem(
            name=role.name,
            permissions=sorted(role.permissions),
            assignable_by=sorted(role.assignable_by),
        )


class RoleList(BaseModel):
    """Every role, by name."""

    model_config = example_answer(roles=[_EXAMPLE_ROLE])

    roles: list[RoleItem]


class AuditEventItem(BaseModel):
    """Something that happened."""

    model_config = example_answer(**EXAMPLE_EVENT)

    id: UUID
    at: datetime
    type: AuditEventType
    actor: UUID | None = Field(
        description="Who did it; null for somebody unknown or the command line."
    )
    subject: UUID | None = Field(description="Whom it was done to.")
    session: UUID | None
    ip: str | None
    user_agent: str | None
    request_id: str | None = Field(description="The X-Request-ID of the request's answer.")
    client_request_id: str | None = Field(
        description="The X-Request-ID that a trusted proxy sent; null for none."
    )
    details: dict[str, str]

    @staticmethod
    def of(event: AuditEvent) -> "AuditEventItem":
        """Return the answer for an event."""
        return AuditEventItem(
            id=event.id,
            at=event.at,
            type=event.type,
            actor=event.actor,
            subject=event.subject,
            session=event.session,
            ip=event.origin.ip,
            user_agent=event.origin.user_agent,
            request_id=event.origin.request_id,
            client_request_id=event.origin.client_request_id,
            details=dict(event.details),
        )


class AuditEventList(BaseModel):
    """A page of audit events, latest first."""

    model_config = example_answer(events=[EXAMPLE_EVENT], next_cursor=None)

    events: list[AuditEventItem]
    next_cursor: str | None = Field(description="Asks for the next page; null on the last one.")
