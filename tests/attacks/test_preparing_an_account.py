"""A stranger registers with somebody else's address, or sends a change of address there.

Whoever owns the mailbox follows the link sooner or later. What the stranger prepared must be worth
nothing from then on.
"""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.throttle import LimitsThrottle, Rates
from keyturn.domain.errors import (
    CurrentPasswordRequired,
    InvalidAccessToken,
    InvalidCredentials,
    InvalidOneTimeToken,
    InvalidRefreshToken,
    PasswordRequired,
    PasswordTooShort,
    TooManyAttempts,
    WrongCurrentPassword,
)
from keyturn.domain.events import Origin
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import User
from keyturn.ports.throttling import ThrottledAction
from keyturn.testing.builders import make_principal
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.delete_account import DeleteAccountCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.request_email_change import RequestEmailChangeCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.revoke_family import RevokeFamilyCommand
from keyturn.use_cases.token_pair import TokenPair
from keyturn.use_cases.update_profile import UpdateProfileCommand

MINE = Secret("a passphrase of the owner")
OTHER = "mallory@example.com"
Attempt = Coroutine[object, None, object]


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


async def prepare(keyturn: InMemoryKeyturn) -> tuple[User, Secret, TokenPair]:
    """Register as the stranger would; return the user, the owner's link and the session."""
    user = await keyturn.register_user.execute(
        RegisterUserCommand(ADA, PASSWORD, display_name="click https://evil.example")
    )
    link = await keyturn.token_of_next_mail()
    return user, link, await keyturn.login()


async def change_link(keyturn: InMemoryKeyturn, tokens: TokenPair, email: str = OTHER) -> Secret:
    """Ask for another address, and return what the link to it holds."""
    await keyturn.request_email_change.execute(
        RequestEmailChangeCommand(tokens.user_id, tokens.session_id, PASSWORD, email)
    )
    return await keyturn.token_of_next_mail()


async def confirm(
    keyturn: InMemoryKeyturn,
    link: Secret,
    password: Secret | None = None,
    new_password: Secret | None = None,
    session: TokenPair | None = None,
) -> None:
    principal = (
        None if session is None else keyturn.authenticate_access.execute(session.access_token)
    )
    await keyturn.confirm_email.execute(
        ConfirmEmailCommand(link, password, new_password, principal)
    )


