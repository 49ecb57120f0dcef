"""A token that was good is not verified twice, and is worth no more for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.adapters.jwks.remote_keys import KeysUnavailable
from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.memory.store import MemoryStore
from keyturn.adapters.pyjwt.access_token_reader import PyJwtAccessTokenReader
from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm, TokenKeys, VerificationKey
from keyturn.adapters.pyjwt.verified_tokens import VerifiedToken, VerifiedTokens, digest_of
from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import InvalidAccessToken, RevocationsUnknown, WrongAudience
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.resource import AccessRule
from keyturn.domain.revocation import Revocation
from keyturn.domain.secret import Secret
from keyturn.testing.codec_contract import ACCESS, AUDIENCES, ISSUED_AT
from keyturn.testing.doubles import ManualClock
from keyturn.use_cases.authenticate_access import AuthenticateAccess
from keyturn.use_cases.revocation_replica import RevocationReplica

ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"


class Keys(TokenKeys):
    """Keys that come and go."""

    def __init__(self, *keys: Key) -> None:
        self.held = {key.kid: key for key in keys}
        self.problem: Exception | None = None

    def find(self, kid: str) -> VerificationKey | None:
        if self.problem is not None:
            raise self.problem
        return self.held.get(kid)


@pytest.fixture
def key(key_of: Callable[..., Key]) -> Key:
    return key_of(SigningAlgorithm.EDDSA)


@pytest.fixture
def keys(key: Key) -> Keys:
    return Keys(key)


@pytest.fixture
def remembered() -> VerifiedTokens:
    return VerifiedTokens()


@pytest.fixture
def reader(keys: Keys, remembered: VerifiedTokens) -> PyJwtAccessTokenReader:
    return PyJwtAccessTokenReader(keys, issuer=ISSUER, remembered=remembered)


@pytest.fixture
async def token(codec_of: Callable[..., PyJwtCodec], key: Key) -> Secret:
    return await codec_of(key).encode_access(ACCESS)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The signatures that have been verified."""
    signatures: list[bytes] = []
    verifies = VerificationKey.verifies

    def watched(key: VerificationKey, message: bytes, signature: bytes) -> bool:
        signatures.append(signature)
        return verifies(key, message, signature)

    monkeypatch.setattr(VerificationKey, "verifies", watched)
    return signatures


def test_a_signature_is_verified_once(
    reader: PyJwtAccessTokenReader, token: Secret, verified: list[bytes]
) -> None:
    assert reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS
    assert (
        reader.decode_access(token, ISSUED_AT + timedelta(seconds=1), audiences=AUDIENCES) == ACCESS
    )
    assert len(verified) == 1


def test_a_token_that_is_remembered_expires_all_the_same(
    reader: PyJwtAccessTokenReader, token: Secret
) -> None:
    reader.decode_access(token, ACCESS.expires_at - timedelta(microseconds=1), audiences=AUDIENCES)
    with pytest.raises(InvalidAccessToken):
        reader.decode_access(token, ACCESS.expires_at, audiences=AUDIENCES)


