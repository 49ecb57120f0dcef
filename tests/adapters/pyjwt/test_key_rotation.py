"""One key takes over from another: each step by itself, and what each leaves in the folder."""

import json
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.adapters.pyjwt.followed_keys import COOLDOWN, FollowedKeys
from keyturn.adapters.pyjwt.jwks import keys_from_jwks
from keyturn.adapters.pyjwt.key_files import MANIFEST_NAME, KeyFileError, ensure_key
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm
from keyturn.adapters.pyjwt.key_rotation import PUBLISH_OVERLAP, KeyRotation, KeyState
from keyturn.testing.doubles import ManualClock

KeyOf = Callable[..., Key]

LIFE = timedelta(days=30)
SECOND = timedelta(seconds=1)
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(folder: Path, clock: ManualClock) -> FollowedKeys:
    return FollowedKeys(folder, SigningAlgorithm.EDDSA, clock)


@pytest.fixture
def rotation(keys: FollowedKeys, folder: Path, clock: ManualClock) -> KeyRotation:
    return KeyRotation(folder, clock, LIFE)


def states(rotation: KeyRotation) -> dict[str, KeyState]:
    return {key.kid: key.state for key in rotation.list()}


def published(keys: FollowedKeys) -> list[str]:
    return [key["kid"] for key in json.loads(keys.jwks())["keys"]]


def test_the_next_key_is_published_before_it_signs(
    keys: FollowedKeys, rotation: KeyRotation, clock: ManualClock
) -> None:
    first = keys.signer.kid
    following = rotation.generate()
    assert (following.state, following.at) == (KeyState.NEXT, clock.now() + PUBLISH_OVERLAP)
    keys.look()
    assert keys.signer.kid == first
    assert published(keys) == [first, following.kid]
    assert states(rotation) == {first: KeyState.SIGNING, following.kid: KeyState.NEXT}


def test_a_key_signs_once_everybody_had_time_to_find_it(
    keys: FollowedKeys, rotation: KeyRotation, clock: ManualClock
) -> None:
    first, following = keys.signer.kid, rotation.generate().kid
    clock.advance(PUBLISH_OVERLAP - SECOND)
    with pytest.raises(KeyFileError, match="must not sign before"):
        rotation.rotate()
    clock.advance(SECOND)
    assert rotation.rotate().kid == following
    keys.look()
    assert keys.signer.kid == following
    assert states(rotation) == {following: KeyState.SIGNING, first: KeyState.RETIRING}
    assert set(published(keys)) == {first, following}


def test_a_rotation_without_a_next_key_publishes_one_first(
    keys: FollowedKeys, rotation: KeyRotation, clock: ManualClock
) -> None:
    first = keys.signer.kid
    made = rotation.rotate()
    assert made.state is KeyState.NEXT
    keys.look()
    assert keys.signer.kid == first
    clock.advance(PUBLISH_OVERLAP)
    signing = rotation.rotate()
    assert (signing.kid, signing.state) == (made.kid, KeyState.SIGNING)


@pytest.mark.parametrize("is_published", [True, False])
def test_in_an_emergency_a_key_signs_at_once(
    keys: FollowedKeys, rotation: KeyRotation, *, is_published: bool
) -> None:
    first = keys.signer.kid
    if is_published:
        rotation.generate()
    signing = rotation.rotate(at_once=True)
    keys.look()
    assert keys.signer.kid == signing.kid != first
    assert signing.state is KeyState.SIGNING
    assert keys.find(first) is not None


def test_the_key_before_verifies_until_its_last_token_has_expired_and_no_longer(
    keys: FollowedKeys, rotation: KeyRotation, clock: ManualClock, folder: Path
) -> None:
    first = keys.signer.kid
    signing = rotation.rotate(at_once=True).kid
    clock.advance(LIFE - SECOND)
    keys.look()
    assert keys.find(first) is not None
    assert first in published(keys)
    clock.advance(SECOND)
    keys.look()
    assert keys.find(first) is None
    assert published(keys) == [signing]
    assert states(rotation) == {signing: KeyState.SIGNING, first: KeyState.RETIRED}
    rotation.generate()
    assert not (folder / f"{first}.jwk").exists()
    assert first not in (folder / MANIFEST_NAME).read_text()


def test_only_one_key_can_be_the_next(rotation: KeyRotation) -> None:
    following = rotation.generate().kid
    with pytest.raises(KeyFileError, match=f"key {following} is the next one already"):
        rotation.generate()


def test_the_signing_key_can_not_be_retired(keys: FollowedKeys, rotation: KeyRotation) -> None:
    with pytest.raises(KeyFileError, match="signs; rotate first"):
        rotation.retire(keys.signer.kid, at_once=True)


