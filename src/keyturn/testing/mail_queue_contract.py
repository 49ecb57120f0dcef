"""What every outbox and its `MailQueue` must do, as tests.

Subclass it and give two fixtures on one empty store: `unit_of_work` as in the other kits, and
`mail_queue`.
"""

import asyncio
from dataclasses import replace
from datetime import datetime

from keyturn.domain.errors import StaleUser
from keyturn.domain.events import Origin
from keyturn.domain.ids import MailId
from keyturn.domain.mail import MAX_ATTEMPTS_TO_SEND, MailKind, QueuedMail
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import UnitOfWork, UnitOfWorkFactory
from keyturn.testing.builders import make_mail, make_user
from keyturn.testing.extra import pytest
from keyturn.testing.steps import HOUR, NOW, RACERS, ROGUE, TICK, commit

UNTIL = NOW + HOUR


class MailQueueContract:
    """The contract of `Outbox` and `MailQueue`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.fixture
    def mail_queue(self) -> MailQueue:
        """Return the queue of that store."""
        raise NotImplementedError

    # What is queued

    @pytest.mark.parametrize(
        "mail",
        [
            pytest.param(make_mail(), id="plain"),
            pytest.param(
                replace(
                    make_mail(address=f"{ROGUE}@example.com", user=make_user()),
                    created_at=NOW.replace(month=7),
                    next_attempt_at=NOW.replace(month=7) + TICK,
                    credentials_version=0,
                    origin=Origin("::1", ROGUE, "request-1"),
                    details=(("b", ROGUE), ("a", ""), ("b", "again")),
                    attempts=3,
                    dead_at=NOW,
                    failure=ROGUE,
                ),
                id="with everything",
            ),
            pytest.param(
                replace(make_mail(), origin=Origin("", "", ""), failure=""), id="with empty texts"
            ),
        ],
    )
    async def test_a_mail_comes_back_as_it_was_added(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue, mail: QueuedMail
    ) -> None:
        """Every field, the times as aware UTC; nobody whom it names needs to exist."""
        await _add(unit_of_work, mail)
        [stored] = await _page(mail_queue)
        assert stored == mail
        assert stored.created_at.utcoffset() == stored.next_attempt_at.utcoffset() == 0 * HOUR

    async def test_every_kind_of_mail_can_be_sent(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """By its name."""
        mails = [make_mail(number, kind=kind) for number, kind in enumerate(MailKind)]
        await _add(unit_of_work, *mails)
        claimed = await _claim(mail_queue, NOW, UNTIL, len(mails))
        assert {mail.kind for mail in claimed} == set(MailKind)

    async def test_a_mail_waits_with_the_change_or_not_at_all(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Not before the commit, and never for a change that failed or was given up."""
        async with unit_of_work() as uow:
            uow.outbox.add(make_mail())
            assert await _claim(mail_queue, NOW, UNTIL, 9) == []
        async with unit_of_work() as uow:
            uow.outbox.add(make_mail())
            uow.users.save(make_user().logged_out_elsewhere())
            with pytest.raises(StaleUser):
                await uow.commit()
        assert await _page(mail_queue) == []
        async with unit_of_work() as uow:
            uow.users.add(make_user())
            uow.outbox.add(make_mail())
            await uow.commit()
        assert await _claim(mail_queue, NOW, UNTIL, 9) == [make_mail().claimed(UNTIL)]

    # Claiming

    async def test_what_is_due_is_claimed_first_due_first(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """At that very moment, whatever order they came in; never the dead, nor those to come."""
        # The highest id is due first: a store that goes by ids can't be right by chance.
        due = [make_mail(n, next_attempt_at=NOW - n * TICK) for n in range(6)][::-1]
        dead = make_mail(20, next_attempt_at=NOW - HOUR, dead_at=NOW - HOUR)
        to_come = make_mail(21, next_attempt_at=NOW + TICK)
        await _add(unit_of_work, *due[::2], dead, to_come, *due[1::2])
        claims = [await _claim(mail_queue, NOW, UNTIL, 4) for _ in range(3)]
        assert claims == [
            [mail.claimed(UNTIL) for mail in due[:4]],
            [mail.claimed(UNTIL) for mail in due[4:]],
            [],
        ]
        assert await _page(mail_queue) == [
            *sorted((mail.claimed(UNTIL) for mail in due), key=lambda mail: mail.id),
            dead,
            to_come,
        ]

    async def test_a_claim_holds_until_the_time_that_it_names(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """From that very moment on whoever had it counts as dead, and another one takes it."""
        await _add(unit_of_work, make_mail())
        [mine] = await _claim(mail_queue, NOW, UNTIL, 1)
        assert await _claim(mail_queue, UNTIL - TICK, UNTIL + HOUR, 1) == []
        [theirs] = await _claim(mail_queue, UNTIL, UNTIL + HOUR, 1)
        assert theirs == mine.claimed(UNTIL + HOUR)
        assert theirs.attempts == 2

    async def test_concurrent_claims_take_each_mail_once(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """None waits for another for ever, and between them they take them all."""
        mails = [make_mail(n, next_attempt_at=NOW - n * TICK) for n in range(50)]
        await _add(unit_of_work, *mails)

        async def claim_all() -> list[QueuedMail]:
            taken: list[QueuedMail] = []
            while batch := await _claim(mail_queue, NOW, UNTIL, 3):
                assert len(batch) <= 3
                taken.extend(batch)
            return taken

        taken = await asyncio.gather(*(claim_all() for _ in range(8)))
        assert sorted((mail for batch in taken for mail in batch), key=lambda mail: mail.id) == [
            mail.claimed(UNTIL) for mail in mails
        ]

    async def test_a_mail_that_is_queued_while_others_are_claimed_is_not_lost(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """It is claimed at once, or by the next look."""
        mails = [make_mail(number) for number in range(RACERS)]
        claims = await asyncio.gather(
            *(_add_and_claim(unit_of_work, mail_queue, mail) for mail in mails)
        )
        claims.append(await _claim(mail_queue, NOW, UNTIL, RACERS))
        claimed = [mail for claim in claims for mail in claim]
        assert sorted(claimed, key=lambda mail: mail.id) == [m.claimed(UNTIL) for m in mails]

    # What becomes of a claimed mail

    async def test_a_mail_that_was_sent_is_removed(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Once, and it alone."""
        await _add(unit_of_work, make_mail(1), make_mail(2))
        first, second = await _claim(mail_queue, NOW, UNTIL, 2)
        assert await mail_queue.remove(first)
        assert not await mail_queue.remove(first)
        assert await _page(mail_queue) == [second]

    async def test_a_mail_that_failed_is_due_again_later(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """At the time that it says, with the reason."""
        await _add(unit_of_work, make_mail())
        [mail] = await _claim(mail_queue, NOW, UNTIL, 1)
        failed = mail.failed(NOW, ROGUE, for_good=False)
        assert await mail_queue.put_back(failed)
        assert await _page(mail_queue) == [failed]
        assert await _claim(mail_queue, failed.next_attempt_at - TICK, UNTIL, 1) == []
        assert await _claim(mail_queue, failed.next_attempt_at, UNTIL, 1) == [failed.claimed(UNTIL)]

    async def test_a_mail_that_failed_for_good_is_never_due(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """It stays for an operator to see."""
        await _add(unit_of_work, make_mail(1), make_mail(2))
        first, second = await _claim(mail_queue, NOW, UNTIL, 2)
        dead = first.failed(NOW, "no such mailbox", for_good=True)
        assert await mail_queue.put_back(dead)
        assert await _claim(mail_queue, UNTIL, UNTIL + HOUR, 9) == [second.claimed(UNTIL + HOUR)]
        assert await _page(mail_queue, only_dead=True) == [dead]

    async def test_who_lost_a_mail_to_another_can_not_decide_about_it(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Neither remove it nor put it back: it is told so, and nothing is changed."""
        await _add(unit_of_work, make_mail())
        [mine] = await _claim(mail_queue, NOW, UNTIL, 1)
        [theirs] = await _claim(mail_queue, UNTIL, UNTIL + HOUR, 1)
        assert not await mail_queue.remove(mine)
        assert not await mail_queue.put_back(mine.failed(UNTIL, "too late", for_good=True))
        assert await _page(mail_queue) == [theirs]
        assert await mail_queue.remove(theirs)

    async def test_a_mail_that_is_gone_does_not_come_back(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Putting it back is too late."""
        await _add(unit_of_work, make_mail())
        [mail] = await _claim(mail_queue, NOW, UNTIL, 1)
        assert await mail_queue.remove(mail)
        assert not await mail_queue.put_back(mail.failed(NOW, "too late", for_good=False))
        assert await _page(mail_queue) == []

    async def test_of_concurrent_decisions_about_a_mail_one_counts(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Of any number of removals, one is told that it removed it."""
        await _add(unit_of_work, make_mail())
        [mail] = await _claim(mail_queue, NOW, UNTIL, 1)
        outcomes = await asyncio.gather(*(mail_queue.remove(mail) for _ in range(RACERS)))
        assert outcomes.count(True) == 1

    # What an operator sees and does

    async def test_mails_are_listed_page_by_page_lowest_id_first(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """All of them or the dead, before the page is cut."""
        mails = [make_mail(number, dead_at=(NOW, None)[number % 2]) for number in range(8)]
        await _add(unit_of_work, *mails[::-1])
        assert await _page(mail_queue, limit=3) == mails[:3]
        assert await _page(mail_queue, after=mails[2].id, limit=3) == mails[3:6]
        assert await _page(mail_queue, after=mails[7].id) == []
        assert await _page(mail_queue, only_dead=True, limit=3) == mails[0:6:2]
        assert await _page(mail_queue, only_dead=True, after=mails[4].id) == [mails[6]]

    async def test_a_dead_mail_can_be_revived(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """It alone, with as many attempts as a new one, and its last failure still to be seen."""
        mails = [
            replace(
                make_mail(number, next_attempt_at=NOW - HOUR, dead_at=NOW),
                attempts=MAX_ATTEMPTS_TO_SEND,
                failure="no such mailbox",
            )
            for number in range(2)
        ]
        await _add(unit_of_work, *mails)
        assert await mail_queue.revive(mails[0].id, UNTIL) == 1
        revived = replace(mails[0], dead_at=None, attempts=0, next_attempt_at=UNTIL)
        assert await _page(mail_queue) == [revived, mails[1]]
        assert await mail_queue.revive(mails[0].id, NOW) == 0
        assert await _claim(mail_queue, UNTIL, UNTIL + HOUR, 9) == [revived.claimed(UNTIL + HOUR)]

    async def test_to_revive_what_is_not_dead_is_no_error(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Nothing is changed, whether it waits or is gone."""
        mail = replace(make_mail(next_attempt_at=UNTIL), attempts=3)
        await _add(unit_of_work, mail)
        for mail_id in (mail.id, make_mail(2).id, None):
            assert await mail_queue.revive(mail_id, NOW) == 0
        assert await _page(mail_queue) == [mail]

    async def test_all_dead_mails_can_be_revived(
        self, unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue
    ) -> None:
        """Each of them is counted once, also if several do it at once."""
        mails = [make_mail(number, dead_at=NOW) for number in range(RACERS)]
        waiting = replace(make_mail(RACERS, next_attempt_at=UNTIL), attempts=3)
        await _add(unit_of_work, *mails, waiting)
        counts = await asyncio.gather(*(mail_queue.revive(None, NOW) for _ in range(4)))
        assert sum(counts) == RACERS
        revived = [replace(mail, dead_at=None, next_attempt_at=NOW) for mail in mails]
        assert await _page(mail_queue) == [*revived, waiting]


async def _add(unit_of_work: UnitOfWorkFactory, *mails: QueuedMail) -> None:
    def stage(uow: UnitOfWork) -> None:
        for mail in mails:
            uow.outbox.add(mail)

    await commit(unit_of_work, stage)


async def _claim(
    mail_queue: MailQueue, now: datetime, until: datetime, limit: int
) -> list[QueuedMail]:
    return list(await mail_queue.claim(now, until, limit))


async def _add_and_claim(
    unit_of_work: UnitOfWorkFactory, mail_queue: MailQueue, mail: QueuedMail
) -> list[QueuedMail]:
    await _add(unit_of_work, mail)
    return await _claim(mail_queue, NOW, UNTIL, 2)


async def _page(
    mail_queue: MailQueue,
    *,
    only_dead: bool = False,
    after: MailId | None = None,
    limit: int = 100,
) -> list[QueuedMail]:
    return list(await mail_queue.list_page(only_dead=only_dead, after=after, limit=limit))