def test_a_clock_that_was_set_back_makes_no_token_good_before_its_time(
    reader: PyJwtAccessTokenReader, token: Secret
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    too_early = ACCESS.issued_at - MAX_CLOCK_SKEW - timedelta(microseconds=1)
    with pytest.raises(InvalidAccessToken):
        reader.decode_access(token, too_early, audiences=AUDIENCES)
    assert reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS


def test_the_tokens_of_a_key_go_with_it(
    reader: PyJwtAccessTokenReader,
    remembered: VerifiedTokens,
    keys: Keys,
    key: Key,
    token: Secret,
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    del keys.held[key.kid]
    with pytest.raises(InvalidAccessToken):
        reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    assert len(remembered) == 0


def test_a_key_that_was_read_again_verifies_again(
    reader: PyJwtAccessTokenReader, keys: Keys, key: Key, token: Secret, verified: list[bytes]
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    keys.held[key.kid] = Key.from_jwk(key.to_jwk())
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    assert len(verified) == 2


def test_keys_that_are_too_old_to_be_trusted_are_not_made_up_for(
    reader: PyJwtAccessTokenReader, keys: Keys, token: Secret
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    keys.problem = KeysUnavailable()
    with pytest.raises(KeysUnavailable):
        reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)


async def test_a_token_that_is_remembered_is_revoked_all_the_same(
    reader: PyJwtAccessTokenReader, token: Secret
) -> None:
    clock = ManualClock(ISSUED_AT)
    replica = RevocationReplica(
        MemoryRevocationList(MemoryStore()), clock, max_staleness=timedelta(seconds=10)
    )
    await replica.follow()
    authenticate = AuthenticateAccess(reader, replica, clock, rule=AccessRule.only(ACCESS.audience))
    authenticate.execute(token)
    replica.apply([Revocation.of_token(ACCESS.token_id, ACCESS.expires_at)])
    with pytest.raises(InvalidAccessToken):
        authenticate.execute(token)


async def test_a_token_that_is_remembered_is_not_trusted_by_a_copy_that_is_too_old(
    reader: PyJwtAccessTokenReader, token: Secret
) -> None:
    clock = ManualClock(ISSUED_AT)
    replica = RevocationReplica(
        MemoryRevocationList(MemoryStore()), clock, max_staleness=timedelta(seconds=10)
    )
    await replica.follow()
    authenticate = AuthenticateAccess(reader, replica, clock, rule=AccessRule.only(ACCESS.audience))
    authenticate.execute(token)
    clock.advance(timedelta(seconds=11))
    with pytest.raises(RevocationsUnknown):
        authenticate.execute(token)


@pytest.mark.parametrize(
    ("change", "now"),
    [
        (lambda token: token[:-4] + "AAAA", ISSUED_AT),
        (lambda token: token + "=", ISSUED_AT),
        (lambda token: token.replace(".", "..", 1), ISSUED_AT),
        (lambda token: token, ACCESS.expires_at),
        (lambda token: token, ISSUED_AT - timedelta(days=1)),
    ],
)
def test_what_is_not_good_is_not_remembered(
    change: Callable[[str], str],
    now: datetime,
    reader: PyJwtAccessTokenReader,
    remembered: VerifiedTokens,
    token: Secret,
) -> None:
    with pytest.raises(InvalidAccessToken):
        reader.decode_access(Secret(change(token.reveal())), now, audiences=AUDIENCES)
    assert len(remembered) == 0


def test_what_is_like_a_token_that_is_remembered_is_not_it(
    reader: PyJwtAccessTokenReader, token: Secret
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    header, payload, signature = token.reveal().split(".")
    for other in (f"{header}.{payload}.", f"{header}.{payload}.{signature[:-1]}", header):
        with pytest.raises(InvalidAccessToken):
            reader.decode_access(Secret(other), ISSUED_AT, audiences=AUDIENCES)


def _entry(number: int, key: VerificationKey) -> tuple[bytes, VerifiedToken]:
    claims = AccessClaims(
        token_id=ACCESS.token_id,
        user_id=ACCESS.user_id,
        family_id=ACCESS.family_id,
        client_id="keyturn",
        audience=ACCESS.audience,
        epoch=number,
        roles=frozenset(),
        permissions=None,
        scope=None,
        auth_time=datetime(2030, 1, 1, tzinfo=UTC),
        issued_at=datetime(2030, 1, 1, tzinfo=UTC),
        expires_at=datetime(2030, 1, 2, tzinfo=UTC),
    )
    return digest_of(str(number)), VerifiedToken(key, claims)


def test_the_memory_is_bounded(key: Key) -> None:
    memory = VerifiedTokens(at_most=10)
    for number in range(100):
        memory.remember(*_entry(number, key))
        assert len(memory) <= 10
    assert memory.find(digest_of("0")) is None
    assert memory.find(digest_of("99")) is not None


def test_what_is_asked_for_stays_longer_than_what_is_not(key: Key) -> None:
    memory = VerifiedTokens(at_most=10)
    for number in range(100):
        memory.remember(*_entry(number, key))
        assert memory.find(digest_of("0")) is not None
    assert memory.find(digest_of("1")) is None


def test_a_token_that_is_remembered_is_refused_for_another_audience(
    reader: PyJwtAccessTokenReader, token: Secret
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    with pytest.raises(WrongAudience):
        reader.decode_access(token, ISSUED_AT, audiences=frozenset({"https://other.example"}))
    assert reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS


def test_no_token_is_kept(
    reader: PyJwtAccessTokenReader, remembered: VerifiedTokens, token: Secret
) -> None:
    reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
    assert remembered.find(digest_of(token.reveal())) is not None
    assert token.reveal().rpartition(".")[2] not in repr(vars(remembered))
