"""Users and sessions with sensible defaults: a test names only what it is about."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from keyturn.domain.claims import AccessClaims
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import EventId, FamilyId, MailId, TokenId, UserId
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.one_time_token import OneTimeToken, TokenPurpose, digest_of
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID, Device, RefreshTokenFamily
from keyturn.domain.revocation import Revocation
from keyturn.domain.secret import Secret
from keyturn.domain.user import USER_ROLE, Role, User, UserStatus
from keyturn.testing.doubles import START

AUDIENCE = "keyturn"
"""Whom the access tokens of `make_claims` are for."""

PASSWORD_HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
"""Looks like a hash; no password is known for it."""


def make_user(
    number: int = 1,
    *,
    email: str | None = None,
    display_name: str | None = None,
    status: UserStatus = UserStatus.ACTIVE,
    roles: frozenset[Role] = frozenset({USER_ROLE}),
    created_at: datetime = START,
) -> User:
    """Return a user who was never saved; the same arguments give the same user.

    Args:
        number: tells users of one test apart: it makes the id and the address.
        email: instead of `user<number>@example.com`.
    """
    return User(
        id=UserId(_numbered(0xA, number)),
        email=email or f"user{number}@example.com",
        password_hash=PASSWORD_HASH,
        display_name=display_name,
        status=status,
        roles=roles,
        epoch=0,
        version=0,
        created_at=created_at,
        updated_at=created_at,
        last_login_at=None,
    )


def make_principal(
    user_id: UserId, session_id: FamilyId | None = None, *, scope: frozenset[str] | None = None
) -> Principal:
    """Return the caller of a user's token that is good for an hour and names no right.

    Args:
        user_id: the caller.
        session_id: the session of the token; one of no meaning if there is none.
        scope: what the token is limited to, None for no limit.
    """
    return Principal(
        user_id=user_id,
        session_id=session_id or FamilyId(_numbered(0xB, 0)),
        token_id=make_token_id(0),
        client_id=DEFAULT_CLIENT_ID,
        epoch=0,
        roles=frozenset(),
        permissions=None,
        scope=scope,
        expires_at=START + timedelta(hours=1),
        audience="keyturn",
        auth_time=START,
    )


def make_family(
    user: User,
    number: int = 1,
    *,
    client_id: str = DEFAULT_CLIENT_ID,
    scope: frozenset[str] | None = None,
    device: Device | None = None,
    started_at: datetime = START,
    policy: SessionPolicy | None = None,
    key_thumbprint: str | None = None,
) -> RefreshTokenFamily:
    """Return a session of `user` that was never refreshed.

    Args:
        number: tells families of one test apart: it makes the id and the first token's id.
        policy: gives the lifetimes; the default one if there is none.
    """
    return RefreshTokenFamily.start(
        family_id=FamilyId(_numbered(0xB, number)),
        token_id=make_token_id(number * 1_000_000),
        user_id=user.id,
        client_id=client_id,
        scope=scope,
        device=device or Device(),
        now=started_at,
        policy=policy or SessionPolicy(),
        key_thumbprint=key_thumbprint,
    )


def rotate(
    family: RefreshTokenFamily,
    *,
    at: datetime | None = None,
    successor: TokenId | None = None,
    origin: Origin | None = None,
    policy: SessionPolicy | None = None,
) -> RefreshTokenFamily:
    """Return the next generation of `family`.

    Args:
        at: the moment of the rotation; that of the last one if there is none.
        successor: the new token's id; one that follows the live one's if there is none.
    """
    return family.rotated(
        successor or TokenId(UUID(int=family.current.int + 1)),
        at or family.rotated_at,
        policy or SessionPolicy(),
        origin or Origin(family.device.ip, family.device.user_agent),
    )


def make_claims(
    user: User, family: RefreshTokenFamily, *, issued_at: datetime = START
) -> AccessClaims:
    """Return what the access token of a session says of its user, good for a quarter of an hour."""
    return AccessClaims(
        token_id=family.current,
        user_id=user.id,
        family_id=family.id,
        client_id=family.client_id,
        audience=AUDIENCE,
        epoch=user.epoch,
        roles=user.role_names,
        permissions=user.permissions,
        scope=family.scope,
        auth_time=min(family.created_at, issued_at),
        issued_at=issued_at,
        expires_at=issued_at + timedelta(minutes=15),
    )


def make_token_id(number: int) -> TokenId:
    """Return a token's id, the same for the same number."""
    return TokenId(_numbered(0xC, number))


def make_revocation(number: int = 1, *, expires_at: datetime | None = None) -> Revocation:
    """Return the entry of one access token, whose expiry does not depend on any store.

    Args:
        number: tells entries of one test apart: it makes the token's id.
        expires_at: a quarter of an hour after the start of the clock if there is none.
    """
    return Revocation.of_token(
        TokenId(_numbered(0xB, number)), expires_at or START + timedelta(minutes=15)
    )


def make_event(
    number: int = 1,
    *,
    type: AuditEventType = AuditEventType.LOGIN_SUCCEEDED,  # noqa: A002 - the field's name
    actor: UserId | None = None,
    subject: UserId | None = None,
    session: FamilyId | None = None,
    origin: Origin | None = None,
    details: Mapping[str, str] | None = None,
    at: datetime = START,
) -> AuditEvent:
    """Return something that happened; of two events the one of the greater number is later.

    Args:
        number: makes the id.
    """
    return AuditEvent(
        id=EventId(_numbered(0xD, number)),
        at=at,
        type=type,
        actor=actor,
        subject=subject,
        session=session,
        origin=origin or Origin(),
        details=details or {},
    )


def make_one_time_token(
    user: User,
    number: int = 1,
    *,
    purpose: TokenPurpose = TokenPurpose.RESET_PASSWORD,
    email: str | None = None,
    created_at: datetime = START,
    expires_at: datetime | None = None,
) -> OneTimeToken:
    """Return a token that was sent to `user`, as it is stored.

    Args:
        number: tells tokens of one test apart: it makes the digest.
        email: where it was sent; the user's address if there is none.
        expires_at: half an hour after its creation if there is none.
    """
    return OneTimeToken(
        digest=digest_of(Secret(f"one-time-token-{number}")),
        purpose=purpose,
        user_id=user.id,
        email=email or user.email,
        credentials_version=user.credentials_version,
        created_at=created_at,
        expires_at=expires_at or created_at + timedelta(minutes=30),
    )


def make_mail(
    number: int = 1,
    *,
    kind: MailKind = MailKind.RESET_PASSWORD,
    address: str | None = None,
    user: User | None = None,
    next_attempt_at: datetime = START,
    dead_at: datetime | None = None,
) -> QueuedMail:
    """Return a mail that waits to be sent; of two mails the one of the greater number is later.

    Args:
        number: makes the id.
        address: whom it is for; the user's, or `user<number>@example.com`, if there is none.
        user: whom it is about.
    """
    return QueuedMail(
        id=MailId(_numbered(0xE, number)),
        kind=kind,
        address=address or (f"user{number}@example.com" if user is None else user.email),
        created_at=START,
        next_attempt_at=next_attempt_at,
        user_id=None if user is None else user.id,
        dead_at=dead_at,
    )


def _numbered(kind: int, number: int) -> UUID:
    return UUID(int=kind << 124 | number)
