"""An account comes over from another system, and its owner notices nothing."""

from collections.abc import Iterator

import pytest

from keyturn.adapters.argon2.hasher import Argon2PasswordHasher
from keyturn.adapters.imported_hashes.hashes import ImportedHashes
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
from keyturn.testing.cheap_argon2 import cheap_argon2_parameters
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.import_user import ImportUserCommand

DJANGO = "pbkdf2_sha256$2000$vNl6PBczLJYID6CUxSDDoW$L0UjLVoASzM8Scg1zyxygxyE0sc3miQ4+UCoEeQ99YI="
PASSLIB = "$bcrypt-sha256$v=2,t=2b,r=4$vakAtmFktaYWlcA2BIiCAe$g4P6kHK66ZPJ6ezz9n2vlBLqHigL7oO"
BCRYPT = "$2b$04$ZVFT/QcspfTA8g7JayuCs.OGegvSgudmH0KSkNQix8lZk0DRHGN16"


@pytest.fixture
def keyturn() -> Iterator[InMemoryKeyturn]:
    """With hashes of Argon2, and imported ones."""
    hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=1, imported=ImportedHashes())
    yield InMemoryKeyturn(hasher=hasher)
    hasher.close()


@pytest.mark.parametrize("imported", [DJANGO, PASSLIB, BCRYPT])
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
    assert renewed.startswith("$argon2id$")
    assert not keyturn.hasher.needs_rehash(renewed)
    await keyturn.login()
    assert keyturn.store.users[user.id].password_hash == renewed


async def test_more_than_72_bytes_count_again_as_soon_as_bcrypt_is_replaced(
    keyturn: InMemoryKeyturn,
) -> None:
    long = "long " * 30
    cut = "$2b$04$UYkaQwAXSa5DhgnON/F7xecA53IUPIyBIVgYgOeO87v6nJdtaCxVK"
    await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(cut)))
    await keyturn.login(password=Secret(long))
    with pytest.raises(InvalidCredentials):
        await keyturn.login(password=Secret(long[:72]))


async def test_an_imported_user_is_as_the_line_says(keyturn: InMemoryKeyturn) -> None:
    roles = frozenset({USER_ROLE.name, ADMIN_ROLE.name})
    user = await keyturn.import_user.execute(
        ImportUserCommand(ADA, Secret(DJANGO), "Ada", email_verified=True, roles=roles)
    )
    assert (user.display_name, user.role_names) == ("Ada", roles)
    assert user.email_verified_at == keyturn.clock.now()
    eve = await keyturn.import_user.execute(ImportUserCommand("eve@example.com", Secret(BCRYPT)))
    assert (eve.display_name, eve.roles) == (None, frozenset({USER_ROLE}))
    assert eve.email_verified_at is None


async def test_the_trail_tells_an_import_without_the_hash(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(DJANGO)))
    [event] = keyturn.store.audit_events.values()
    assert (event.type, event.subject, event.actor) == (
        AuditEventType.USER_IMPORTED,
        user.id,
        None,
    )
    assert dict(event.details) == {"roles": "user"}


async def test_an_address_that_is_registered_is_left_as_it_is(keyturn: InMemoryKeyturn) -> None:
    before = await keyturn.register()
    with pytest.raises(EmailTaken):
        await keyturn.import_user.execute(ImportUserCommand(ADA.upper(), Secret(DJANGO)))
    assert keyturn.store.users[before.id] == before
    await keyturn.login(password=PASSWORD)


@pytest.mark.parametrize("unknown", ["", "md5$a$b", PASSWORD.reveal(), BCRYPT.replace("04", "20")])
async def test_a_hash_that_nobody_could_log_in_with_is_refused_without_telling_it(
    keyturn: InMemoryKeyturn, unknown: str
) -> None:
    with pytest.raises(PasswordHashUnknown) as refused:
        await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(unknown)))
    assert not unknown or unknown not in str(refused.value)
    assert keyturn.store.users == {}


async def test_an_address_that_is_none_and_a_role_that_is_none_are_refused(
    keyturn: InMemoryKeyturn,
) -> None:
    with pytest.raises(InvalidEmail):
        await keyturn.import_user.execute(ImportUserCommand("ada", Secret(DJANGO)))
    with pytest.raises(RoleNotFound):
        await keyturn.import_user.execute(
            ImportUserCommand(ADA, Secret(DJANGO), roles=frozenset({"editor"}))
        )
    assert keyturn.store.users == {}


async def test_a_command_does_not_show_the_hash() -> None:
    assert DJANGO not in repr(ImportUserCommand(ADA, Secret(DJANGO)))
