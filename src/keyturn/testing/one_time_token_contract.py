"""What every store of one-time tokens must do, as tests.

Used like `keyturn.testing.persistence_contract`, with the same fixture.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from keyturn.domain.errors import StaleOneTimeToken, StaleUser
from keyturn.domain.one_time_token import OneTimeToken, TokenPurpose
from keyturn.domain.user import User
from keyturn.ports.persistence import AuditFilter, UnitOfWork, UnitOfWorkFactory
from keyturn.testing.builders import make_event, make_mail, make_one_time_token, make_user
from keyturn.testing.extra import pytest
from keyturn.testing.steps import HOUR, NOW, RACERS, ROGUE, TICK, commit, race


class OneTimeTokenContract:
    """The contract of `OneTimeTokenRepository`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Return what makes units of work on a store with the built-in roles and nothing else."""
        raise NotImplementedError

    @pytest.mark.parametrize("purpose", TokenPurpose)
    @pytest.mark.parametrize("email", [None, f"{ROGUE}@example.com"])
    async def test_a_token_comes_back_as_it_was_added(
        self, unit_of_work: UnitOfWorkFactory, purpose: TokenPurpose, email: str | None
    ) -> None:
        """Every field; the times as aware UTC with microseconds, in summer and in winter."""
        user = replace(make_user(), credentials_version=7)
        token = make_one_time_token(
            user,
            purpose=purpose,
            email=email,
            created_at=NOW,
            expires_at=NOW.replace(month=7),
        )
        await _add(unit_of_work, user, token)
        stored = await _get(unit_of_work, token)
        assert stored == token
        assert stored.created_at.utcoffset() == stored.expires_at.utcoffset() == 0 * HOUR

    async def test_a_token_that_nobody_was_sent_is_none(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """An unknown digest is no error, whatever it looks like."""
        await _add(unit_of_work, make_user(), make_one_time_token(make_user()))
        for digest in ("", "0" * 64, make_one_time_token(make_user()).digest.upper()):
            async with unit_of_work() as uow:
                assert await uow.one_time_tokens.get(digest) is None

    async def test_tokens_are_staged_with_everything_else(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Invisible before the commit, forgotten without one."""
        user, token = make_user(), make_one_time_token(make_user())
        await _add(unit_of_work, user)
        async with unit_of_work() as uow:
            uow.one_time_tokens.add(token)
            assert await uow.one_time_tokens.get(token.digest) is None
        assert await _get(unit_of_work, token) is None
        async with unit_of_work() as uow:
            uow.one_time_tokens.add(token)
            await uow.commit()
            assert await uow.one_time_tokens.get(token.digest) == token
            uow.one_time_tokens.redeem(token.digest)
            assert await uow.one_time_tokens.get(token.digest) == token
        assert await _get(unit_of_work, token) == token

    async def test_a_token_for_nobody_fails_the_commit(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """The user was erased meanwhile; what is staged with it is undone."""
        token = make_one_time_token(make_user(2))

        def stage(uow: UnitOfWork) -> None:
            uow.users.add(make_user(1))
            uow.one_time_tokens.add(token)

        with pytest.raises(StaleUser):
            await commit(unit_of_work, stage)
        assert await _get(unit_of_work, token) is None
        async with unit_of_work() as uow:
            assert await uow.users.get(make_user(1).id) is None

    async def test_a_token_is_gone_with_its_use(self, unit_of_work: UnitOfWorkFactory) -> None:
        """And the others of the user are not."""
        user = make_user()
        tokens = [make_one_time_token(user, number) for number in range(1, 4)]
        await _add(unit_of_work, user, *tokens)
        await commit(unit_of_work, _redeeming(tokens[1]))
        assert [await _get(unit_of_work, token) for token in tokens] == [tokens[0], None, tokens[2]]

    async def test_a_token_can_not_be_used_twice(self, unit_of_work: UnitOfWorkFactory) -> None:
        """Not in another commit, and not in the same; what is staged with it is undone."""
        user = make_user()
        first, second = make_one_time_token(user, 1), make_one_time_token(user, 2)
        await _add(unit_of_work, user, first, second)
        await commit(unit_of_work, _redeeming(first))

        def again(uow: UnitOfWork) -> None:
            uow.users.save(user.with_display_name("Eve", NOW))
            uow.audit.add(make_event())
            uow.one_time_tokens.redeem(first.digest)

        def twice(uow: UnitOfWork) -> None:
            uow.one_time_tokens.redeem(second.digest)
            uow.one_time_tokens.redeem(second.digest)

        for stage in (again, twice):
            with pytest.raises(StaleOneTimeToken):
                await commit(unit_of_work, stage)
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == user
            assert await uow.audit.list_page(AuditFilter(), before=None, limit=1) == []
            assert await uow.one_time_tokens.get(second.digest) == second

    async def test_a_commit_that_fails_uses_no_token_up(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Somebody who logged in at the same moment must not cost the link its worth."""
        user, token = make_user(), make_one_time_token(make_user())
        await _add(unit_of_work, user, token)
        await commit(
            unit_of_work,
            lambda uow: uow.users.note_failed_login(
                user.id, NOW, at_most=100, when_reached=make_mail()
            ),
        )

        def stage(uow: UnitOfWork) -> None:
            uow.one_time_tokens.redeem(token.digest)
            uow.users.save(user.with_password("a new hash", NOW))

        with pytest.raises(StaleUser):
            await commit(unit_of_work, stage)
        assert await _get(unit_of_work, token) == token

    async def test_of_concurrent_uses_of_one_token_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """Whoever else follows the link finds it used."""
        user, token = make_user(), make_one_time_token(make_user())
        await _add(unit_of_work, user, token)

        def use(number: int) -> Callable[[UnitOfWork], None]:
            def stage(uow: UnitOfWork) -> None:
                uow.audit.add(make_event(number))
                uow.one_time_tokens.redeem(token.digest)

            return stage

        winner = await race(
            StaleOneTimeToken, [commit(unit_of_work, use(number)) for number in range(RACERS)]
        )
        async with unit_of_work() as uow:
            events = await uow.audit.list_page(AuditFilter(), before=None, limit=RACERS)
        assert events == [make_event(winner)]
        assert await _get(unit_of_work, token) is None

    async def test_of_concurrent_changes_by_one_token_one_succeeds(
        self, unit_of_work: UnitOfWorkFactory
    ) -> None:
        """As above, with a change of the user in the same commit, in either order."""
        user, token = make_user(), make_one_time_token(make_user())
        await _add(unit_of_work, user, token)
        changed = [user.with_password(f"hash {number}", NOW + TICK) for number in range(RACERS)]

        def use(number: int) -> Callable[[UnitOfWork], None]:
            def stage(uow: UnitOfWork) -> None:
                if number % 2:
                    uow.one_time_tokens.redeem(token.digest)
                uow.users.save(changed[number])
                if not number % 2:
                    uow.one_time_tokens.redeem(token.digest)

            return stage

        outcomes = await asyncio.gather(
            *(commit(unit_of_work, use(number)) for number in range(RACERS)),
            return_exceptions=True,
        )
        lost = [outcome for outcome in outcomes if outcome is not None]
        assert len(lost) == RACERS - 1
        assert all(isinstance(outcome, StaleOneTimeToken | StaleUser) for outcome in lost), lost
        async with unit_of_work() as uow:
            assert await uow.users.get(user.id) == changed[outcomes.index(None)]


def _redeeming(token: OneTimeToken) -> Callable[[UnitOfWork], None]:
    return lambda uow: uow.one_time_tokens.redeem(token.digest)


async def _add(unit_of_work: UnitOfWorkFactory, user: User, *tokens: OneTimeToken) -> None:
    def stage(uow: UnitOfWork) -> None:
        uow.users.add(user)
        for token in tokens:
            uow.one_time_tokens.add(token)

    await commit(unit_of_work, stage)


async def _get(unit_of_work: UnitOfWorkFactory, token: OneTimeToken) -> OneTimeToken | None:
    async with unit_of_work() as uow:
        return await uow.one_time_tokens.get(token.digest)
