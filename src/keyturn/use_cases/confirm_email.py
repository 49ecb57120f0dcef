"""Somebody follows the link that shows that an address is theirs."""

from dataclasses import dataclass, field, replace

from keyturn.domain.errors import (
    Contention,
    CurrentPasswordRequired,
    InvalidOneTimeToken,
    PasswordRequired,
    StaleOneTimeToken,
    StaleUser,
)
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.one_time_token import OneTimeToken, TokenPurpose, digest_of
from keyturn.domain.principal import Principal
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.source import source_of
from keyturn.domain.user import User
from keyturn.ports.passwords import PasswordHasher
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.current_password import CurrentPassword
from keyturn.use_cases.new_password import NewPasswordRules
from keyturn.use_cases.reset_password import write_reset


@dataclass(frozen=True, slots=True)
class ConfirmEmailCommand:
    """The token of the link, and what shows that the account is the caller's.

    Attributes:
        password: the account's, None where it is not given.
        new_password: what the account's password becomes, None where it stays.
        principal: the verified caller, None without an access token.

    Raises:
        ValueError: both passwords are given.
    """

    token: Secret
    password: Secret | None = None
    new_password: Secret | None = None
    principal: Principal | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        if self.password is not None and self.new_password is not None:
            raise ValueError("a link takes the account's password or a new one, not both")


class ConfirmEmail:
    """Verifies the address that a user registered with, or makes a new one the user's.

    Reading the mail of an address does not show who made the account: a stranger may have
    registered with it, or may have asked for it as their new address. The link alone therefore
    changes nothing but an account whose address is verified already.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        current_password: CurrentPassword,
        rules: NewPasswordRules,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._current_password = current_password
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: ConfirmEmailCommand) -> None:
        """Do what the link was sent for; the address before, if there is one, is told by mail.

        The first proof of an address takes the account's password, or sets a new one and ends
        every session. A change of address takes the password or an access token of the account,
        and ends every session but that of the token. What fails does not use up the link.

        Raises:
            InvalidOneTimeToken: the token is worth nothing (any more), or is to set the password
                of an account whose address is verified already.
            PasswordRequired: it is the first proof, and neither password is given.
            CurrentPasswordRequired: it is a change, and nothing shows whose the account is.
            WrongCurrentPassword: see `CurrentPassword`.
            PasswordNotText, PasswordTooShort, PasswordTooLong, PasswordTooCommon,
                PasswordTooPersonal, PasswordBreached: see the policy.
            EmailTaken: somebody else has the new address by now.
            TooManyAttempts: too many tokens or passwords from the same source.
            Unavailable: the hasher is busy or the store does not answer.
        """
        await self._throttle.admit(ThrottledAction.VERIFY, source=source_of(command.origin.ip))
        verified_hash: str | None = None
        new_hash: str | None = None
        for _ in range(MAX_ATTEMPTS):
            async with self._unit_of_work() as uow:
                token, user = await self._link(uow, command)
                proved_by_session = await self._is_own_session(uow, user, command.principal)
            if self._needs_password(token, user, command, proved_by_session=proved_by_session):
                # Only who has a good token makes the service hash.
                if command.new_password is not None and new_hash is None:
                    password = await self._rules.accept(command.new_password, email=user.email)
                    new_hash = await self._hasher.hash(
                        password, source=source_of(command.origin.ip)
                    )
                if command.password is not None and user.password_hash != verified_hash:
                    await self._current_password.check(user, command.password, command.origin)
                    verified_hash = user.password_hash
                    # The check moved the user's version.
                    continue
            try:
                async with self._unit_of_work() as uow:
                    uow.one_time_tokens.redeem(token.digest)
                    keep = command.principal if proved_by_session else None
                    await self._confirm(uow, token, user, new_hash, keep, command.origin)
                    await uow.commit()
            except StaleUser:
                continue
            except StaleOneTimeToken:
                raise InvalidOneTimeToken from None
            return
        raise Contention

    async def _link(
        self, uow: UnitOfWork, command: ConfirmEmailCommand
    ) -> tuple[OneTimeToken, User]:
        now = self._clock.now()
        token = await uow.one_time_tokens.get(digest_of(command.token))
        user = None if token is None else await uow.users.get(token.user_id)
        if (
            token is None
            or user is None
            or not user.is_active
            or token.purpose not in {TokenPurpose.VERIFY_EMAIL, TokenPurpose.CHANGE_EMAIL}
            or not token.is_good_for(token.purpose, user, now)
        ):
            raise InvalidOneTimeToken
        return token, user

    async def _is_own_session(
        self, uow: UnitOfWork, user: User, principal: Principal | None
    ) -> bool:
        if principal is None or principal.user_id != user.id:
            return False
        family = await uow.families.get(principal.session_id)
        return family is not None and family.user_id == user.id and family.revoked_at is None

    def _needs_password(
        self,
        token: OneTimeToken,
        user: User,
        command: ConfirmEmailCommand,
        *,
        proved_by_session: bool,
    ) -> bool:
        """Return whether a password has to be looked at.

        Raises:
            PasswordRequired, CurrentPasswordRequired, InvalidOneTimeToken: see `execute`.
        """
        if token.purpose is TokenPurpose.CHANGE_EMAIL:
            # A password that comes along is checked, also where the session would do.
            if command.password is None and not proved_by_session:
                raise CurrentPasswordRequired
            if command.new_password is not None:
                raise CurrentPasswordRequired
            return command.password is not None
        if user.email_verified_at is not None:
            # A link that verifies is good for longer than one that resets, and is no reset.
            if command.new_password is not None:
                raise InvalidOneTimeToken
            return False
        if command.password is None and command.new_password is None:
            raise PasswordRequired
        return True

    async def _confirm(
        self,
        uow: UnitOfWork,
        token: OneTimeToken,
        user: User,
        new_hash: str | None,
        keep: Principal | None,
        origin: Origin,
    ) -> None:
        now = self._clock.now()
        event = AuditEventType.EMAIL_VERIFIED
        if token.purpose is TokenPurpose.CHANGE_EMAIL:
            event = AuditEventType.EMAIL_CHANGED
            await self._change_address(uow, user.with_email(token.email, now), user, keep, origin)
        elif new_hash is not None:
            write_reset(uow, self._ids, user.with_reset_password(new_hash, now), now, origin)
        else:
            uow.users.save(user.with_verified_email(now))
        uow.audit.add(
            AuditEvent(
                self._ids.event_id(), now, event, actor=user.id, subject=user.id, origin=origin
            )
        )

    async def _change_address(
        self,
        uow: UnitOfWork,
        changed: User,
        before: User,
        keep: Principal | None,
        origin: Origin,
    ) -> None:
        now = changed.updated_at
        if keep is None:
            changed = replace(changed, epoch=changed.epoch + 1)
            uow.revocations.add_user(changed.id, changed.epoch, now)
        else:
            for family in await uow.families.list_live(changed.id, now):
                if family.id != keep.session_id:
                    uow.revocations.add_session(family.id, now)
        uow.users.save(changed)
        uow.families.revoke_all(
            changed.id,
            now,
            RevokeReason.LOGOUT_ALL,
            keep=None if keep is None else keep.session_id,
        )
        uow.outbox.add(
            QueuedMail.about(
                self._ids.mail_id(),
                MailKind.EMAIL_CHANGED,
                changed,
                now,
                origin,
                address=before.email,
            )
        )
