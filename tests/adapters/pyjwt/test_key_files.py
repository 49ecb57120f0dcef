"""Keys as files: made once, kept private, refused when anything is unclear."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyturn.adapters.pyjwt.key_files import (
    MANIFEST_NAME,
    KeyFileError,
    ensure_key,
    generate_key,
    load_key_ring,
)
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm

KeyOf = Callable[..., Key]

NOW = datetime(2030, 1, 1, tzinfo=UTC)

PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


def write(path: Path, content: object, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def store(folder: Path, key: Key) -> Path:
    return write(folder / f"{key.kid}.jwk", key.to_jwk())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
def test_the_first_start_makes_a_key_that_the_next_one_finds(
    folder: Path, algorithm: SigningAlgorithm
) -> None:
    made = ensure_key(folder, algorithm, NOW).ring_at(NOW)
    found = ensure_key(folder, algorithm, NOW).ring_at(NOW)
    assert made.signing_key.algorithm is algorithm
    assert (
        found.signing_key.kid == load_key_ring(folder, NOW).signing_key.kid == made.signing_key.kid
    )
    assert found.signing_key.verifies(b"message", made.signing_key.sign(b"message"))


def test_what_the_first_start_writes_is_closed_to_everybody_else(folder: Path) -> None:
    before = os.umask(0)
    try:
        ring = ensure_key(folder, SigningAlgorithm.EDDSA, NOW).ring_at(NOW)
    finally:
        os.umask(before)
    kid = ring.signing_key.kid
    assert mode_of(folder) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{kid}.jwk", MANIFEST_NAME])
    assert {mode_of(path) for path in folder.iterdir()} == {0o600}
    assert json.loads((folder / MANIFEST_NAME).read_text()) == {"version": 1, "signing": kid}
    assert json.loads((folder / f"{kid}.jwk").read_text())["kid"] == kid


def test_a_new_rsa_key_has_3072_bits() -> None:
    private = generate_key(SigningAlgorithm.RS256)._private
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 3072


def test_no_two_new_keys_are_the_same() -> None:
    assert len({generate_key(SigningAlgorithm.HS256).kid for _ in range(20)}) == 20


def test_ten_threads_that_start_at_once_end_with_one_key(folder: Path) -> None:
    together = threading.Barrier(10)

    def start(_: int) -> str:
        together.wait()
        return ensure_key(folder, SigningAlgorithm.EDDSA, NOW).ring_at(NOW).signing_key.kid

    with ThreadPoolExecutor(10) as pool:
        kids = set(pool.map(start, range(10)))
    assert len(kids) == 1
    assert len(list(folder.glob("*.jwk"))) == 1


def test_processes_that_start_at_once_end_with_one_key(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime;"
        "from keyturn.adapters.pyjwt.key_files import ensure_key;"
        "from keyturn.adapters.pyjwt.key_ring import SigningAlgorithm;"
        "print('ready', flush=True); sys.stdin.readline();"
        "found = ensure_key(Path(sys.argv[1]), SigningAlgorithm.ES256, datetime.now(UTC));"
        "print(found.manifest.signing)"
    )
    source = Path(__file__).parents[3] / "src"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder)],
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    kids = {worker.communicate()[0].strip() for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert kids == {path.stem for path in folder.glob("*.jwk")}
    assert len(kids) == 1


def test_a_start_that_died_before_it_wrote_the_manifest_is_carried_on(folder: Path) -> None:
    kid = ensure_key(folder, SigningAlgorithm.ES256, NOW).ring_at(NOW).signing_key.kid
    (folder / MANIFEST_NAME).unlink()
    write(folder / f".{MANIFEST_NAME}.0123456789abcdef", '{"version": 1, "sig')
    assert ensure_key(folder, SigningAlgorithm.ES256, NOW).ring_at(NOW).signing_key.kid == kid


def test_a_single_pem_without_a_manifest_signs(folder: Path) -> None:
    write(folder / "from-elsewhere.pem", PEM)
    ring = ensure_key(folder, SigningAlgorithm.ES256, NOW).ring_at(NOW)
    assert ring.signing_key.kid == Key.from_pem(PEM.encode()).kid
    assert [path.name for path in folder.iterdir()] == ["from-elsewhere.pem"]


def test_the_manifest_says_which_of_several_keys_signs(folder: Path, key_of: KeyOf) -> None:
    keys = [key_of(SigningAlgorithm.EDDSA), key_of(SigningAlgorithm.HS256)]
    for key in keys:
        store(folder, key)
    write(folder / "from-elsewhere.pem", PEM)
    for key in keys:
        write(folder / MANIFEST_NAME, {"version": 1, "signing": key.kid})
        ring = load_key_ring(folder, NOW)
        assert ring.signing_key.kid == key.kid
        assert len(ring.by_kid) == 3


def test_other_files_are_left_alone(folder: Path, key_of: KeyOf) -> None:
    store(folder, key_of(SigningAlgorithm.EDDSA))
    write(folder / "README", "hands off", 0o644)
    write(folder / ".hidden.jwk", "half a key")
    write(folder / "old.jwk.bak", "{}", 0o644)
    assert len(load_key_ring(folder, NOW).by_kid) == 1


def refused(folder: Path, reason: str) -> str:
    with pytest.raises(KeyFileError, match=reason) as caught:
        load_key_ring(folder, NOW)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    return message


def test_several_keys_without_a_manifest_are_refused(folder: Path, key_of: KeyOf) -> None:
    for number in range(2):
        store(folder, key_of(SigningAlgorithm.EDDSA, number))
    assert MANIFEST_NAME in refused(folder, "several keys could be the signing one")


def test_an_empty_folder_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    refused(folder, "no key file")


def test_a_missing_folder_is_refused(folder: Path) -> None:
    refused(folder, "No such file or directory")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o620, 0o602, 0o610])
@pytest.mark.parametrize("name", ["key.jwk", "key.pem"])
def test_a_key_file_that_others_have_access_to_is_refused(
    folder: Path, key_of: KeyOf, name: str, mode: int
) -> None:
    jwk = json.dumps(key_of(SigningAlgorithm.EDDSA).to_jwk())
    path = write(folder / name, PEM if name == "key.pem" else jwk, mode)
    assert str(path) in refused(folder, "others than its owner have access; run chmod 600")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_file_of_the_owner_alone_is_read(folder: Path, key_of: KeyOf, mode: int) -> None:
    store(folder, key_of(SigningAlgorithm.EDDSA)).chmod(mode)
    assert len(load_key_ring(folder, NOW).by_kid) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_manifest_that_others_can_write_is_refused(
    folder: Path, key_of: KeyOf, mode: int
) -> None:
    key = key_of(SigningAlgorithm.EDDSA)
    store(folder, key)
    write(folder / MANIFEST_NAME, {"version": 1, "signing": key.kid}, mode)
    refused(folder, "others than its owner have access")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_another_user_is_refused(folder: Path, key_of: KeyOf) -> None:
    os.chown(store(folder, key_of(SigningAlgorithm.EDDSA)), 65534, -1)
    refused(folder, "belongs to another user")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no JSON object"),
        ("{", "no JSON object"),
        ("[]", "no JSON object"),
        ("[" * 20_000, "no JSON object"),
        ("{}", "unknown kind"),
        ('{"kty": "oct"}', "malformed"),
        ('{"kty": "oct", "k": "c2VjcmV0"}', "256 bits"),
        ('{"kty": "oct", "k": "' + "A" * 43 + '"}', "pattern"),
        ('{"kty": "EC", "crv": "P-256", "x": "", "y": "", "d": ""}', "malformed"),
        (" " * 70_000, "too large"),
    ],
    ids=[
        "nothing",
        "a bracket",
        "a list",
        "a bomb",
        "an empty object",
        "no secret",
        "a short secret",
        "zeros",
        "an empty key",
        "a large file",
    ],
)
def test_a_malformed_or_weak_jwk_is_refused(folder: Path, content: str, reason: str) -> None:
    write(folder / "key.jwk", content)
    message = refused(folder, reason)
    assert "c2VjcmV0" not in message


def test_a_malformed_pem_is_refused_without_a_word_of_it(folder: Path) -> None:
    write(folder / "key.pem", PEM.replace("MIGH", "AAAA"))
    message = refused(folder, "holds no private key")
    assert PEM.splitlines()[1][4:20] not in message


def test_the_same_key_in_two_files_is_refused(folder: Path) -> None:
    write(folder / "one.pem", PEM)
    write(folder / "two.pem", PEM)
    kid = Key.from_pem(PEM.encode()).kid
    write(folder / MANIFEST_NAME, {"version": 1, "signing": kid})
    refused(folder, f"{kid} is there twice")


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("{", "no JSON object"),
        ("null", "no JSON object"),
        ({}, "version"),
        ({"version": 2, "signing": "x"}, "version"),
        ({"version": 1}, "does not say which key signs"),
        ({"version": 1, "signing": 1}, "does not say which key signs"),
        ({"version": 1, "signing": "missing"}, "no key 'missing'"),
    ],
    ids=str,
)
def test_a_manifest_that_does_not_say_clearly_which_key_signs_is_refused(
    folder: Path, key_of: KeyOf, manifest: object, reason: str
) -> None:
    store(folder, key_of(SigningAlgorithm.EDDSA))
    write(folder / MANIFEST_NAME, manifest)
    refused(folder, reason)


def test_a_manifest_whose_keys_are_gone_is_no_first_start(folder: Path) -> None:
    write(folder / MANIFEST_NAME, {"version": 1, "signing": "gone"})
    with pytest.raises(KeyFileError, match="no key file"):
        ensure_key(folder, SigningAlgorithm.EDDSA, NOW)


def test_a_signing_key_for_another_algorithm_than_asked_for_is_refused(folder: Path) -> None:
    ensure_key(folder, SigningAlgorithm.ES256, NOW)
    with pytest.raises(KeyFileError, match="is for ES256, not RS256"):
        ensure_key(folder, SigningAlgorithm.RS256, NOW)


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    occupied = write(tmp_path / "file", "not a folder")
    with pytest.raises(KeyFileError, match=f"^{occupied}"):
        ensure_key(occupied / "keys", SigningAlgorithm.EDDSA, NOW)
    with pytest.raises(KeyFileError, match=f"^{occupied}"):
        ensure_key(occupied, SigningAlgorithm.EDDSA, NOW)
