"""Hashes that Django 5.2, passlib 1.7.4 and bcrypt wrote, and what only looks like one."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyturn.adapters.argon2.hasher import Argon2Parameters, Argon2PasswordHasher
from keyturn.adapters.imported_hashes import hashes
from keyturn.adapters.imported_hashes.hashes import ImportedHashes
from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.ports.passwords import ForeignHashes
from keyturn.testing.cheap_argon2 import cheap_argon2_parameters
from keyturn.testing.hasher_contract import PasswordHasherContract

PASSWORD = "correct horse battery staple"
UNICODE = "пароль 密码 🔑🔑🔑"
LONG = "long " * 30
"""150 bytes: more than bcrypt looks at."""

WRITTEN = {
    PASSWORD: [
        "pbkdf2_sha256$2000$vNl6PBczLJYID6CUxSDDoW$L0UjLVoASzM8Scg1zyxygxyE0sc3miQ4+UCoEeQ99YI=",
        "pbkdf2_sha1$2000$iZq2a166G5ARRG9XyTRycA$xn34RSB+B7Tfjq+NavjhJbJHjzQ=",
        "bcrypt$$2b$04$6hXeWGtnQBDrEmuZSdhlbevIGMJjznI7HKmP2k0qGczSwom8Eb96C",
        "bcrypt_sha256$$2b$04$7DsYTfB.aLRmYQDxrL9yF.IiWYFKPjxpm.jNtkap7eLcqZRNXFGcW",
        "$pbkdf2$2000$P.d8TymFUCqltJYy5hwDYA$g4Wysy5BJAkbxeTAe/XQ5wzWbgM",
        "$pbkdf2-sha256$2000$3JtTSkmplbLW.p.zFqL0/g$4I8dabTD.9cDr8Vhf5BGPteddiWvw8Ew373AFf2ZLHI",
        "$pbkdf2-sha256$2000$$LJg9OF2i2SKR4/hkKABuGglU6AX5nuNCSR8Dtv80/fA",
        "$pbkdf2-sha512$2000$EoIQAoBwbi0FAEAI4RyD0A$OmqpgHti7otpzPAP5voq103rFg4K3vhK/gSa815W0voNvjYGRoHlc1TeiwUUoi2zFgXLSj/2bZZwaubPOnC1Ig",
        "$2a$04$xjptXLinrz0UeXHFcTEjg.iGZAoSG7v2A6DY0Tty37Cjh9IxUISNq",
        "$2b$04$ZVFT/QcspfTA8g7JayuCs.OGegvSgudmH0KSkNQix8lZk0DRHGN16",
        "$2y$04$CSmPB2Ro61z9s35P3hn0bu.fbEpVPrRZgUAc/s82sKzA2F/7kqc3.",
        "$bcrypt-sha256$2b,4$aXnGDiuulOfSOHERNSGuse$wZcqVnmOV6UcqDnC.wo0tb1HTKRYnOm",
        "$bcrypt-sha256$v=2,t=2b,r=4$vakAtmFktaYWlcA2BIiCAe$g4P6kHK66ZPJ6ezz9n2vlBLqHigL7oO",
        "$bcrypt-sha256$2a,4$IHj.4L.epTNFeIlVt1yqYO$ShGbopI5FlYpvsZ32meYnDupf0r/nkm",
        # Of the cost that the libraries choose.
        "$2b$12$R1an4lL5nux/37xL/fc47uRTv2SiBaaT87jRjA776cXRl5fpRHyX2",
        "$bcrypt-sha256$v=2,t=2b,r=12$zYOJ/WpVO3BDx4NyQX732u$hmbA2.n7n9o/2a6H0gec2SzHmVGrYIm",
    ],
    UNICODE: [
        "pbkdf2_sha256$2000$wRYW1bOCqmhWuzFZ9dZbQe$nu/WPxZC/+Tb5+e9Ls1CYcwk1Gi88pDzEwrohKGg4Oo=",
        "bcrypt$$2b$04$/z4twRkLuN/TDUT7/sF8mu3mFTPpY7VoNEwEjCRKN6JmrqpkrgcaK",
        "bcrypt_sha256$$2b$04$ewHO9wnbHerSt3VgwyzN7OZlOJlBLIDfSk/evL81I5bp.kXMARV2a",
        "$pbkdf2-sha512$2000$wVjrHQNACCEEIOTc.38P4Q$4ua6iLU8i2wYV7OuO/pNG7CCsJxyQb.//DRimWFF3rzs2jkJdoNjq0JgVJxMOZWVQvwSL417zsmdxmQGSyQhhg",
        "$2y$04$UAZ6wwvsur2ja/IZCJxNZufcOWpLD0NtUuz1ZmyDQNtQXIhUnXAVK",
        "$bcrypt-sha256$2b,4$1PG4W4t9W2TsackRxOIU7u$OM04OOQOG4gQW9Orrw1WbgS.1cy61.m",
        "$bcrypt-sha256$v=2,t=2b,r=4$gqd9KV5aTEeGu53VlQpQEu$/7r.VR3KjV10icNX1CmpXKSoZ9ft0aa",
    ],
    LONG: [
        "pbkdf2_sha256$2000$3hhmespTWCjrSSWsYiBNFX$J3icdD2a+PMK7GurXQNzrE5X4FUVOOA9hrkqX5ZVgc0=",
        "bcrypt_sha256$$2b$04$kT4vVsnJ.z2nCPHpC6c2eOgMcqZxL55YPu9QdEoxVYBW8fSj4atqS",
        "$pbkdf2$2000$QmiNkTKG8P6fk7I2JkRISQ$VU6iCZ5O04aLtIPUq2N8Y/T6KlQ",
        "$bcrypt-sha256$2b,4$ZiZykYOWZR6fWloQcqPNje$BeUoN69hQ2uneCX9oGdiqOo2J5kL2Uu",
        "$bcrypt-sha256$v=2,t=2b,r=4$qjUkgK8F8rhAJ7MnjbO5n.$.iLdYL9zZNbRSSX3EGAndt7KNaUQo8u",
    ],
}
EACH = [(password, written) for password, each in WRITTEN.items() for written in each]

CUT = [
    "bcrypt$$2b$04$G51nPWMGlbQquWIvhHQ/juhhaHx62PP0.lU6wcMB140zsGRzg05hi",
    "$2a$04$lmkf.5z8hywE8Gn3avGSLeqmxFYnaiHEYxYrfJ62jefa82fqmNjIy",
    "$2b$04$UYkaQwAXSa5DhgnON/F7xecA53IUPIyBIVgYgOeO87v6nJdtaCxVK",
    "$2y$04$WYzKKsT26sE2sxQ/0AGrquqEimM6YckkxQKHvpwCOrYlDW67qt.eG",
]
"""Of `LONG`, by plain bcrypt."""

SALT_AND_DIGEST = "ZVFT/QcspfTA8g7JayuCs.OGegvSgudmH0KSkNQix8lZk0DRHGN16"
DIGEST = "L0UjLVoASzM8Scg1zyxygxyE0sc3miQ4+UCoEeQ99YI="

UNREADABLE = [
    # Beyond what is affordable, or weaker than there is.
    f"$2b$15${SALT_AND_DIGEST}",
    f"$2b$31${SALT_AND_DIGEST}",
    f"$2b$03${SALT_AND_DIGEST}",
    f"$2b$4${SALT_AND_DIGEST}",
    "$bcrypt-sha256$2b,15$aXnGDiuulOfSOHERNSGuse$wZcqVnmOV6UcqDnC.wo0tb1HTKRYnOm",
    "$bcrypt-sha256$v=2,t=2b,r=15$vakAtmFktaYWlcA2BIiCAe$g4P6kHK66ZPJ6ezz9n2vlBLqHigL7oO",
    f"pbkdf2_sha256$2000001$salt${DIGEST}",
    f"pbkdf2_sha256$9999999$salt${DIGEST}",
    f"pbkdf2_sha256${'9' * 5000}$salt${DIGEST}",
    f"pbkdf2_sha256$0$salt${DIGEST}",
    f"pbkdf2_sha256$-1$salt${DIGEST}",
    f"pbkdf2_sha256$2000${'s' * 257}${DIGEST}",
    # Digests that are too short or too long, or not of their kind.
    "pbkdf2_sha256$2000$salt$",
    "pbkdf2_sha256$2000$salt$AA==",
    "pbkdf2_sha256$2000$salt$xn34RSB+B7Tfjq+NavjhJbJHjzQ=",
    f"pbkdf2_sha1$2000$salt${DIGEST}",
    f"pbkdf2_sha256$2000$salt${DIGEST}{DIGEST}",
    f"pbkdf2_sha256$2000$salt${DIGEST[:-1]}",
    "$pbkdf2-sha256$2000$A$4I8dabTD.9cDr8Vhf5BGPteddiWvw8Ew373AFf2ZLHI",
    "$pbkdf2-sha256$2000$AAAA$4",
    # Other schemes, and damage.
    f"$2x$04${SALT_AND_DIGEST}",
    f"$2$04${SALT_AND_DIGEST}",
    f"$2b$04${SALT_AND_DIGEST}\n",
    f"$2b$04${SALT_AND_DIGEST[:-1]}",
    f"$2b$04${SALT_AND_DIGEST[:-1]}é",
    # The last character of the salt has bits that no salt has.
    f"$2b$04${'a' * 53}",
    f"bcrypt_sha256$$2b$04${'a' * 53}",
    f"pbkdf2_md5$2000$salt${DIGEST}",
    f"pbkdf2_sha256$2000$sält${DIGEST}",
    f"pbkdf2_sha256$٢٠٠٠$salt${DIGEST}",
    "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
    "sha1$salt$5f4dcc3b5aa765d61d8327deb882cf995f4dcc3b",
    "!an unusable password of Django's",
    "",
]


@pytest.fixture
def imported() -> ImportedHashes:
    return ImportedHashes()


@pytest.mark.parametrize(("password", "written"), EACH)
def test_a_hash_of_another_system_verifies_its_password_and_no_other(
    imported: ImportedHashes, password: str, written: str
) -> None:
    assert imported.recognises(written)
    assert imported.verify(written, password.encode())
    for wrong in (password + "x", password[:-1], password.upper(), ""):
        assert not imported.verify(written, wrong.encode())


@pytest.mark.parametrize("written", CUT)
def test_plain_bcrypt_looks_at_72_bytes_as_it_did_where_it_came_from(
    imported: ImportedHashes, written: str
) -> None:
    assert imported.verify(written, LONG.encode())
    assert imported.verify(written, LONG.encode()[:72] + b"something else")
    assert not imported.verify(written, LONG.encode()[:71])


def test_a_hash_of_the_most_iterations_is_read(imported: ImportedHashes) -> None:
    most = hashes.MOST_PBKDF2_ITERATIONS
    assert imported.recognises(f"pbkdf2_sha256${most}$salt${DIGEST}")


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_what_is_no_hash_or_costs_too_much_verifies_nothing(
    imported: ImportedHashes, unreadable: str
) -> None:
    assert not imported.recognises(unreadable)
    assert not imported.verify(unreadable, PASSWORD.encode())


SEEDS = [written for _, written in EACH if "$12$" not in written and "r=12" not in written]


@settings(deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from("$.,=/+azAZ é\x00\n\ud800"), st.booleans()),
        max_size=4,
    ),
    st.binary(max_size=100),
)
@example("$2b$04$" + "." * 53, [], b"\x00")
def test_no_text_is_an_error(
    written: str, changes: list[tuple[int, str, bool]], password: bytes
) -> None:
    text = written
    for place, character, inserts in changes:
        text = text[:place] + character + text[place + (not inserts) :]
    # No digit was added, so that none costs more.
    ImportedHashes().verify(text, password)


def test_without_the_library_hashes_of_bcrypt_are_unreadable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hashes, "find_spec", lambda name: None)
    imported = ImportedHashes()
    assert [written for _, written in EACH if imported.recognises(written)] == [
        written for _, written in EACH if "pbkdf2" in written
    ]
    assert not imported.verify(WRITTEN[PASSWORD][2], PASSWORD.encode())


class TestArgon2WithImportedHashes(PasswordHasherContract):
    """The pool keeps its promises when it reads other hashes too."""

    @pytest.fixture
    def hasher(self) -> Iterator[Argon2PasswordHasher]:
        hasher = Argon2PasswordHasher(
            cheap_argon2_parameters(), threads=2, imported=ImportedHashes()
        )
        yield hasher
        hasher.close()

    @pytest.fixture
    def retuned(self) -> Iterator[Argon2PasswordHasher]:
        hasher = Argon2PasswordHasher(
            Argon2Parameters(5, 7168, 1), threads=1, imported=ImportedHashes()
        )
        yield hasher
        hasher.close()

    @pytest.mark.parametrize(("password", "written"), EACH)
    async def test_an_imported_hash_verifies_and_wants_a_rehash(
        self, hasher: Argon2PasswordHasher, password: str, written: str
    ) -> None:
        assert hasher.can_verify(written)
        assert await hasher.verify(written, Secret(password))
        assert not await hasher.verify(written, Secret("wrong"))
        assert hasher.needs_rehash(written)


async def test_a_hasher_that_was_given_no_others_reads_none() -> None:
    hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=1)
    for password, written in EACH:
        assert not hasher.can_verify(written)
        assert not await hasher.verify(written, Secret(password))
    hasher.close()


class Held(ForeignHashes):
    """Recognises everything and takes as long as the test likes."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.goes_on = threading.Event()
        self.threads: set[int] = set()

    def recognises(self, password_hash: str) -> bool:
        return True

    def verify(self, password_hash: str, password: bytes) -> bool:
        self.threads.add(threading.get_ident())
        self.begun.set()
        return self.goes_on.wait(timeout=60)


async def test_imported_hashes_are_verified_by_the_same_threads_with_the_same_places() -> None:
    held = Held()
    hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=1, queue_size=0, imported=held)
    try:
        running = asyncio.create_task(hasher.verify("of somebody", Secret(PASSWORD)))
        await asyncio.to_thread(held.begun.wait)
        with pytest.raises(HashingBusy):
            await hasher.verify("of somebody else", Secret(PASSWORD))
        with pytest.raises(HashingBusy):
            await hasher.hash(Secret(PASSWORD))
        held.goes_on.set()
        assert await running
    finally:
        held.goes_on.set()
        hasher.close()
    assert threading.get_ident() not in held.threads
