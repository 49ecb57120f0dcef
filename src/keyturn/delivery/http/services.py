"""What the routes are handed: the use-cases, and the few options of the delivery itself."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import DEFAULT_CLIENT_ID
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.ports.proofs import Proof
from keyturn.use_cases.assign_roles import AssignRoles
from keyturn.use_cases.authenticate_access import AuthenticateAccess
from keyturn.use_cases.authenticate_client import AuthenticateClient
from keyturn.use_cases.change_password import ChangePassword
from keyturn.use_cases.change_user import ChangeUser
from keyturn.use_cases.check_proof import CheckProof
from keyturn.use_cases.confirm_email import ConfirmEmail
from keyturn.use_cases.define_role import DefineRole
from keyturn.use_cases.delete_account import DeleteAccount
from keyturn.use_cases.delete_role import DeleteRole
from keyturn.use_cases.end_session import EndSession
from keyturn.use_cases.erase_user import EraseUser
from keyturn.use_cases.estimate_strength import EstimateStrength
from keyturn.use_cases.export_account import ExportAccount
from keyturn.use_cases.get_user import GetUser
from keyturn.use_cases.introspect_token import IntrospectToken
from keyturn.use_cases.list_audit_events import ListAuditEvents
from keyturn.use_cases.list_revocations import ListRevocations
from keyturn.use_cases.list_roles import ListRoles
from keyturn.use_cases.list_sessions import ListSessions
from keyturn.use_cases.list_users import ListUsers
from keyturn.use_cases.load_user import LoadUser
from keyturn.use_cases.login_user import LoginUser
from keyturn.use_cases.reauthenticate import Reauthenticate
from keyturn.use_cases.record_refusal import RecordRefusal
from keyturn.use_cases.register_user import RegisterUser
from keyturn.use_cases.request_email_change import RequestEmailChange
from keyturn.use_cases.request_email_verification import RequestEmailVerification
from keyturn.use_cases.request_password_reset import RequestPasswordReset
from keyturn.use_cases.reset_password import ResetPassword
from keyturn.use_cases.resolve_permissions import ResolvePermissions
from keyturn.use_cases.revoke_all_families import RevokeAllFamilies
from keyturn.use_cases.revoke_family import RevokeFamily
from keyturn.use_cases.revoke_token import RevokeToken
from keyturn.use_cases.rotate_refresh import RotateRefresh
from keyturn.use_cases.update_profile import UpdateProfile


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What a deployment chooses about the wire.

    Args:
        secure_cookies: False only for plain-HTTP development.
        allowed_origins: browser origins (`https://app.example.com`) that may call from another
            site; for CORS and for requests with the refresh cookie.
        trusted_proxies: addresses or networks whose `X-Forwarded-For` and `-Proto` are believed.
        password_grant: whether `/oauth/token` takes `grant_type=password`.
        public_clients: OAuth clients that need no secret.
        issuer: the URL under which clients reach the service, and its name in metadata.
        dpop: whether tokens can be bound to a client's key (RFC 9449).
        max_body_bytes: larger request bodies are refused before they are read.
    """

    secure_cookies: bool = True
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    password_grant: bool = True
    public_clients: frozenset[str] = field(default=frozenset({DEFAULT_CLIENT_ID}))
    issuer: str = "http://127.0.0.1:8000"
    dpop: bool = False
    max_body_bytes: int = 64 * 1024

    @property
    def issuer_path(self) -> str:
        """The path of the issuer's URL, empty where it has none."""
        return urlsplit(self.issuer).path.rstrip("/")

    @property
    def origin(self) -> str:
        """The scheme and host of the issuer's URL, with its port where one is named."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    def url(self, path: str) -> str:
        """Return where clients find what is at `path` here."""
        return self.issuer.rstrip("/") + path


class AccessChecks(Protocol):
    """What the dependencies need of whoever checks access tokens: the service or a verifier."""

    @abstractmethod
    async def authenticate(self, access_token: Secret, proof: Proof | None = None) -> Principal:
        """Return the caller.

        Args:
            proof: what came with the token, None where it is presented as a bearer token.

        Raises:
            WrongAudience: the token is for another resource.
            InvalidAccessToken: the token is malformed, forged, expired, revoked or of another kind;
                or it is bound to a key and presented without it, or the other way round.
            InvalidProof: the proof is not good, or lacks a nonce that is asked for.
            Unavailable: nobody can tell at the moment whether it is good.
        """

    @abstractmethod
    async def resolve_rights(self, principal: Principal) -> Principal:
        """Return the caller with what can be known of roles and permissions beyond the token.

        Raises:
            InvalidAccessToken: the user is gone or disabled.
            StoreUnavailable: the store does not answer.
        """


@dataclass(frozen=True, slots=True)
class Services(AccessChecks):
    """The use-cases that the routes call, and what health asks.

    Args:
        resources: which access tokens each route accepts.
        readiness: named checks; each returns, or raises what is wrong.
    """

    register_user: RegisterUser
    login_user: LoginUser
    rotate_refresh: RotateRefresh
    revoke_family: RevokeFamily
    revoke_all_families: RevokeAllFamilies
    authenticate_access: AuthenticateAccess
    reauthenticate: Reauthenticate
    resources: Resources
    load_user: LoadUser
    update_profile: UpdateProfile
    change_password: ChangePassword
    list_sessions: ListSessions
    end_session: EndSession
    estimate_strength: EstimateStrength
    request_email_verification: RequestEmailVerification
    request_email_change: RequestEmailChange
    confirm_email: ConfirmEmail
    request_password_reset: RequestPasswordReset
    reset_password: ResetPassword
    export_account: ExportAccount
    delete_account: DeleteAccount
    erase_user: EraseUser
    resolve_permissions: ResolvePermissions
    list_users: ListUsers
    get_user: GetUser
    change_user: ChangeUser
    assign_roles: AssignRoles
    list_roles: ListRoles
    define_role: DefineRole
    delete_role: DeleteRole
    list_audit_events: ListAuditEvents
    authenticate_client: AuthenticateClient
    introspect_token: IntrospectToken
    revoke_token: RevokeToken
    list_revocations: ListRevocations
    check_proof: CheckProof
    record_refusal: RecordRefusal
    readiness: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)

    async def authenticate(self, access_token: Secret, proof: Proof | None = None) -> Principal:
        """Return the caller of an ordinary route, without any I/O."""
        return self.authenticate_access.execute(access_token, proof)

    async def resolve_rights(self, principal: Principal) -> Principal:
        """Return the caller with the rights that the store knows of."""
        return await self.resolve_permissions.execute(principal)
