"""An account comes over from another system, and its owner notices nothing."""

import pytest

from keyturn.domain.errors import (
    EmailTaken,
    InvalidCredentials,
    InvalidEmail,
    PasswordHashUnknown,
    RoleNotFound,
)
from keyturn.domain.events import AuditEventType
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.import_user import ImportUserCommand


@pytest.fixture
async def imported() -> str:
    """A hash of the password that is made otherwise than the service makes them."""
    return await PlainPasswordHasher(rounds=2).hash(PASSWORD)


async def test_the_first_login_with_an_imported_hash_replaces_it(
    keyturn: InMemoryKeyturn, imported: str
) -> None:
    user = await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(imported), "Ada"))
    assert keyturn.store.users[user.id].password_hash == imported
    with pytest.raises(InvalidCredentials):
        await keyturn.login(password=Secret("wrong horse battery staple"))
    assert keyturn.store.users[user.id].password_hash == imported
    assert (await keyturn.login()).user_id == user.id
    renewed = keyturn.store.users[user.id].password_hash
    assert not keyturn.hasher.needs_rehash(renewed)
    await keyturn.login()
    assert keyturn.store.users[user.id].password_hash == renewed


async def test_an_imported_user_is_as_the_line_says(
    keyturn: InMemoryKeyturn, imported: str
) -> None:
    roles = frozenset({USER_ROLE.name, ADMIN_ROLE.name})
    user = await keyturn.import_user.execute(
        ImportUserCommand(ADA, Secret(imported), "Ada", email_verified=True, roles=roles)
    )
    assert (user.display_name, user.role_names) == ("Ada", roles)
    assert user.email_verified_at == keyturn.clock.now()
    eve = await keyturn.import_user.execute(ImportUserCommand("eve@example.com", Secret(imported)))
    assert (eve.display_name, eve.roles) == (None, frozenset({USER_ROLE}))
    assert eve.email_verified_at is None


async def test_the_trail_tells_an_import_without_the_hash(
    keyturn: InMemoryKeyturn, imported: str
) -> None:
    user = await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(imported)))
    [event] = keyturn.store.audit_events.values()
    assert (event.type, event.subject, event.actor) == (
        AuditEventType.USER_IMPORTED,
        user.id,
        None,
    )
    assert dict(event.details) == {"roles": "user"}


async def test_an_address_that_is_registered_is_left_as_it_is(
    keyturn: InMemoryKeyturn, imported: str
) -> None:
    before = await keyturn.register()
    with pytest.raises(EmailTaken):
        await keyturn.import_user.execute(ImportUserCommand(ADA.upper(), Secret(imported)))
    assert keyturn.store.users[before.id] == before
    await keyturn.login(password=PASSWORD)


@pytest.mark.parametrize("unknown", ["", "md5$a$b", PASSWORD.reveal()])
async def test_a_hash_that_nobody_could_log_in_with_is_refused_without_telling_it(
    keyturn: InMemoryKeyturn, unknown: str
) -> None:
    with pytest.raises(PasswordHashUnknown) as refused:
        await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(unknown)))
    assert not unknown or unknown not in str(refused.value)
    assert keyturn.store.users == {}


async def test_an_address_that_is_none_and_a_role_that_is_none_are_refused(
    keyturn: InMemoryKeyturn, imported: str
) -> None:
    with pytest.raises(InvalidEmail):
        await keyturn.import_user.execute(ImportUserCommand("ada", Secret(imported)))
    with pytest.raises(RoleNotFound):
        await keyturn.import_user.execute(
            ImportUserCommand(ADA, Secret(imported), roles=frozenset({"editor"}))
        )
    assert keyturn.store.users == {}


async def test_a_command_does_not_show_the_hash(imported: str) -> None:
    assert imported not in repr(ImportUserCommand(ADA, Secret(imported)))
