"""keyturn's use-cases on in-memory adapters: a whole service for a unit test."""

from collections.abc import Coroutine
from datetime import timedelta
from typing import TypeVar

from keyturn.adapters.memory.clients import MemoryClients
from keyturn.adapters.memory.deployment import MemoryDeploymentRecord
from keyturn.adapters.memory.housekeeping import MemoryHousekeeping
from keyturn.adapters.memory.mailer import MemoryMailer
from keyturn.adapters.memory.mails import MemoryMailQueue
from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.memory.store import MemoryStore
from keyturn.adapters.memory.throttle import Unthrottled
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.mail import Mail, QueuedMail
from keyturn.domain.one_time_token import OneTimeTokenPolicy
from keyturn.domain.policies import ClaimsPolicy, PasswordPolicy, SessionPolicy
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.domain.user import User, UserStatus
from keyturn.ports.clients import Clients
from keyturn.ports.deployment import DeploymentRecord
from keyturn.ports.mail import Mailer, MailQueue
from keyturn.ports.passwords import PasswordBlocklist, PasswordHasher
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.proofs import ProofChecker
from keyturn.ports.revocations import RevocationList
from keyturn.ports.system import IdGenerator
from keyturn.ports.throttling import Throttle
from keyturn.ports.tokens import TokenCodec
from keyturn.testing.doubles import (
    FixedBlocklist,
    LengthEstimator,
    ManualClock,
    OpaqueTokenCodec,
    PlainLetterWriter,
    PlainPasswordHasher,
    SequentialIds,
)
from keyturn.use_cases.assign_roles import AssignRoles
from keyturn.use_cases.audiences import Audiences
from keyturn.use_cases.authenticate_access import AuthenticateAccess
from keyturn.use_cases.authenticate_client import AuthenticateClient
from keyturn.use_cases.change_password import ChangePassword
from keyturn.use_cases.change_user import ChangeUser
from keyturn.use_cases.check_proof import CheckProof
from keyturn.use_cases.confirm_email import ConfirmEmail
from keyturn.use_cases.current_password import CurrentPassword
from keyturn.use_cases.define_role import DefineRole
from keyturn.use_cases.delete_account import DeleteAccount
from keyturn.use_cases.delete_role import DeleteRole
from keyturn.use_cases.deliver_mail import DeliverMail
from keyturn.use_cases.end_session import EndSession
from keyturn.use_cases.erase_due_users import EraseDueUsers
from keyturn.use_cases.erase_user import EraseUser
from keyturn.use_cases.estimate_strength import EstimateStrength
from keyturn.use_cases.export_account import ExportAccount
from keyturn.use_cases.get_user import GetUser
from keyturn.use_cases.import_user import ImportUser
from keyturn.use_cases.introspect_token import IntrospectToken
from keyturn.use_cases.list_audit_events import ListAuditEvents
from keyturn.use_cases.list_mails import ListMails
from keyturn.use_cases.list_revocations import ListRevocations
from keyturn.use_cases.list_roles import ListRoles
from keyturn.use_cases.list_sessions import ListSessions
from keyturn.use_cases.list_users import ListUsers
from keyturn.use_cases.load_user import LoadUser
from keyturn.use_cases.login_user import LoginUser, LoginUserCommand
from keyturn.use_cases.new_password import NewPasswordRules
from keyturn.use_cases.purge_expired import PurgeExpired
from keyturn.use_cases.reauthenticate import Reauthenticate
from keyturn.use_cases.record_refusal import RecordRefusal
from keyturn.use_cases.register_user import RegisterUser, RegisterUserCommand
from keyturn.use_cases.request_email_change import RequestEmailChange
from keyturn.use_cases.request_email_verification import RequestEmailVerification
from keyturn.use_cases.request_password_reset import (
    RequestPasswordReset,
    RequestPasswordResetCommand,
)
from keyturn.use_cases.reset_password import ResetPassword
from keyturn.use_cases.resolve_permissions import ResolvePermissions
from keyturn.use_cases.retry_mail import RetryMail
from keyturn.use_cases.revocation_replica import RevocationReplica
from keyturn.use_cases.revoke_all_families import RevokeAllFamilies
from keyturn.use_cases.revoke_family import RevokeFamily, RevokeFamilyCommand
from keyturn.use_cases.revoke_token import RevokeToken
from keyturn.use_cases.rotate_refresh import (
    RotateRefresh,
    RotateRefreshCommand,
    RotateRefreshResult,
)
from keyturn.use_cases.take_over_account import TakeOverAccount
from keyturn.use_cases.token_pair import TokenIssuer, TokenPair
from keyturn.use_cases.update_profile import UpdateProfile

T = TypeVar("T")

ISSUER = "http://127.0.0.1:8000"
"""The issuer, unless `resources` says otherwise."""

AUDIENCE = "keyturn"
"""The default audience, unless `resources` says otherwise."""

ADA = "ada@example.com"
"""The address of the user whom the shortcuts below speak of."""

PASSWORD = Secret("correct horse battery staple")
"""Her password."""