@pytest.mark.parametrize("kid", ["unknown", "", "../keys", "\x00"])
def test_an_unknown_key_can_not_be_retired(rotation: KeyRotation, kid: str) -> None:
    with pytest.raises(KeyFileError, match="there is no key") as caught:
        rotation.retire(kid)
    assert "\n" not in str(caught.value)


def test_a_stolen_key_is_gone_at_once(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path
) -> None:
    stolen = keys.signer.kid
    signing = rotation.rotate(at_once=True).kid
    assert rotation.retire(stolen) is not None
    assert rotation.retire(stolen, at_once=True) is None
    keys.look()
    assert keys.find(stolen) is None
    assert published(keys) == [signing]
    assert not (folder / f"{stolen}.jwk").exists()


def test_a_next_key_that_is_not_wanted_is_gone_at_once(
    keys: FollowedKeys, rotation: KeyRotation
) -> None:
    unwanted = rotation.generate().kid
    assert rotation.retire(unwanted) is None
    assert states(rotation) == {keys.signer.kid: KeyState.SIGNING}


def test_a_key_that_an_operator_brought_can_be_retired(
    keys: FollowedKeys, rotation: KeyRotation, clock: ManualClock, folder: Path, key_of: KeyOf
) -> None:
    brought = key_of(SigningAlgorithm.ES256)
    file = folder / "brought.jwk"
    file.write_text(json.dumps(brought.to_jwk()))
    file.chmod(0o600)
    assert states(rotation)[brought.kid] is KeyState.VERIFYING
    assert rotation.retire(brought.kid) == clock.now() + LIFE
    clock.advance(LIFE)
    assert rotation.retire(brought.kid) is None
    assert not file.exists()
    assert states(rotation) == {keys.signer.kid: KeyState.SIGNING}


def test_a_key_in_a_folder_without_a_manifest_is_rotated(
    folder: Path, clock: ManualClock, key_of: KeyOf
) -> None:
    folder.mkdir(mode=0o700)
    single = key_of(SigningAlgorithm.ES256)
    (folder / "single.jwk").write_text(json.dumps(single.to_jwk()))
    (folder / "single.jwk").chmod(0o600)
    rotation = KeyRotation(folder, clock, LIFE)
    following = rotation.generate()
    assert following.algorithm == "ES256"
    assert states(rotation) == {single.kid: KeyState.SIGNING, following.kid: KeyState.NEXT}


def test_what_a_rotation_writes_is_closed_to_everybody_else(
    rotation: KeyRotation, folder: Path
) -> None:
    rotation.generate()
    rotation.rotate(at_once=True)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_folder_that_others_have_access_to_is_not_rotated(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path
) -> None:
    file = folder / f"{keys.signer.kid}.jwk"
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="others than its owner have access"):
        rotation.generate()
    assert len(list(folder.glob("*.jwk"))) == 1


def test_a_missing_folder_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    rotation = KeyRotation(tmp_path / "missing", clock, LIFE)
    for change in (rotation.generate, rotation.rotate, lambda: rotation.retire("x"), rotation.list):
        with pytest.raises(KeyFileError, match="missing"):
            change()


def test_a_start_after_a_change_of_algorithm_takes_either_setting(
    folder: Path, clock: ManualClock
) -> None:
    ensure_key(folder, SigningAlgorithm.ES256, clock.now())
    rotation = KeyRotation(folder, clock, LIFE)

    def is_taken(algorithm: SigningAlgorithm) -> bool:
        try:
            ensure_key(folder, algorithm, clock.now())
        except KeyFileError:
            return False
        return True

    assert not is_taken(SigningAlgorithm.EDDSA)
    rotation.generate("EdDSA")
    assert is_taken(SigningAlgorithm.EDDSA)
    rotation.rotate(at_once=True)
    clock.advance(2 * LIFE)
    rotation.generate()
    assert is_taken(SigningAlgorithm.EDDSA)
    assert is_taken(SigningAlgorithm.ES256)
    assert not is_taken(SigningAlgorithm.HS256)


def test_a_change_is_noticed_on_an_unknown_kid_but_only_once_per_cooldown(
    keys: FollowedKeys, rotation: KeyRotation, clock: ManualClock
) -> None:
    following = rotation.generate().kid
    assert keys.find(following) is not None
    rotation.rotate(at_once=True)
    third = rotation.generate().kid
    assert keys.find(third) is None
    clock.advance(COOLDOWN)
    assert keys.find(third) is not None


def test_a_folder_that_did_not_change_is_not_read_again(
    keys: FollowedKeys, clock: ManualClock
) -> None:
    keys.look()
    ring = keys.ring
    clock.advance(timedelta(minutes=1))
    keys.look()
    assert keys.ring is ring


