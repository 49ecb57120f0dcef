"""The use-cases on real databases, with two workers that share one: races as races."""

import asyncio
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.key_ring import Key, KeyRing
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.deployment import SqlDeploymentRecord
from keyturn.adapters.sqlalchemy.mails import SqlMailQueue
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.adapters.system.ids import UuidGenerator
from keyturn.domain.errors import (
    Contention,
    InvalidCredentials,
    InvalidOneTimeToken,
    InvalidRefreshToken,
)
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.delete_account import DeleteAccountCommand
from keyturn.use_cases.request_password_reset import RequestPasswordResetCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand
from keyturn.use_cases.rotate_refresh import RefreshOutcome, RotateRefreshResult
from keyturn.use_cases.token_pair import TokenPair

Workers = tuple[InMemoryKeyturn, InMemoryKeyturn]


@pytest.fixture
def start_workers(
    database_url: str, open_database: Callable[[str], Database]
) -> Callable[..., Workers]:
    """Starts two workers with pools of their own, and one key that they share."""

    def start(policy: SessionPolicy | None = None) -> Workers:
        key = Key(ec.generate_private_key(ec.SECP256R1()))
        codec = PyJwtCodec(KeyRing([key], key.kid), issuer="https://auth.example")

        def worker() -> InMemoryKeyturn:
            database = open_database(database_url)
            return InMemoryKeyturn(
                unit_of_work=lambda: SqlUnitOfWork(database),
                deployment=SqlDeploymentRecord(database),
                mail_queue=SqlMailQueue(database),
                ids=UuidGenerator(),
                codec=codec,
                session_policy=policy,
            )

        return worker(), worker()

    return start


async def stored(keyturn: InMemoryKeyturn, of: TokenPair) -> RefreshTokenFamily:
    async with keyturn.unit_of_work() as uow:
        family = await uow.families.get(of.session_id)
    assert family is not None
    return family


async def test_fifty_refreshes_of_one_token_are_one_rotation_and_one_successor(
    start_workers: Callable[..., Workers],
) -> None:
    workers = start_workers()
    await workers[0].register()
    tokens = await workers[0].login()
    results = await asyncio.gather(
        *(workers[number % 2].refresh(tokens.refresh_token) for number in range(50))
    )
    outcomes = [result.outcome for result in results]
    assert outcomes.count(RefreshOutcome.ROTATED) == 1
    assert outcomes.count(RefreshOutcome.REPLAYED) == 49
    # The key signs with ES256, which by nature never gives the same bytes twice.
    assert len({result.tokens.refresh_token.reveal() for result in results}) == 1
    family = await stored(workers[1], tokens)
    assert (family.generation, family.revoked_at) == (1, None)


async def test_a_refresh_that_races_a_logout_leaves_nothing_usable(
    start_workers: Callable[..., Workers],
) -> None:
    one, two = start_workers(SessionPolicy(max_sessions=20))
    await one.register()
    for _ in range(10):
        tokens = await one.login()
        *refreshed, _ = await asyncio.gather(
            one.refresh(tokens.refresh_token),
            two.refresh(tokens.refresh_token),
            two.logout(tokens.refresh_token),
            return_exceptions=True,
        )
        usable = [tokens.refresh_token]
        usable += [r.tokens.refresh_token for r in refreshed if isinstance(r, RotateRefreshResult)]
        for refresh_token in usable:
            with pytest.raises(InvalidRefreshToken):
                await one.refresh(refresh_token)
        assert (await stored(one, tokens)).revoke_reason is RevokeReason.LOGOUT


async def test_reuse_commits_the_revocation_and_still_fails(
    start_workers: Callable[..., Workers],
) -> None:
    one, two = start_workers()
    await one.register()
    tokens = await one.login()
    successor = (await two.refresh(tokens.refresh_token)).tokens
    one.advance(minutes=1)
    with pytest.raises(InvalidRefreshToken):
        await one.refresh(tokens.refresh_token)
    assert (await stored(two, tokens)).revoke_reason is RevokeReason.REUSE_DETECTED
    with pytest.raises(InvalidRefreshToken):
        await two.refresh(successor.refresh_token)


async def test_the_absolute_expiry_survives_rotations(
    start_workers: Callable[..., Workers],
) -> None:
    one, _ = start_workers()
    await one.register()
    tokens = await one.login()
    end = (await stored(one, tokens)).absolute_expires_at
    for _ in range(5):
        one.advance(days=5)
        tokens = (await one.refresh(tokens.refresh_token)).tokens
    assert (await stored(one, tokens)).absolute_expires_at == end
    assert (await stored(one, tokens)).expires_at == end


