"""What every `UnitOfWork` must do about what a user's record tells, as tests.

A part of `keyturn.testing.accounts_contract`, with the same fixtures.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from keyturn.domain.errors import EmailTaken, StaleUser
from keyturn.domain.mail import MailKind
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, User
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory, UserFilter
from keyturn.testing.builders import make_event, make_family, make_mail, make_user
from keyturn.testing.extra import pytest
from keyturn.testing.steps import (
    HOUR,
    NOW,
    RACERS,
    TICK,
    add,
    commit,
    list_events,
    list_mails,
    list_users,
    race,
    read_user,
    save,
)

DUE = NOW.replace(month=7)
GUESSES = 50
MANY = 100
ADMINS = frozenset({USER_ROLE, ADMIN_ROLE})


class RecordsContract:
    """The contract of addresses, wrong passwords and whatever else is known of a user."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.fixture
    def mail_queue(self) -> MailQueue:
        """Return the queue of that store."""
        raise NotImplementedError

    # What is known of a user

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda user: user.with_verified_email(NOW), id="verified"),
            pytest.param(lambda user: user.with_email("Zoë@example.org", NOW), id="other address"),
            pytest.param(lambda user: user.with_reset_password("hash", NOW), id="reset"),
            pytest.param(
                lambda user: user.failed_to_log_in(NOW, at_most=MANY), id="wrong password"
            ),
            pytest.param(lambda user: user.leaving(NOW, due=DUE), id="leaving"),
            pytest.param(
                lambda user: user.leaving(NOW, due=DUE).logged_in(NOW, password_hash="hash"),
                id="back again",
            ),
        ],
    )
    async def test_a_user_comes_back_as_it_was_saved(
        self, unit_of_work: UnitOfWorkFactory, change: Callable[[User], User]
    ) -> None:
        """Every field, however the user is read; when it is added too."""
        user = make_user()
        changed = replace(change(user), version=1)
        family = make_family(user)
        newcomer = replace(changed, id=make_user(2).id, email="other@example.com", version=7)
        await add(unit_of_work, user, newcomer)
        await commit(unit_of_work, lambda uow: uow.families.add(family))
        await save(unit_of_work, changed)
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == changed
            assert await uow.users.get_by_email(changed.email) == changed
            assert await uow.families.get_with_user(family.id) == (family, changed)
            assert await uow.users.get(newcomer.id) == newcomer
            page = await uow.users.list_page(UserFilter(status=changed.status), after=None, limit=9)
        assert page == [changed, newcomer]

    async def test_times_of_an_account_come_back_as_aware_utc(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """To the microsecond, in summer and in winter."""
        user = replace(
            make_user(),
            email_verified_at=NOW,
            last_failed_login_at=DUE + TICK,
            deletion_due_at=DUE,
        )
        await add(unit_of_work, user)
        stored = await read_user(unit_of_work, user.id)
        times = (stored.email_verified_at, stored.last_failed_login_at, stored.deletion_due_at)
        for time, microsecond in zip(times, (123_457, 123_458, 123_457), strict=True):
            assert time is not None
            assert (time.utcoffset(), time.microsecond) == (timedelta(0), microsecond)

    # Another address

    async def test_a_user_is_found_by_another_address_after_a_change(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """And by the former one no more, which is free for others."""
        user = make_user()
        await add(unit_of_work, user)
        changed = user.with_email("Zoë@example.org", NOW)
        await save(unit_of_work, changed)
        successor = make_user(2, email=user.email.upper())
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email("ZOE\u0308@example.org") == changed
            assert await uow.users.get_by_email(user.email) is None
        await add(unit_of_work, successor)
        assert await read_user(unit_of_work, successor.id) == successor

    async def test_another_spelling_of_the_same_address_can_be_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """It is taken by nobody else."""
        user = make_user(email="ada@example.com")
        await add(unit_of_work, user)
        changed = user.with_email("Ada@Example.com", NOW)
        await save(unit_of_work, changed)
        assert await read_user(unit_of_work, user.id) == changed

    async def test_an_address_of_another_can_not_be_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """In no spelling; what is staged with it is undone."""
        ada, bob = make_user(1, email="Ada@example.com"), make_user(2)
        await add(unit_of_work, ada, bob)

        def stage(uow: UnitOfWork) -> None:
            uow.audit.add(make_event())
            uow.users.save(bob.with_email("ADA@example.com", NOW))

        with pytest.raises(EmailTaken):
            await commit(unit_of_work, stage)
        assert await read_user(unit_of_work, bob.id) == bob
        assert await list_events(unit_of_work) == []

    async def test_of_users_who_want_one_address_at_once_one_gets_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whether they have an account or register."""
        wanted = "ada@example.org"
        users = [make_user(number) for number in range(RACERS // 2)]
        await add(unit_of_work, *users)
        changes = [save(unit_of_work, user.with_email(wanted, NOW)) for user in users]
        newcomers = [make_user(RACERS + number, email=wanted) for number in range(RACERS // 2)]
        await race(EmailTaken, [*changes, *(add(unit_of_work, user) for user in newcomers)])
        assert len(await list_users(unit_of_work, UserFilter(email=wanted))) == 1

    # Wrong passwords

    async def test_wrong_passwords_are_counted(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Nothing else of the user changes, and nothing of another."""
        user, other = make_user(1, roles=ADMINS), make_user(2)
        await add(unit_of_work, user, other)
        for moment in (NOW, NOW + TICK):
            await _note(unit_of_work, user, at=moment)
        assert await list_users(unit_of_work) == [
            user.failed_to_log_in(NOW, at_most=MANY).failed_to_log_in(NOW + TICK, at_most=MANY),
            other,
        ]

    async def test_no_wrong_password_of_many_at_once_is_lost(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whoever guesses from many places has no more guesses."""
        user = make_user()
        await add(unit_of_work, user)
        await asyncio.gather(*(_note(unit_of_work, user) for _ in range(GUESSES)))
        assert await read_user(unit_of_work, user.id) == replace(
            user, failed_logins=GUESSES, last_failed_login_at=NOW, version=GUESSES
        )

    async def test_of_many_wrong_passwords_at_once_no_more_count_than_may(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Each moves the version; the last one that counts puts its mail into the outbox."""
        user = make_user()
        await add(unit_of_work, user)
        may = GUESSES // 2

        async def note(number: int) -> None:
            async with unit_of_work() as uow:
                _stage_note(uow, user, at_most=may, mail=number)
                await uow.commit()

        await asyncio.gather(*(note(number) for number in range(GUESSES)))
        stored = await read_user(unit_of_work, user.id)
        assert (stored.failed_logins, stored.version) == (may, GUESSES)
        assert len(await list_mails(mail_queue)) == 1

    async def test_a_wrong_password_beyond_what_counts_leaves_the_time_of_the_last_one(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Nobody makes an account wait longer by guessing on."""
        user = make_user()
        await add(unit_of_work, user)
        await commit(unit_of_work, lambda uow: _stage_note(uow, user, at_most=1))
        later = NOW + HOUR
        await commit(unit_of_work, lambda uow: _stage_note(uow, user, at_most=1, at=later))
        assert (await read_user(unit_of_work, user.id)).last_failed_login_at == NOW

    async def test_no_wrong_password_is_lost_to_a_change(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Each change of the user succeeds or is stale, and every wrong password counts."""
        user = make_user()
        await add(unit_of_work, user)
        renamed = user.with_display_name("Ada", NOW)
        outcomes = await asyncio.gather(
            *(
                step
                for _ in range(RACERS)
                for step in (_note(unit_of_work, user), save(unit_of_work, renamed))
            ),
            return_exceptions=True,
        )
        assert outcomes[::2] == [None] * RACERS
        saves = outcomes[1::2]
        assert all(outcome is None or isinstance(outcome, StaleUser) for outcome in saves), saves
        stored = await read_user(unit_of_work, user.id)
        assert stored.failed_logins == RACERS
        assert stored.version == RACERS + saves.count(None)

    async def test_a_wrong_password_makes_a_login_under_way_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """It starts again, and sees it."""
        user = make_user()
        await add(unit_of_work, user)
        await _note(unit_of_work, user)
        with pytest.raises(StaleUser):
            await save(unit_of_work, user.logged_in(NOW, password_hash="hash"))
        noted = user.failed_to_log_in(NOW, at_most=MANY)
        await save(unit_of_work, noted.logged_in(NOW, password_hash="hash"))
        assert (await read_user(unit_of_work, user.id)).failed_logins == 0

    async def test_a_wrong_password_counts_for_the_user_as_stored_at_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Not as read before."""
        user = make_user()
        await add(unit_of_work, user)
        renamed = user.with_display_name("Ada", NOW)
        async with unit_of_work() as uow:
            _stage_note(uow, user)
            await save(unit_of_work, renamed)
            await uow.commit()
        assert await read_user(unit_of_work, user.id) == renamed.failed_to_log_in(NOW, at_most=MANY)

    async def test_a_wrong_password_of_nobody_is_no_error(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The user was erased meanwhile; what is staged with it is written."""

        def stage(uow: UnitOfWork) -> None:
            _stage_note(uow, make_user())
            uow.audit.add(make_event())

        await commit(unit_of_work, stage)
        assert await list_events(unit_of_work) == [make_event()]
        assert await list_users(unit_of_work) == []


def _stage_note(
    uow: UnitOfWork, user: User, *, at: datetime = NOW, at_most: int = MANY, mail: int = 1
) -> None:
    uow.users.note_failed_login(
        user.id, at, at_most=at_most, when_reached=make_mail(mail, kind=MailKind.LOGIN_BLOCKED)
    )


async def _note(unit_of_work: UnitOfWorkFactory, user: User, *, at: datetime = NOW) -> None:
    await commit(unit_of_work, lambda uow: _stage_note(uow, user, at=at))
