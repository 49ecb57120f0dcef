"""What every `UnitOfWork` must do for what becomes of an account, as tests.

Wrong passwords, another address, and the end of it all. Subclass it and give two fixtures on one
empty store: `unit_of_work` as in the other kits, and `mail_queue`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from keyturn.domain.errors import EmailTaken, LastAdministrator, StaleFamily, StaleUser
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, User, UserStatus
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import AuditFilter, UnitOfWork, UnitOfWorkFactory, UserFilter
from keyturn.testing.builders import (
    make_event,
    make_family,
    make_mail,
    make_one_time_token,
    make_user,
    rotate,
)
from keyturn.testing.steps import HOUR, NOW, RACERS, ROGUE, TICK, Stage, commit, race

DUE = NOW.replace(month=7)
GUESSES = 50
MANY = 100
ADMINS = frozenset({USER_ROLE, ADMIN_ROLE})

ORIGIN = Origin("::1", ROGUE, "request-1")


class AccountsContract:
    """The contract of what a user's record tells, and of how a user is erased."""

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
        await _add(unit_of_work, user, newcomer)
        await commit(unit_of_work, lambda uow: uow.families.add(family))
        await _save(unit_of_work, changed)
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
        await _add(unit_of_work, user)
        stored = await _read(unit_of_work, user)
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
        await _add(unit_of_work, user)
        changed = user.with_email("Zoë@example.org", NOW)
        await _save(unit_of_work, changed)
        successor = make_user(2, email=user.email.upper())
        async with unit_of_work() as uow:
            assert await uow.users.get_by_email("ZOE\u0308@example.org") == changed
            assert await uow.users.get_by_email(user.email) is None
        await _add(unit_of_work, successor)
        assert await _read(unit_of_work, successor) == successor

    async def test_another_spelling_of_the_same_address_can_be_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """It is taken by nobody else."""
        user = make_user(email="ada@example.com")
        await _add(unit_of_work, user)
        changed = user.with_email("Ada@Example.com", NOW)
        await _save(unit_of_work, changed)
        assert await _read(unit_of_work, user) == changed

    async def test_an_address_of_another_can_not_be_saved(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """In no spelling; what is staged with it is undone."""
        ada, bob = make_user(1, email="Ada@example.com"), make_user(2)
        await _add(unit_of_work, ada, bob)

        def stage(uow: UnitOfWork) -> None:
            uow.audit.add(make_event())
            uow.users.save(bob.with_email("ADA@example.com", NOW))

        with pytest.raises(EmailTaken):
            await commit(unit_of_work, stage)
        assert await _read(unit_of_work, bob) == bob
        assert await _events(unit_of_work) == []

    async def test_of_users_who_want_one_address_at_once_one_gets_it(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whether they have an account or register."""
        wanted = "ada@example.org"
        users = [make_user(number) for number in range(RACERS // 2)]
        await _add(unit_of_work, *users)
        changes = [_save(unit_of_work, user.with_email(wanted, NOW)) for user in users]
        newcomers = [make_user(RACERS + number, email=wanted) for number in range(RACERS // 2)]
        await race(EmailTaken, [*changes, *(_add(unit_of_work, user) for user in newcomers)])
        assert len(await _page(unit_of_work, UserFilter(email=wanted))) == 1

    # Wrong passwords

    async def test_wrong_passwords_are_counted(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Nothing else of the user changes, and nothing of another."""
        user, other = make_user(1, roles=ADMINS), make_user(2)
        await _add(unit_of_work, user, other)
        for moment in (NOW, NOW + TICK):
            await _note(unit_of_work, user, at=moment)
        assert await _page(unit_of_work) == [
            user.failed_to_log_in(NOW, at_most=MANY).failed_to_log_in(NOW + TICK, at_most=MANY),
            other,
        ]

    async def test_no_wrong_password_of_many_at_once_is_lost(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whoever guesses from many places has no more guesses."""
        user = make_user()
        await _add(unit_of_work, user)
        await asyncio.gather(*(_note(unit_of_work, user) for _ in range(GUESSES)))
        assert await _read(unit_of_work, user) == replace(
            user, failed_logins=GUESSES, last_failed_login_at=NOW, version=GUESSES
        )

    async def test_of_many_wrong_passwords_at_once_no_more_count_than_may(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Each moves the version; the last one that counts puts its mail into the outbox."""
        user = make_user()
        await _add(unit_of_work, user)
        may = GUESSES // 2

        async def note(number: int) -> None:
            async with unit_of_work() as uow:
                _stage_note(uow, user, at_most=may, mail=number)
                await uow.commit()

        await asyncio.gather(*(note(number) for number in range(GUESSES)))
        stored = await _read(unit_of_work, user)
        assert (stored.failed_logins, stored.version) == (may, GUESSES)
        assert len(await _mails(mail_queue)) == 1

    async def test_a_wrong_password_beyond_what_counts_leaves_the_time_of_the_last_one(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Nobody makes an account wait longer by guessing on."""
        user = make_user()
        await _add(unit_of_work, user)
        await commit(unit_of_work, lambda uow: _stage_note(uow, user, at_most=1))
        later = NOW + HOUR
        await commit(unit_of_work, lambda uow: _stage_note(uow, user, at_most=1, at=later))
        assert (await _read(unit_of_work, user)).last_failed_login_at == NOW

    async def test_no_wrong_password_is_lost_to_a_change(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Each change of the user succeeds or is stale, and every wrong password counts."""
        user = make_user()
        await _add(unit_of_work, user)
        renamed = user.with_display_name("Ada", NOW)
        outcomes = await asyncio.gather(
            *(
                step
                for _ in range(RACERS)
                for step in (_note(unit_of_work, user), _save(unit_of_work, renamed))
            ),
            return_exceptions=True,
        )
        assert outcomes[::2] == [None] * RACERS
        saves = outcomes[1::2]
        assert all(outcome is None or isinstance(outcome, StaleUser) for outcome in saves), saves
        stored = await _read(unit_of_work, user)
        assert stored.failed_logins == RACERS
        assert stored.version == RACERS + saves.count(None)

    async def test_a_wrong_password_makes_a_login_under_way_stale(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """It starts again, and sees it."""
        user = make_user()
        await _add(unit_of_work, user)
        await _note(unit_of_work, user)
        with pytest.raises(StaleUser):
            await _save(unit_of_work, user.logged_in(NOW, password_hash="hash"))
        noted = user.failed_to_log_in(NOW, at_most=MANY)
        await _save(unit_of_work, noted.logged_in(NOW, password_hash="hash"))
        assert (await _read(unit_of_work, user)).failed_logins == 0

    async def test_a_wrong_password_counts_for_the_user_as_stored_at_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Not as read before."""
        user = make_user()
        await _add(unit_of_work, user)
        renamed = user.with_display_name("Ada", NOW)
        async with unit_of_work() as uow:
            _stage_note(uow, user)
            await _save(unit_of_work, renamed)
            await uow.commit()
        assert await _read(unit_of_work, user) == renamed.failed_to_log_in(NOW, at_most=MANY)

    async def test_a_wrong_password_of_nobody_is_no_error(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The user was erased meanwhile; what is staged with it is written."""

        def stage(uow: UnitOfWork) -> None:
            _stage_note(uow, make_user())
            uow.audit.add(make_event())

        await commit(unit_of_work, stage)
        assert await _events(unit_of_work) == [make_event()]
        assert await _page(unit_of_work) == []

    # Leaving

    async def test_users_whose_deletion_is_due_are_listed(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """At that very moment, whatever their status; with their roles as they are now."""
        leaving = [
            replace(make_user(n), status=UserStatus.DELETING, deletion_due_at=DUE + (n - 3) * TICK)
            for n in range(1, 6)
        ]
        disabled = make_user(7).leaving(NOW, due=DUE).with_status(UserStatus.DISABLED, NOW)
        back = make_user(8).leaving(NOW, due=DUE).logged_in(NOW, password_hash="hash")
        await _add(unit_of_work, *leaving, disabled, back, make_user(9))
        role = Role(USER_ROLE.name, frozenset({"posts:read"}))
        await commit(unit_of_work, lambda uow: uow.roles.put(role))
        expected = [replace(user, roles=frozenset({role})) for user in (*leaving[:3], disabled)]
        async with unit_of_work() as uow:
            due = await uow.users.list_due(DUE, 9)
            assert sorted(due, key=lambda user: user.id) == expected
            some = await uow.users.list_due(DUE, 3)
            assert len(some) == 3
            assert all(user in expected for user in some)
            assert await uow.users.list_due(NOW, 9) == []

    async def test_who_is_leaving_is_no_holder_of_a_role_that_somebody_must_hold(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The last administrator can't leave, nor be left alone by others."""
        admin, other = make_user(1, roles=ADMINS), make_user(2, roles=ADMINS)
        await _add(unit_of_work, admin, other)

        def leave(user: User) -> Stage:
            def stage(uow: UnitOfWork) -> None:
                uow.users.save(user.leaving(NOW, due=DUE))
                uow.users.require_holder(ADMIN_ROLE.name)

            return stage

        await commit(unit_of_work, leave(admin))
        with pytest.raises(LastAdministrator):
            await commit(unit_of_work, leave(other))
        with pytest.raises(LastAdministrator):
            await commit(unit_of_work, _erasing(other, keeps=ADMIN_ROLE.name))
        await commit(unit_of_work, _erasing(admin.leaving(NOW, due=DUE), keeps=ADMIN_ROLE.name))
        assert await _page(unit_of_work) == [other]

    # The end

    async def test_an_erased_user_is_gone_with_all_that_was_theirs(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Roles, sessions and one-time tokens; the roles themselves stay, and all of others."""
        user, other = make_user(1, roles=ADMINS), make_user(2)
        families = [make_family(user, 1), make_family(other, 2), make_family(user, 3)]
        tokens = [make_one_time_token(user, 1), make_one_time_token(other, 2)]

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(user)
            uow.users.add(other)
            for family in families:
                uow.families.add(family)
            for token in tokens:
                uow.one_time_tokens.add(token)

        await commit(unit_of_work, stage)
        await commit(unit_of_work, _erasing(user))
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) is None
            assert await uow.users.get_by_email(user.email) is None
            assert await uow.families.list_live(user.id, NOW) == []
            found = [await uow.families.get_with_user(family.id) for family in families]
            assert found == [None, (families[1], other), None]
            stored = [await uow.one_time_tokens.get(token.digest) for token in tokens]
            assert stored == [None, tokens[1]]
            assert await uow.roles.get_many(frozenset({ADMIN_ROLE.name})) == {ADMIN_ROLE}
        assert await _page(unit_of_work) == [other]
        assert await _page(unit_of_work, UserFilter(role=ADMIN_ROLE.name)) == []
        # Whoever comes next with this address is somebody else.
        await _add(unit_of_work, make_user(3, email=user.email))

    async def test_mails_to_or_about_an_erased_user_are_gone(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """However the address is written, waiting, claimed or dead; those of others stay."""
        user, other = make_user(1, email="Ada@example.com"), make_user(2)
        theirs = [
            make_mail(1, user=user),
            make_mail(2, address="ADA@example.com"),
            make_mail(3, user=user, address="zoe@example.org"),
            make_mail(4, user=user, dead_at=NOW),
            make_mail(5, user=user).claimed(NOW + HOUR),
        ]
        kept = [make_mail(6, user=other), make_mail(7, address="ada@example.org")]
        await _add(unit_of_work, user, other)

        def queue(uow: UnitOfWork) -> None:
            for mail in (*theirs, *kept):
                uow.outbox.add(mail)

        await commit(unit_of_work, queue)
        await commit(unit_of_work, _erasing(user))
        assert await _mails(mail_queue) == kept
        assert not await mail_queue.put_back(theirs[4].failed(NOW, "too late", for_good=False))

    async def test_audit_events_outlive_an_erased_user_without_personal_data(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Of what the user did, and of what nobody known did to the user."""
        user, admin = make_user(1), make_user(2)
        details = {"reason": "wrong_password"}
        anonymised = [
            make_event(n, actor=actor, subject=subject, origin=ORIGIN, details=details, at=NOW)
            for n, (actor, subject) in enumerate(
                [(user.id, user.id), (user.id, None), (user.id, admin.id), (None, user.id)]
            )
        ]
        kept = [
            make_event(n, actor=actor, subject=subject, origin=ORIGIN, details=details)
            for n, (actor, subject) in enumerate(
                [(admin.id, user.id), (admin.id, admin.id), (None, admin.id), (None, None)],
                start=len(anonymised),
            )
        ]
        await _add(unit_of_work, user, admin)

        def record(uow: UnitOfWork) -> None:
            for event in (*anonymised, *kept):
                uow.audit.add(event)

        await commit(unit_of_work, record)
        await commit(unit_of_work, _erasing(user))
        assert await _events(unit_of_work) == [
            *(replace(event, origin=Origin()) for event in anonymised),
            *kept,
        ]

    async def test_what_is_staged_behind_an_erasure_stays(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """A last mail, and who did it; what is staged before it is erased too."""
        user = make_user()
        await _add(unit_of_work, user)
        kind = AuditEventType.USER_ERASED
        events = [make_event(n, type=kind, subject=user.id, origin=ORIGIN) for n in range(2)]
        mails = [make_mail(n, kind=MailKind.ACCOUNT_ERASED, address=user.email) for n in range(2)]

        def stage(uow: UnitOfWork) -> None:
            uow.outbox.add(mails[0])
            uow.audit.add(events[0])
            uow.users.erase(user)
            uow.outbox.add(mails[1])
            uow.audit.add(events[1])

        await commit(unit_of_work, stage)
        assert await _mails(mail_queue) == [mails[1]]
        assert await _events(unit_of_work) == [replace(events[0], origin=Origin()), events[1]]

    @pytest.mark.parametrize(
        "stored",
        [
            pytest.param(make_user().with_display_name("Ada", NOW), id="changed"),
            pytest.param(make_user().failed_to_log_in(NOW, at_most=MANY), id="wrong password"),
            pytest.param(None, id="erased"),
        ],
    )
    async def test_a_user_who_was_changed_meanwhile_is_not_erased(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue, stored: User | None
    ) -> None:
        """Such as one who is back; nothing of the commit is applied."""
        user = make_user()
        event = make_event(actor=user.id, origin=ORIGIN)
        mail = make_mail(user=user)
        if stored is not None:
            await _add(unit_of_work, stored)

        def queue(uow: UnitOfWork) -> None:
            uow.audit.add(event)
            uow.outbox.add(mail)

        await commit(unit_of_work, queue)
        with pytest.raises(StaleUser):
            await commit(unit_of_work, _erasing(user))
        assert await _page(unit_of_work) == ([] if stored is None else [stored])
        assert await _events(unit_of_work) == [event]
        assert await _mails(mail_queue) == [mail]

    async def test_a_commit_that_fails_erases_nothing(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Neither the user nor what is kept of others."""
        user = make_user()
        family, token = make_family(user), make_one_time_token(user)
        event = make_event(actor=user.id, origin=ORIGIN)

        def prepare(uow: UnitOfWork) -> None:
            uow.users.add(user)
            uow.families.add(family)
            uow.one_time_tokens.add(token)
            uow.outbox.add(make_mail(user=user))
            uow.audit.add(event)

        def fail(uow: UnitOfWork) -> None:
            uow.users.erase(user)
            uow.families.save(rotate(family))

        await commit(unit_of_work, prepare)
        with pytest.raises(StaleFamily):
            await commit(unit_of_work, fail)
        async with unit_of_work() as uow:
            uow.users.erase(user)
            assert await uow.families.get_with_user(family.id) == (family, user)
            assert await uow.one_time_tokens.get(token.digest) == token
        assert await _page(unit_of_work) == [user]
        assert await _events(unit_of_work) == [event]
        assert await _mails(mail_queue) == [make_mail(user=user)]

    async def test_of_an_erasure_and_concurrent_changes_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Who logs in at the last moment stays, or is gone: nothing in between."""
        users = [make_user(number) for number in range(5)]
        await _add(unit_of_work, *users)
        for number, user in enumerate(users):
            changed = user.logged_in(NOW, password_hash="hash")
            commits = [_save(unit_of_work, changed) for _ in range(4)]
            commits.insert(number, commit(unit_of_work, _erasing(user)))
            winner = await race(StaleUser, commits)
            async with unit_of_work() as uow:
                stored = await uow.users.get(user.id)
            assert stored == (None if winner == number else changed)

    async def test_nothing_of_a_user_outlives_an_erasure_that_it_races(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """A session, a link, a rotation: it came before and is gone, or comes too late."""
        user = make_user()
        family, token = make_family(user), make_one_time_token(user)
        await _add(unit_of_work, user)
        await commit(unit_of_work, lambda uow: uow.families.add(family))
        outcomes = await asyncio.gather(
            *(commit(unit_of_work, _adding_family(user, number)) for number in range(2, 6)),
            commit(unit_of_work, lambda uow: uow.families.save(rotate(family))),
            commit(unit_of_work, _erasing(user)),
            commit(unit_of_work, lambda uow: uow.one_time_tokens.add(token)),
            *(commit(unit_of_work, _adding_family(user, number)) for number in range(6, 10)),
            return_exceptions=True,
        )
        assert outcomes[5] is None
        assert all(o is None or isinstance(o, StaleUser | StaleFamily) for o in outcomes), outcomes
        async with unit_of_work() as uow:
            for number in range(1, 10):
                assert await uow.families.get(make_family(user, number).id) is None
            assert await uow.one_time_tokens.get(token.digest) is None

    async def test_of_concurrent_erasures_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Any number of processes may look for those who are due."""
        user = make_user()
        await _add(unit_of_work, user)
        await race(StaleUser, [commit(unit_of_work, _erasing(user)) for _ in range(RACERS)])
        assert await _page(unit_of_work) == []


def _erasing(user: User, *, keeps: str | None = None) -> Stage:
    def stage(uow: UnitOfWork) -> None:
        uow.users.erase(user)
        if keeps is not None:
            uow.users.require_holder(keeps)

    return stage


def _adding_family(user: User, number: int) -> Stage:
    return lambda uow: uow.families.add(make_family(user, number))


async def _add(unit_of_work: UnitOfWorkFactory, *users: User) -> None:
    def stage(uow: UnitOfWork) -> None:
        for user in users:
            uow.users.add(user)

    await commit(unit_of_work, stage)


async def _save(unit_of_work: UnitOfWorkFactory, user: User) -> None:
    await commit(unit_of_work, lambda uow: uow.users.save(user))


def _stage_note(
    uow: UnitOfWork, user: User, *, at: datetime = NOW, at_most: int = MANY, mail: int = 1
) -> None:
    uow.users.note_failed_login(
        user.id, at, at_most=at_most, when_reached=make_mail(mail, kind=MailKind.LOGIN_BLOCKED)
    )


async def _note(unit_of_work: UnitOfWorkFactory, user: User, *, at: datetime = NOW) -> None:
    await commit(unit_of_work, lambda uow: _stage_note(uow, user, at=at))


async def _read(unit_of_work: UnitOfWorkFactory, user: User) -> User:
    async with unit_of_work() as uow:
        stored = await uow.users.get(user.id)
    assert stored is not None
    return stored


async def _page(unit_of_work: UnitOfWorkFactory, which: UserFilter | None = None) -> list[User]:
    async with unit_of_work() as uow:
        return await uow.users.list_page(which or UserFilter(), after=None, limit=100)


async def _events(unit_of_work: UnitOfWorkFactory) -> list[AuditEvent]:
    async with unit_of_work() as uow:
        return (await uow.audit.list_page(AuditFilter(), before=None, limit=100))[::-1]


async def _mails(mail_queue: MailQueue) -> list[QueuedMail]:
    return list(await mail_queue.list_page(only_dead=False, after=None, limit=100))