@pytest.mark.parametrize("by", ["link", "reset"])
async def test_a_stranger_keeps_nothing_of_an_account_once_the_owner_arrives(
    keyturn: InMemoryKeyturn, by: str
) -> None:
    user, link, stranger = await prepare(keyturn)
    reset = await keyturn.forget_password()
    pending = await change_link(keyturn, stranger)
    await keyturn.request_email_change.execute(
        RequestEmailChangeCommand(user.id, stranger.session_id, PASSWORD, "later@example.com")
    )
    with pytest.raises(InvalidCredentials):
        await keyturn.login(password=Secret("a wrong one of a stranger"))
    if by == "link":
        await confirm(keyturn, link, new_password=MINE)
    else:
        await keyturn.reset_password.execute(ResetPasswordCommand(reset, MINE))
    stored = keyturn.store.users[user.id]
    assert stored.email_verified_at is not None
    assert (stored.display_name, stored.failed_logins) == (None, 0)
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(stranger.access_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(stranger.refresh_token)
    for password in (PASSWORD, None):
        with pytest.raises(InvalidOneTimeToken):
            await confirm(keyturn, pending, password)
    await keyturn.deliver_mail.execute()
    assert "later@example.com" not in {mail.to for mail in keyturn.sent_mails}
    with pytest.raises(InvalidCredentials):
        await keyturn.login()
    await keyturn.login(password=MINE)
    reasons = {family.revoke_reason for family in keyturn.store.families.values()}
    assert reasons == {None, RevokeReason.PASSWORD_CHANGED}


async def test_a_stranger_gains_nothing_by_a_link_that_is_only_followed(
    keyturn: InMemoryKeyturn,
) -> None:
    user, link, stranger = await prepare(keyturn)
    for session in (None, stranger):
        with pytest.raises(PasswordRequired):
            await confirm(keyturn, link, session=session)
    assert keyturn.store.users[user.id].email_verified_at is None
    # The link stays good for whoever chose the password.
    await confirm(keyturn, link, PASSWORD)
    assert keyturn.store.users[user.id].email_verified_at is not None
    keyturn.authenticate_access.execute(stranger.access_token)


async def test_a_password_that_is_refused_does_not_use_up_the_link(
    keyturn: InMemoryKeyturn,
) -> None:
    user, link, _ = await prepare(keyturn)
    with pytest.raises(WrongCurrentPassword):
        await confirm(keyturn, link, MINE)
    assert keyturn.store.users[user.id].failed_logins == 1
    with pytest.raises(PasswordTooShort):
        await confirm(keyturn, link, new_password=Secret("short"))
    await confirm(keyturn, link, new_password=MINE)


async def test_an_attacker_cannot_guess_the_password_with_a_link(
    keyturn: InMemoryKeyturn,
) -> None:
    _, link, _ = await prepare(keyturn)
    most = keyturn.login_policy.failures_from_anywhere
    for _ in range(most):
        with pytest.raises(WrongCurrentPassword):
            await confirm(keyturn, link, Secret("a guess of an attacker"))
    with pytest.raises(WrongCurrentPassword):
        await confirm(keyturn, link, PASSWORD)
    # The owner of the mailbox gets in all the same.
    await confirm(keyturn, link, new_password=MINE)


async def test_guesses_with_a_link_count_for_their_source() -> None:
    rates = {ThrottledAction.LOGIN: Rates.parse("2/day")}
    keyturn = InMemoryKeyturn(throttle=LimitsThrottle(ProcessWindows(), rates))
    await keyturn.register()
    link = await keyturn.token_of_next_mail()
    guess = ConfirmEmailCommand(link, MINE, origin=Origin("203.0.113.9"))
    for error in (WrongCurrentPassword, WrongCurrentPassword, TooManyAttempts):
        with pytest.raises(error):
            await keyturn.confirm_email.execute(guess)


async def test_a_made_up_link_makes_the_service_hash_nothing(keyturn: InMemoryKeyturn) -> None:
    hasher = PlainPasswordHasher()
    keyturn = InMemoryKeyturn(hasher=hasher)
    for password, new_password in ((PASSWORD, None), (None, MINE)):
        with pytest.raises(InvalidOneTimeToken):
            await confirm(keyturn, Secret("made up"), password, new_password)
    assert hasher.verifications == 0


async def test_an_old_link_that_verifies_resets_no_password_of_a_verified_account(
    keyturn: InMemoryKeyturn,
) -> None:
    _, link, _ = await prepare(keyturn)
    await keyturn.request_email_verification.execute(RequestEmailVerificationCommand(ADA))
    other = await keyturn.token_of_next_mail()
    await confirm(keyturn, link, PASSWORD)
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, other, new_password=MINE)
    await confirm(keyturn, other)
    await keyturn.login()