async def test_logins_at_once_on_two_workers_keep_the_session_limit(
    start_workers: Callable[..., Workers],
) -> None:
    workers = start_workers(SessionPolicy(max_sessions=2))
    user = await workers[0].register()
    logins = await asyncio.gather(
        *(workers[number % 2].login() for number in range(6)), return_exceptions=True
    )
    assert all(isinstance(login, TokenPair | Contention) for login in logins)
    async with workers[0].unit_of_work() as uow:
        live = await uow.families.list_live(user.id, workers[0].clock.now())
        ended = await uow.families.list_ended(user.id, workers[0].clock.now(), user.created_at)
    assert len(live) == 2
    assert {family.revoke_reason for family in ended} <= {RevokeReason.EVICTED}


async def test_a_login_that_races_a_password_change_does_not_outlive_it(
    start_workers: Callable[..., Workers],
) -> None:
    one, two = start_workers()
    user = await one.register()
    here = await one.login()
    entered, changed = await asyncio.gather(
        two.login(),
        one.change_password.execute(
            ChangePasswordCommand(
                user.id, here.session_id, PASSWORD, Secret("another long password")
            )
        ),
        return_exceptions=True,
    )
    assert changed is None
    async with one.unit_of_work() as uow:
        live = await uow.families.list_live(user.id, one.clock.now())
    assert [family.id for family in live] == [here.session_id], entered


async def test_a_disabled_user_is_refused(start_workers: Callable[..., Workers]) -> None:
    one, two = start_workers()
    user = await one.register()
    tokens = await one.login()
    await two.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidRefreshToken):
        await one.refresh(tokens.refresh_token)


async def test_of_resets_by_one_link_at_once_one_sets_the_password(
    start_workers: Callable[..., Workers],
) -> None:
    workers = start_workers()
    await workers[0].register()
    session = await workers[1].login()
    link = await workers[0].forget_password()
    passwords = [Secret(f"another long password {number}") for number in range(20)]
    outcomes = await asyncio.gather(
        *(
            workers[number % 2].reset_password.execute(ResetPasswordCommand(link, password))
            for number, password in enumerate(passwords)
        ),
        return_exceptions=True,
    )
    assert [type(o) for o in outcomes if o is not None] == [InvalidOneTimeToken] * 19
    await workers[0].login(password=passwords[outcomes.index(None)])
    with pytest.raises(InvalidRefreshToken):
        await workers[1].refresh(session.refresh_token)


async def test_who_comes_back_while_being_erased_is_back_or_gone(
    start_workers: Callable[..., Workers],
) -> None:
    one, two = start_workers()
    # By one worker's clock there is still time, by the other's there is none.
    two.advance(days=15)
    for number in range(5):
        email = f"user{number}@example.com"
        user = await one.register(email)
        tokens = await one.login(email)
        await one.delete_account.execute(DeleteAccountCommand(user.id, tokens.session_id))
        entered, erased = await asyncio.gather(
            one.login(email), two.erase_due_users.execute(), return_exceptions=True
        )
        async with two.unit_of_work() as uow:
            stored = await uow.users.get(user.id)
        if isinstance(entered, TokenPair):
            assert erased == 0
            assert stored is not None
            assert (stored.status, stored.deletion_due_at) == (UserStatus.ACTIVE, None)
            await one.refresh(entered.refresh_token)
        else:
            assert isinstance(entered, InvalidCredentials)
            assert (stored, erased) == (None, 1)


async def test_two_workers_send_each_mail_once(start_workers: Callable[..., Workers]) -> None:
    workers = start_workers()
    addresses = [f"user{number}@example.com" for number in range(25)]
    await asyncio.gather(*(workers[0].register(address) for address in addresses))
    for address in addresses:
        await workers[1].request_password_reset.execute(RequestPasswordResetCommand(address))

    async def send_all(worker: InMemoryKeyturn) -> None:
        while await worker.deliver_mail.execute():
            pass

    await asyncio.gather(*(send_all(worker) for worker in workers))
    sent = [(mail.to, mail.subject) for worker in workers for mail in worker.sent_mails]
    assert sorted(sent) == sorted(
        (address, kind) for address in addresses for kind in ("reset_password", "verify_email")
    )
    page = await workers[0].mail_queue.list_page(only_dead=False, after=None, limit=1)
    assert list(page) == []
