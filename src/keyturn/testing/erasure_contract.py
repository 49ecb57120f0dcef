"""What every `UnitOfWork` must do about users who leave and are erased, as tests.

A part of `keyturn.testing.accounts_contract`, with the same fixtures.
"""

import asyncio
from dataclasses import replace

from keyturn.domain.errors import LastAdministrator, StaleFamily, StaleUser
from keyturn.domain.events import AuditEventType, Origin
from keyturn.domain.mail import MailKind
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, User, UserStatus
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory, UserFilter
from keyturn.testing.builders import (
    make_event,
    make_family,
    make_mail,
    make_one_time_token,
    make_user,
    rotate,
)
from keyturn.testing.extra import pytest
from keyturn.testing.steps import (
    HOUR,
    NOW,
    RACERS,
    ROGUE,
    TICK,
    Stage,
    add,
    commit,
    list_events,
    list_mails,
    list_users,
    race,
    save,
)

DUE = NOW.replace(month=7)
ADMINS = frozenset({USER_ROLE, ADMIN_ROLE})

ORIGIN = Origin("::1", ROGUE, "request-1", "client-1")


class ErasureContract:
    """The contract of how a user leaves, and of what remains."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.fixture
    def mail_queue(self) -> MailQueue:
        """Return the queue of that store."""
        raise NotImplementedError

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
        await add(unit_of_work, *leaving, disabled, back, make_user(9))
        role = USER_ROLE.redefined(Role(USER_ROLE.name, frozenset({"posts:read"})))
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
        await add(unit_of_work, admin, other)

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
        assert await list_users(unit_of_work) == [other]

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
        assert await list_users(unit_of_work) == [other]
        assert await list_users(unit_of_work, UserFilter(role=ADMIN_ROLE.name)) == []
        # Whoever comes next with this address is somebody else.
        await add(unit_of_work, make_user(3, email=user.email))

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
        await add(unit_of_work, user, other)

        def queue(uow: UnitOfWork) -> None:
            for mail in (*theirs, *kept):
                uow.outbox.add(mail)

        await commit(unit_of_work, queue)
        await commit(unit_of_work, _erasing(user))
        assert await list_mails(mail_queue) == kept
        assert not await mail_queue.put_back(theirs[4].failed(NOW, "too late", for_good=False))

    async def test_audit_events_outlive_an_erased_user_without_personal_data(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Of what happened to the user; what the user did to others keeps its origin."""
        user, admin = make_user(1), make_user(2)
        details = {"reason": "wrong_password"}
        anonymised = [
            make_event(n, actor=actor, subject=subject, origin=ORIGIN, details=details, at=NOW)
            for n, (actor, subject) in enumerate([(user.id, user.id), (None, user.id)])
        ]
        kept = [
            make_event(n, actor=actor, subject=subject, origin=ORIGIN, details=details)
            for n, (actor, subject) in enumerate(
                [
                    (user.id, None),
                    (user.id, admin.id),
                    (admin.id, user.id),
                    (admin.id, admin.id),
                    (None, admin.id),
                    (None, None),
                ],
                start=len(anonymised),
            )
        ]
        await add(unit_of_work, user, admin)

        def record(uow: UnitOfWork) -> None:
            for event in (*anonymised, *kept):
                uow.audit.add(event)

        await commit(unit_of_work, record)
        await commit(unit_of_work, _erasing(user))
        assert await list_events(unit_of_work) == [
            *(replace(event, origin=Origin()) for event in anonymised),
            *kept,
        ]

    async def test_what_is_staged_behind_an_erasure_stays(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """A last mail, and who did it; what is staged before it is erased too."""
        user = make_user()
        await add(unit_of_work, user)
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
        assert await list_mails(mail_queue) == [mails[1]]
        assert await list_events(unit_of_work) == [replace(events[0], origin=Origin()), events[1]]

    @pytest.mark.parametrize(
        "stored",
        [
            pytest.param(make_user().with_display_name("Ada", NOW), id="changed"),
            pytest.param(make_user().failed_to_log_in(NOW, at_most=9), id="wrong password"),
            pytest.param(None, id="erased"),
        ],
    )
    async def test_a_user_who_was_changed_meanwhile_is_not_erased(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue, stored: User | None
    ) -> None:
        """Such as one who is back; nothing of the commit is applied."""
        user = make_user()
        event = make_event(actor=user.id, subject=user.id, origin=ORIGIN)
        mail = make_mail(user=user)
        if stored is not None:
            await add(unit_of_work, stored)

        def queue(uow: UnitOfWork) -> None:
            uow.audit.add(event)
            uow.outbox.add(mail)

        await commit(unit_of_work, queue)
        with pytest.raises(StaleUser):
            await commit(unit_of_work, _erasing(user))
        assert await list_users(unit_of_work) == ([] if stored is None else [stored])
        assert await list_events(unit_of_work) == [event]
        assert await list_mails(mail_queue) == [mail]

    async def test_a_commit_that_fails_erases_nothing(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Neither the user nor what is kept of others."""
        user = make_user()
        family, token = make_family(user), make_one_time_token(user)
        event = make_event(actor=user.id, subject=user.id, origin=ORIGIN)

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
        assert await list_users(unit_of_work) == [user]
        assert await list_events(unit_of_work) == [event]
        assert await list_mails(mail_queue) == [make_mail(user=user)]

    async def test_of_an_erasure_and_concurrent_changes_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Who logs in at the last moment stays, or is gone: nothing in between."""
        users = [make_user(number) for number in range(5)]
        await add(unit_of_work, *users)
        for number, user in enumerate(users):
            changed = user.logged_in(NOW, password_hash="hash")
            commits = [save(unit_of_work, changed) for _ in range(4)]
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
        await add(unit_of_work, user)
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
        await add(unit_of_work, user)
        await race(StaleUser, [commit(unit_of_work, _erasing(user)) for _ in range(RACERS)])
        assert await list_users(unit_of_work) == []


def _erasing(user: User, *, keeps: str | None = None) -> Stage:
    def stage(uow: UnitOfWork) -> None:
        uow.users.erase(user)
        if keeps is not None:
            uow.users.require_holder(keeps)

    return stage


def _adding_family(user: User, number: int) -> Stage:
    return lambda uow: uow.families.add(make_family(user, number))