async def test_a_stranger_is_given_no_mailbox_by_whoever_follows_the_link_to_it(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register(OTHER)
    await keyturn.deliver_mail.execute()
    stranger = await keyturn.login(OTHER)
    await keyturn.register("owner@example.com", MINE)
    await keyturn.deliver_mail.execute()
    owner = await keyturn.login("owner@example.com", MINE)
    link = await change_link(keyturn, stranger, ADA)
    for new_password, session in ((None, None), (None, owner), (MINE, None), (MINE, stranger)):
        with pytest.raises(CurrentPasswordRequired):
            await confirm(keyturn, link, new_password=new_password, session=session)
    with pytest.raises(WrongCurrentPassword):
        await confirm(keyturn, link, MINE, session=owner)
    assert keyturn.store.users[stranger.user_id].email == OTHER
    await confirm(keyturn, link, PASSWORD)
    assert keyturn.store.users[stranger.user_id].email == ADA


@pytest.mark.parametrize("with_session", [True, False])
async def test_a_thief_is_logged_out_by_a_change_of_address(
    keyturn: InMemoryKeyturn, *, with_session: bool
) -> None:
    user, link, here = await prepare(keyturn)
    await confirm(keyturn, link, PASSWORD)
    thief = await keyturn.login()
    change = await change_link(keyturn, here)
    if with_session:
        await confirm(keyturn, change, session=here)
    else:
        await confirm(keyturn, change, PASSWORD)
    assert keyturn.store.users[user.id].email == OTHER
    for tokens, lives in ((thief, False), (here, with_session)):
        if lives:
            keyturn.authenticate_access.execute(tokens.access_token)
            await keyturn.refresh(tokens.refresh_token)
            continue
        with pytest.raises(InvalidAccessToken):
            keyturn.authenticate_access.execute(tokens.access_token)
        with pytest.raises(InvalidRefreshToken):
            await keyturn.refresh(tokens.refresh_token)


async def test_a_session_that_has_ended_confirms_no_change(keyturn: InMemoryKeyturn) -> None:
    _, _, tokens = await prepare(keyturn)
    change = await change_link(keyturn, tokens)
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    await keyturn.logout(tokens.refresh_token)
    with pytest.raises(CurrentPasswordRequired):
        await keyturn.confirm_email.execute(ConfirmEmailCommand(change, principal=principal))


async def test_of_many_who_confirm_at_once_one_succeeds(keyturn: InMemoryKeyturn) -> None:
    _, link, _ = await prepare(keyturn)
    results = await asyncio.gather(
        *(
            confirm(keyturn, link, new_password=Secret(f"password of racer {n:02}"))
            for n in range(10)
        ),
        return_exceptions=True,
    )
    assert [result for result in results if result is None] == [None]
    assert sum(isinstance(result, InvalidOneTimeToken) for result in results) == 9


async def test_a_link_is_used_once_by_many_who_know_the_password(
    keyturn: InMemoryKeyturn,
) -> None:
    _, link, _ = await prepare(keyturn)
    results = await asyncio.gather(
        *(confirm(keyturn, link, PASSWORD) for _ in range(2)), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [InvalidOneTimeToken]
    with pytest.raises(InvalidOneTimeToken):
        await confirm(keyturn, link, PASSWORD)


class Interrupted(PlainPasswordHasher):
    """Does something else once, while it hashes or verifies."""

    interruption: Attempt | None = None

    async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:
        await self._be_interrupted()
        return await super().hash(password, source=source)

    async def verify(
        self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
    ) -> bool:
        verified = await super().verify(password_hash, password, source=source)
        await self._be_interrupted()
        return verified

    async def _be_interrupted(self) -> None:
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            await interruption


@pytest.mark.parametrize("says", ["password", "new_password"])
@pytest.mark.parametrize("meanwhile", ["reset", "change", "confirm"])
async def test_a_stranger_gains_nothing_by_acting_while_the_owner_confirms(
    says: str, meanwhile: str
) -> None:
    hasher = Interrupted()
    keyturn = InMemoryKeyturn(hasher=hasher)
    user, link, tokens = await prepare(keyturn)
    reset = await keyturn.forget_password()
    theirs = Secret("a passphrase of the winner")
    other: Attempt = {
        "reset": lambda: keyturn.reset_password.execute(ResetPasswordCommand(reset, theirs)),
        "change": lambda: keyturn.change_password.execute(
            ChangePasswordCommand(user.id, tokens.session_id, PASSWORD, theirs)
        ),
        "confirm": lambda: confirm(keyturn, link, new_password=theirs),
    }[meanwhile]()
    hasher.interruption = other
    said = (PASSWORD, None) if says == "password" else (None, MINE)
    # Whoever was first moved the credentials: the link is void, or the password does not count.
    with pytest.raises((InvalidOneTimeToken, WrongCurrentPassword)):
        await confirm(keyturn, link, *said)
    stored = keyturn.store.users[user.id]
    assert (stored.email_verified_at is None) == (meanwhile == "change")
    await keyturn.login(password=theirs)


async def test_a_wrong_password_that_is_noted_meanwhile_does_not_stop_the_owner() -> None:
    hasher = Interrupted()
    keyturn = InMemoryKeyturn(hasher=hasher)
    _, link, _ = await prepare(keyturn)

    async def guess() -> None:
        with pytest.raises(InvalidCredentials):
            await keyturn.login(password=Secret("a guess of a stranger"))

    hasher.interruption = guess()
    await confirm(keyturn, link, new_password=MINE)
    await keyturn.login(password=MINE)


def changes(tokens: TokenPair, keyturn: InMemoryKeyturn) -> list[Callable[[], Attempt]]:
    """Everything that a user may change of their own, but for a logout."""
    user, session = tokens.user_id, tokens.session_id
    return [
        lambda: keyturn.update_profile.execute(UpdateProfileCommand(user, "Eve", session)),
        lambda: keyturn.end_session.execute(
            EndSessionCommand(user, session, actor=make_principal(user))
        ),
        lambda: keyturn.revoke_all_families.execute(
            RevokeAllFamiliesCommand(user, actor=make_principal(user))
        ),
        lambda: keyturn.change_password.execute(
            ChangePasswordCommand(user, session, PASSWORD, MINE)
        ),
        lambda: keyturn.request_email_change.execute(
            RequestEmailChangeCommand(user, session, PASSWORD, OTHER)
        ),
        lambda: keyturn.delete_account.execute(DeleteAccountCommand(user, session)),
    ]


@pytest.mark.parametrize("which", range(6))
async def test_a_user_cannot_flood_the_audit_trail_with_changes(which: int) -> None:
    rates = {ThrottledAction.CHANGE: Rates.parse(per_account="3/day")}
    keyturn = InMemoryKeyturn(throttle=LimitsThrottle(ProcessWindows(), rates))
    await keyturn.register()
    tokens = await keyturn.login()
    for n in range(3):
        await keyturn.update_profile.execute(
            UpdateProfileCommand(tokens.user_id, f"Ada {n}", tokens.session_id)
        )
    before = len(keyturn.store.audit_events)
    with pytest.raises(TooManyAttempts):
        await changes(tokens, keyturn)[which]()
    assert len(keyturn.store.audit_events) == before
    # A logout always works, and an administrator is not held up by what the user used up.
    await keyturn.revoke_family.execute(
        RevokeFamilyCommand(principal=keyturn.authenticate_access.execute(tokens.access_token))
    )
    await keyturn.revoke_all_families.execute(RevokeAllFamiliesCommand(tokens.user_id, actor=None))


async def test_a_change_that_changes_nothing_writes_no_event(keyturn: InMemoryKeyturn) -> None:
    _, link, tokens = await prepare(keyturn)
    await confirm(keyturn, link, PASSWORD)
    user, session = tokens.user_id, tokens.session_id
    ended = await keyturn.login()
    await keyturn.logout(ended.refresh_token)
    name = keyturn.store.users[user].display_name
    before = list(keyturn.store.audit_events)
    await keyturn.update_profile.execute(UpdateProfileCommand(user, name, session))
    await keyturn.end_session.execute(
        EndSessionCommand(user, ended.session_id, actor=make_principal(user))
    )
    await keyturn.request_email_change.execute(
        RequestEmailChangeCommand(user, session, PASSWORD, ADA)
    )
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(user, actor=make_principal(user, session), keep=session)
    )
    assert list(keyturn.store.audit_events) == before
