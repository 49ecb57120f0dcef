"""Somebody logs out."""

import pytest

from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.domain.errors import AuthenticationRequired, InvalidRefreshToken
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.secret import Secret
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.revoke_family import RevokeFamilyCommand


async def test_a_logout_by_access_token_ends_the_session(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    await keyturn.revoke_family.execute(RevokeFamilyCommand(principal=principal))
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    assert keyturn.store.families[tokens.session_id].revoke_reason is RevokeReason.LOGOUT


async def test_a_logout_by_refresh_token_ends_the_session_and_no_other(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens, other = await keyturn.login(), await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    await keyturn.refresh(other.refresh_token)


async def test_a_logout_by_a_token_that_was_rotated_ends_the_session_too(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    successor = (await keyturn.refresh(tokens.refresh_token)).tokens
    keyturn.advance(minutes=1)
    await keyturn.logout(tokens.refresh_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(successor.refresh_token)


async def test_a_second_logout_is_no_error_and_keeps_the_first_reason_and_time(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    ended = keyturn.store.families[tokens.session_id]
    keyturn.advance(minutes=1)
    await keyturn.logout(tokens.refresh_token)
    assert keyturn.store.families[tokens.session_id] == ended


async def test_the_token_of_an_ended_session_adds_nothing_to_the_revocation_list(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    await keyturn.logout(tokens.refresh_token)
    listed = (await MemoryRevocationList(keyturn.store).read(None)).revocations
    await keyturn.logout(tokens.refresh_token)
    assert (await MemoryRevocationList(keyturn.store).read(None)).revocations == listed


async def test_a_logout_that_names_two_sessions_ends_both(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    one, two = await keyturn.login(), await keyturn.login()
    principal = keyturn.authenticate_access.execute(one.access_token)
    await keyturn.revoke_family.execute(RevokeFamilyCommand(principal, two.refresh_token))
    assert all(family.revoked_at for family in keyturn.store.families.values())


async def test_a_bad_refresh_token_does_not_hinder_a_logout_by_access_token(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    await keyturn.revoke_family.execute(RevokeFamilyCommand(principal, Secret("nonsense")))
    assert keyturn.store.families[tokens.session_id].revoked_at is not None


async def test_a_logout_by_nothing_or_nonsense_is_refused(keyturn: InMemoryKeyturn) -> None:
    with pytest.raises(AuthenticationRequired):
        await keyturn.revoke_family.execute(RevokeFamilyCommand())
    with pytest.raises(InvalidRefreshToken):
        await keyturn.logout(Secret("nonsense"))
