"""Somebody whose hash another system made logs in, and it is replaced by one of Argon2."""

from collections.abc import Iterator

import pytest

from keyturn.adapters.argon2.hasher import Argon2PasswordHasher
from keyturn.adapters.imported_hashes.hashes import ImportedHashes
from keyturn.domain.errors import InvalidCredentials, PasswordHashUnknown
from keyturn.domain.secret import Secret
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


@pytest.mark.parametrize("unknown", ["", "md5$a$b", PASSWORD.reveal(), BCRYPT.replace("04", "20")])
async def test_a_hash_that_nobody_could_log_in_with_is_refused_without_telling_it(
    keyturn: InMemoryKeyturn, unknown: str
) -> None:
    with pytest.raises(PasswordHashUnknown) as refused:
        await keyturn.import_user.execute(ImportUserCommand(ADA, Secret(unknown)))
    assert not unknown or unknown not in str(refused.value)
    assert keyturn.store.users == {}
