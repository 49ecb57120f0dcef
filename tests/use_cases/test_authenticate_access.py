"""A request says who is calling."""

import pytest

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.update_profile import UpdateProfileCommand


async def test_a_valid_token_gives_its_principal(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    principal = keyturn.authenticate_access.execute(tokens.access_token)
    assert (principal.user_id, principal.session_id) == (user.id, tokens.session_id)
    assert principal.has_role("user")
    assert not principal.has_role("admin")
    assert principal.has_permission("profile:read")
    assert not principal.has_permission("users:write")


async def test_a_token_is_good_until_the_second_it_expires(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    keyturn.advance(seconds=899)
    keyturn.authenticate_access.execute(tokens.access_token)
    keyturn.advance(seconds=1)
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(tokens.access_token)


@pytest.mark.parametrize("text", ["", "nonsense", "a.b.c", "\x00", "\ud800"])
def test_what_is_no_access_token_is_refused(keyturn: InMemoryKeyturn, text: str) -> None:
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(Secret(text))


async def test_a_token_of_another_service_is_refused(keyturn: InMemoryKeyturn) -> None:
    elsewhere = InMemoryKeyturn()
    await elsewhere.register()
    tokens = await elsewhere.login()
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(tokens.access_token)


async def test_the_caller_can_be_loaded_until_disabled(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    assert (await keyturn.load_user.execute(user.id)).id == user.id
    await keyturn.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidAccessToken):
        await keyturn.load_user.execute(user.id)


async def test_a_profile_is_changed_and_the_tokens_stay_good(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    changed = await keyturn.update_profile.execute(
        UpdateProfileCommand(user.id, "Countess", keyturn.ids.family_id())
    )
    assert changed.display_name == "Countess"
    assert await keyturn.load_user.execute(user.id) == changed
    assert changed.epoch == user.epoch


async def test_a_disabled_user_changes_no_profile(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    await keyturn.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidAccessToken):
        await keyturn.update_profile.execute(
            UpdateProfileCommand(user.id, "Eve", keyturn.ids.family_id())
        )