def run(use_case: Coroutine[object, None, T]) -> T:
    """Run a use-case on in-memory adapters to its end, without an event loop."""
    while True:
        try:
            use_case.send(None)
        except StopIteration as end:
            result: T = end.value
            return result


class InMemoryKeyturn:
    """Every use-case, wired to in-memory adapters, with a clock that a test moves.

    ```python
    keyturn = InMemoryKeyturn()
    await keyturn.register()
    tokens = await keyturn.login()
    keyturn.clock.advance(timedelta(minutes=1))
    await keyturn.refresh(tokens.refresh_token)
    ```
    """

    def __init__(
        self,
        *,
        unit_of_work: UnitOfWorkFactory | None = None,
        revocations: RevocationList | None = None,
        deployment: DeploymentRecord | None = None,
        ids: IdGenerator | None = None,
        hasher: PasswordHasher | None = None,
        codec: TokenCodec | None = None,
        blocklist: PasswordBlocklist | None = None,
        clients: Clients | None = None,
        resources: Resources | None = None,
        proofs: ProofChecker | None = None,
        session_policy: SessionPolicy | None = None,
        password_policy: PasswordPolicy | None = None,
        login_policy: LoginPolicy | None = None,
        throttle: Throttle | None = None,
        mail_queue: MailQueue | None = None,
        mailer: Mailer | None = None,
        max_staleness: timedelta = timedelta(days=36_500),
        claims_policy: ClaimsPolicy = ClaimsPolicy.ROLES_AND_PERMISSIONS,
    ) -> None:
        """Wire the use-cases; any adapter can be replaced by one of your own."""
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.ids = ids or SequentialIds()
        # One process alone never loses touch with a list that it holds itself.
        revocation_list = revocations or MemoryRevocationList(self.store)
        self.revocations = RevocationReplica(revocation_list, self.clock, max_staleness)
        if revocations is None:
            run(self.revocations.follow())
        self.unit_of_work = unit_of_work or (
            lambda: MemoryUnitOfWork(self.store, self.revocations.apply)
        )
        self.hasher = hasher or PlainPasswordHasher()
        self.codec = codec or OpaqueTokenCodec()
        self.session_policy = session_policy or SessionPolicy()
        self.password_policy = password_policy or PasswordPolicy()
        self.login_policy = login_policy or LoginPolicy()
        throttle = throttle or Unthrottled()
        self.resources = resources or Resources(ISSUER, AUDIENCE)
        clients = clients or MemoryClients()
        blocklist = blocklist or FixedBlocklist()
        rules = NewPasswordRules(self.password_policy, blocklist)
        self.deployment = deployment or MemoryDeploymentRecord(self.store)
        # As a service does when it starts.
        if deployment is None:
            run(self.deployment.record_access_ttl(self.session_policy.access_ttl))
        tokens = TokenIssuer(
            self.codec, self.ids, self.session_policy, claims_policy, self.deployment
        )
        audiences = Audiences(self.resources, clients)

        current_password = CurrentPassword(
            self.unit_of_work,
            self.hasher,
            self.clock,
            self.ids,
            self.password_policy,
            self.login_policy,
            throttle,
        )

        self.check_proof = CheckProof(proofs, self.clock)
        self.register_user = RegisterUser(
            self.unit_of_work, self.hasher, rules, self.clock, self.ids, throttle
        )
        self.import_user = ImportUser(self.unit_of_work, self.hasher, self.clock, self.ids)
        self.login_user = LoginUser(
            self.unit_of_work,
            self.hasher,
            self.codec,
            tokens,
            audiences,
            self.clock,
            self.ids,
            self.password_policy,
            self.session_policy,
            self.login_policy,
            throttle,
            self.check_proof,
        )
        self.rotate_refresh = RotateRefresh(
            self.unit_of_work,
            self.codec,
            tokens,
            audiences,
            self.clock,
            self.ids,
            self.session_policy,
            throttle,
            self.check_proof,
        )
        self.revoke_family = RevokeFamily(self.unit_of_work, self.codec, self.clock, self.ids)
        change = (self.unit_of_work, self.clock, self.ids)
        self.revoke_all_families = RevokeAllFamilies(*change)
        self.end_session = EndSession(*change)
        self.change_user = ChangeUser(*change)
        self.assign_roles = AssignRoles(*change)
        self.take_over_account = TakeOverAccount(
            self.unit_of_work, self.hasher, rules, self.clock, self.ids
        )
        self.define_role = DefineRole(*change)
        self.delete_role = DeleteRole(*change)
        self.authenticate_access = AuthenticateAccess(
            self.codec, self.revocations, self.clock, proofs, rule=self.resources.ordinary
        )
        self.reauthenticate = Reauthenticate(
            self.unit_of_work, current_password, tokens, audiences, self.clock, self.ids
        )
        self.authenticate_client = AuthenticateClient(clients)
        self.introspect_token = IntrospectToken(
            self.unit_of_work, self.codec, self.revocations, self.clock, self.resources
        )
        self.revoke_token = RevokeToken(
            self.unit_of_work,
            self.codec,
            self.revocations,
            self.revoke_family,
            self.clock,
            self.ids,
            self.resources,
        )
        self.list_revocations = ListRevocations(revocation_list, self.clock)
        self.resolve_permissions = ResolvePermissions(
            self.unit_of_work, self.clock, timedelta(seconds=5)
        )
        self.get_user = GetUser(self.unit_of_work)
        self.list_users = ListUsers(self.unit_of_work)
        self.record_refusal = RecordRefusal(self.unit_of_work, self.clock, self.ids, throttle)
        self.list_roles = ListRoles(self.unit_of_work)
        self.list_audit_events = ListAuditEvents(self.unit_of_work)
        self.purge_expired = PurgeExpired(
            MemoryHousekeeping(self.store),
            self.clock,
            families_kept=timedelta(days=30),
            events_kept=timedelta(days=365),
        )
        self.list_sessions = ListSessions(self.unit_of_work, self.clock)
        self.load_user = LoadUser(self.unit_of_work)
        self.update_profile = UpdateProfile(self.unit_of_work, self.clock, self.ids)
        self.change_password = ChangePassword(
            self.unit_of_work,
            self.hasher,
            current_password,
            rules,
            self.clock,
            self.ids,
        )

        self.estimate_strength = EstimateStrength(
            LengthEstimator(), rules, self.password_policy, throttle
        )

        self._device_tokens: dict[str, Secret] = {}
        self.sent_mails: list[Mail] = []
        self.failed_mails: list[QueuedMail] = []
        self.mail_queue = mail_queue or MemoryMailQueue(self.store)
        self.deliver_mail = DeliverMail(
            self.mail_queue,
            self.unit_of_work,
            PlainLetterWriter(),
            mailer or MemoryMailer(self.sent_mails),
            self.clock,
            self.ids,
            OneTimeTokenPolicy(),
            throttle,
            self.failed_mails.append,
        )
        self.list_mails = ListMails(self.mail_queue)
        self.retry_mail = RetryMail(self.mail_queue, self.clock)
        ask = (self.unit_of_work, self.clock, self.ids, throttle)
        self.request_password_reset = RequestPasswordReset(*ask)
        self.request_email_verification = RequestEmailVerification(*ask)
        self.confirm_email = ConfirmEmail(*ask)
        self.request_email_change = RequestEmailChange(
            self.unit_of_work, current_password, self.clock, self.ids, throttle
        )
        self.reset_password = ResetPassword(
            self.unit_of_work,
            self.hasher,
            rules,
            self.clock,
            self.ids,
            throttle,
        )
        self.delete_account = DeleteAccount(*change, timedelta(days=14))
        self.erase_user = EraseUser(*change)
        self.erase_due_users = EraseDueUsers(*change)
        self.export_account = ExportAccount(self.unit_of_work, self.clock, self.ids, throttle)

    async def register(
        self, email: str = ADA, password: Secret = PASSWORD, *, verified: bool = False
    ) -> User:
        """Register a user, whose address counts as verified if you say so."""
        return await self.register_user.execute(
            RegisterUserCommand(email, password, email_is_verified=verified)
        )

    async def login(
        self,
        email: str = ADA,
        password: Secret = PASSWORD,
        *,
        resource: str | None = None,
        from_known_device: bool = False,
    ) -> TokenPair:
        """Log a user in, and keep the device token.

        Args:
            resource: what the access token is for; None for the default audience.
            from_known_device: whether to send the device token of the last login of this address.
        """
        device_token = self._device_tokens.get(email) if from_known_device else None
        pair = await self.login_user.execute(
            LoginUserCommand(email, password, resource=resource, device_token=device_token)
        )
        if pair.device_token is not None:
            self._device_tokens[email] = pair.device_token
        return pair

    async def forget_password(self, email: str = ADA) -> Secret:
        """Ask for a reset, read the mail and return the token of its link."""
        await self.request_password_reset.execute(RequestPasswordResetCommand(email))
        return await self.token_of_next_mail()

    async def token_of_next_mail(self) -> Secret:
        """Send what waits and return the token of the last mail that has one.

        Raises:
            LookupError: none of them has a token.
        """
        sent_before = len(self.sent_mails)
        await self.deliver_mail.execute()
        for mail in reversed(self.sent_mails[sent_before:]):
            if mail.text:
                return Secret(mail.text)
        raise LookupError("no mail with a token was sent")

    async def refresh(
        self, refresh_token: Secret, *, resource: str | None = None
    ) -> RotateRefreshResult:
        """Refresh a session."""
        return await self.rotate_refresh.execute(
            RotateRefreshCommand(refresh_token, resource=resource)
        )

    async def logout(self, refresh_token: Secret) -> None:
        """End the session of a refresh token."""
        await self.revoke_family.execute(RevokeFamilyCommand(refresh_token=refresh_token))

    async def set_status(self, user: User, status: UserStatus) -> None:
        """Enable or disable a user, as an administrator would."""
        async with self.unit_of_work() as uow:
            stored = await uow.users.get(user.id)
            if stored is None:
                raise LookupError(user.id)
            uow.users.save(stored.with_status(status, self.clock.now()))
            await uow.commit()

    def advance(self, **span: float) -> None:
        """Move the clock by `timedelta(**span)`."""
        self.clock.advance(timedelta(**span))