def test_a_broken_folder_changes_nothing_until_it_is_mended(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path, clock: ManualClock
) -> None:
    manifest = folder / MANIFEST_NAME
    first, good = keys.signer.kid, manifest.read_text()
    manifest.write_text("{")
    for _ in range(2):
        with pytest.raises(KeyFileError, match="no JSON object"):
            keys.look()
        assert keys.signer.kid == first
        clock.advance(COOLDOWN)
        assert keys.find("unknown") is None
    manifest.write_text(good)
    keys.look()
    assert rotation.rotate(at_once=True).kid != first
    keys.look()
    assert keys.signer.kid != first


def test_a_key_retires_in_time_even_while_the_folder_is_broken(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path, clock: ManualClock
) -> None:
    first = keys.signer.kid
    rotation.rotate(at_once=True)
    keys.look()
    (folder / MANIFEST_NAME).write_text("{")
    clock.advance(LIFE)
    with pytest.raises(KeyFileError):
        keys.look()
    assert keys.find(first) is None


def test_a_mode_that_is_mended_is_noticed(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path
) -> None:
    following = rotation.generate().kid
    file = folder / f"{following}.jwk"
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="others than its owner"):
        keys.look()
    file.chmod(0o600)
    keys.look()
    assert keys.find(following) is not None


async def test_following_is_looking(keys: FollowedKeys, rotation: KeyRotation) -> None:
    following = rotation.generate().kid
    await keys.follow()
    assert keys.find(following) is not None


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
def test_whoever_reads_the_published_keys_learns_nothing_that_signs(
    folder: Path, clock: ManualClock, algorithm: SigningAlgorithm
) -> None:
    keys = FollowedKeys(folder, SigningAlgorithm.HS256, clock)
    rotation = KeyRotation(folder, clock, LIFE)
    rotation.generate(algorithm.value)
    rotation.rotate(at_once=True)
    rotation.generate()
    keys.look()
    body = keys.jwks().decode()
    document = json.loads(body)
    assert not [name for key in document["keys"] for name in key if name in PRIVATE_MEMBERS]
    for file in folder.glob("*.jwk"):
        stored = json.loads(file.read_text())
        assert not [
            stored[name] for name in PRIVATE_MEMBERS & stored.keys() if stored[name] in body
        ]
    is_secret = algorithm is SigningAlgorithm.HS256
    assert len(document["keys"]) == len(keys_from_jwks(document)) == (0 if is_secret else 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"next": "kid"}, "no JSON object"),
        ({"next": {}}, "does not say which key signs next"),
        ({"next": {"kid": "gone", "published_at": "2030-01-01T00:00:00Z"}}, "no key 'gone'"),
        ({"next": {"kid": "x", "published_at": "2030-01-01"}}, "no time zone"),
        ({"next": {"kid": "x", "published_at": None}}, "a time in it is none"),
        ({"retiring": []}, "wrong kind"),
        ({"retiring": {"x": 1}}, "a time in it is none"),
        ({"retiring": {"x": "0001-01-01T00:00:00+14:00"}}, "a time in it is none"),
        ({"formerly": "RS256"}, "wrong kind"),
    ],
    ids=str,
)
def test_a_manifest_that_is_unclear_about_other_keys_is_refused(
    keys: FollowedKeys, folder: Path, change: dict[str, object], reason: str
) -> None:
    manifest = folder / MANIFEST_NAME
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(KeyFileError, match=reason) as caught:
        keys.look()
    assert str(caught.value).startswith(str(folder))


def test_a_key_that_signs_and_retires_at_once_is_refused(keys: FollowedKeys, folder: Path) -> None:
    manifest, kid = folder / MANIFEST_NAME, keys.signer.kid
    retiring = {"retiring": {kid: "2030-01-01T00:00:00Z"}}
    manifest.write_text(json.dumps({"version": 1, "signing": kid} | retiring))
    with pytest.raises(KeyFileError, match="one key for two things"):
        keys.look()


def test_a_key_whose_file_went_before_the_manifest_said_so_is_no_fault(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path
) -> None:
    first = keys.signer.kid
    rotation.rotate(at_once=True)
    (folder / f"{first}.jwk").unlink()
    keys.look()
    assert keys.find(first) is None


def test_a_rotation_that_died_after_it_wrote_the_key_is_repeated(
    keys: FollowedKeys, rotation: KeyRotation, folder: Path
) -> None:
    left = Key(Ed25519PrivateKey.generate())
    (folder / f"{left.kid}.jwk").write_text(json.dumps(left.to_jwk()))
    (folder / f"{left.kid}.jwk").chmod(0o600)
    following = rotation.generate().kid
    assert states(rotation) == {
        keys.signer.kid: KeyState.SIGNING,
        following: KeyState.NEXT,
        left.kid: KeyState.VERIFYING,
    }
