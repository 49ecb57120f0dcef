"""What the three kinds of token say."""

from dataclasses import dataclass
from datetime import UTC, datetime

from keyturn.domain.ids import FamilyId, TokenId, UserId

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The `auth_time` of a token that names none, as older versions issued: never recent."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """The claims of an access token (RFC 9068 §2.2); the codec adds `iss` and `type`.

    Attributes:
        audience: the one resource that the token is for; its `aud`.
        auth_time: when the person last proved who they are: never after `issued_at`.
        epoch: the user's epoch when the token was issued.
        roles: role names; empty under the policy `none`.
        permissions: None where the policy does not put them into the token.
        scope: None where the token is not limited to a part of the user's permissions.
        key_thumbprint: the key (RFC 7638) that whoever presents the token must prove to hold,
            None where the token is good for any bearer (RFC 9449 §6.1).
        auth_time, issued_at, expires_at: aware UTC, whole seconds.
    """

    token_id: TokenId
    user_id: UserId
    family_id: FamilyId
    client_id: str
    audience: str
    epoch: int
    roles: frozenset[str]
    permissions: frozenset[str] | None
    scope: frozenset[str] | None
    auth_time: datetime
    issued_at: datetime
    expires_at: datetime
    key_thumbprint: str | None = None


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """The claims of a refresh token; the codec adds `iss`, `aud` and `type`.

    Attributes:
        issued_at, expires_at: aware UTC, whole seconds.
    """

    token_id: TokenId
    user_id: UserId
    family_id: FamilyId
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceClaims:
    """The claims of a device token; the codec adds `iss`, `aud` and `type`.

    A successful login issues a device token. The client sends it with the next login, which then
    counts as one from a known device.

    Attributes:
        family_id: the session whose login issued the token.
        credentials_version: the user's when the token was issued.
        issued_at, expires_at: aware UTC, whole seconds.
    """

    user_id: UserId
    family_id: FamilyId
    credentials_version: int
    issued_at: datetime
    expires_at: datetime
