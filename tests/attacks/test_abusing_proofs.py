"""Attacks with DPoP proofs (RFC 9449): floods of own proofs, copied proofs, keys that prove nothing."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import FastAPI

from keyturn.adapters.pyjwt.key_ring import Key, KeyRing, VerificationKey
from keyturn.adapters.pyjwt.proofs import PyJwtProofChecker
from keyturn.adapters.sqlalchemy.migrations import migrate
from keyturn.delivery.http import CurrentPrincipal
from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidCredentials,
    InvalidProof,
    InvalidRefreshToken,
)
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.main import mount
from keyturn.ports.proofs import CheckedProof, Proof
from keyturn.settings import Settings
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand
from keyturn.use_cases.token_pair import TokenPair

URL = "https://auth.example.com/v1"
SERVER = Key(ec.generate_private_key(ec.SECP256R1()))
WRONG = Secret("not the right one")
FLOOD = 5
"""Proofs; the memory below holds fewer."""


class Holder:
    """Somebody with a key, who makes as many good proofs as they like."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())

    def prove(
        self, now: datetime, *, method: str = "POST", url: str = URL, token: Secret | None = None
    ) -> str:
        jwk = Key(self.private).public_jwk() or {}
        claims = {"jti": str(uuid4()), "htm": method, "htu": url, "iat": int(now.timestamp())}
        if token is not None:
            digest = hashlib.sha256(token.reveal().encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "jwk": {name: jwk[name] for name in ("kty", "crv", "x", "y")}}
        return jwt.encode(claims, self.private, algorithm="ES256", headers=header)


class Door:
    """A service that remembers two proofs, and what can be presented to it."""

    def __init__(self, hasher: PlainPasswordHasher | None = None) -> None:
        ring = KeyRing([SERVER], SERVER.kid)
        self.checker = PyJwtProofChecker(ring, max_remembered=2)
        self.keyturn = InMemoryKeyturn(proofs=self.checker, hasher=hasher)
        self.owner = Holder()

    def proof(self, holder: Holder, token: Secret | None = None) -> Proof:
        text = holder.prove(self.keyturn.clock.now(), token=token)
        return Proof(Secret(text), "POST", URL)

    def checked(self, proof: Proof | None) -> CheckedProof | None:
        return self.keyturn.check_proof.execute(proof)

    async def log_in(
        self, proof: Proof, password: Secret = PASSWORD, email: str = ADA
    ) -> TokenPair:
        command = LoginUserCommand(email, password, proof=self.checked(proof))
        return await self.keyturn.login_user.execute(command)

    async def refresh(self, token: Secret, proof: Proof | None) -> TokenPair:
        command = RotateRefreshCommand(token, proof=self.checked(proof))
        return (await self.keyturn.rotate_refresh.execute(command)).tokens

    async def access(self, token: Secret, proof: Proof) -> None:
        self.keyturn.authenticate_access.execute(token, proof)

    async def registered(self) -> TokenPair:
        """The tokens of the owner, whose login is no longer remembered."""
        await self.keyturn.register()
        tokens = await self.log_in(self.proof(self.owner))
        self.keyturn.advance(minutes=2)
        return tokens


@pytest.fixture
def door() -> Door:
    return Door()


async def wrong_password(door: Door, _: TokenPair) -> None:
    with pytest.raises(InvalidCredentials):
        await door.log_in(door.proof(Holder()), WRONG)


async def unknown_account(door: Door, _: TokenPair) -> None:
    with pytest.raises(InvalidCredentials):
        await door.log_in(door.proof(Holder()), email="nobody@example.com")


async def forged_refresh_token(door: Door, _: TokenPair) -> None:
    with pytest.raises(InvalidRefreshToken):
        await door.refresh(Secret("forged"), door.proof(Holder()))


async def copied_refresh_token(door: Door, tokens: TokenPair) -> None:
    with pytest.raises(InvalidRefreshToken):
        await door.refresh(tokens.refresh_token, door.proof(Holder()))


async def forged_access_token(door: Door, _: TokenPair) -> None:
    with pytest.raises(InvalidAccessToken):
        await door.access(Secret("forged"), door.proof(Holder(), Secret("forged")))


async def copied_access_token(door: Door, tokens: TokenPair) -> None:
    with pytest.raises(InvalidAccessToken):
        await door.access(tokens.access_token, door.proof(Holder(), tokens.access_token))


@pytest.mark.parametrize(
    "attempt",
    [
        wrong_password,
        unknown_account,
        forged_refresh_token,
        copied_refresh_token,
        forged_access_token,
        copied_access_token,
    ],
)
async def test_a_stranger_can_not_fill_the_memory_of_used_proofs(
    door: Door, attempt: Callable[[Door, TokenPair], Coroutine[Any, Any, None]]
) -> None:
    tokens = await door.registered()
    for _ in range(FLOOD):
        await attempt(door, tokens)
    await door.access(tokens.access_token, door.proof(door.owner, tokens.access_token))
    await door.refresh(tokens.refresh_token, door.proof(door.owner))


class SlowHasher(PlainPasswordHasher):
    """Lets nobody go on before two are here."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = asyncio.Barrier(2)

    async def verify(
        self,
        password_hash: str | None,
        password: Secret,
        *,
        source: Source = UNKNOWN_SOURCE,
    ) -> bool:
        await self.barrier.wait()
        return await super().verify(password_hash, password, source=source)


async def test_of_two_logins_at_once_with_one_proof_one_is_refused_and_starts_no_session() -> None:
    door = Door(SlowHasher())
    user = await door.keyturn.register()
    proof = door.proof(door.owner)
    outcomes = await asyncio.gather(door.log_in(proof), door.log_in(proof), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {InvalidProof, TokenPair}
    async with door.keyturn.unit_of_work() as uow:
        live = await uow.families.list_live(user.id, door.keyturn.clock.now())
    assert len(live) == 1


async def test_of_two_refreshes_at_once_with_one_proof_one_is_refused(door: Door) -> None:
    tokens = await door.registered()
    proof = door.proof(door.owner)
    checked = [door.checked(proof) for _ in range(2)]
    outcomes = await asyncio.gather(
        *(
            door.keyturn.rotate_refresh.execute(
                RotateRefreshCommand(tokens.refresh_token, proof=each)
            )
            for each in checked
        ),
        return_exceptions=True,
    )
    assert [isinstance(outcome, InvalidProof) for outcome in outcomes].count(True) == 1


async def test_of_two_requests_with_one_proof_one_is_refused(door: Door) -> None:
    tokens = await door.registered()
    proof = door.proof(door.owner, tokens.access_token)
    await door.access(tokens.access_token, proof)
    with pytest.raises(InvalidProof):
        await door.access(tokens.access_token, proof)


async def test_a_thief_who_repeats_a_copied_refresh_ends_no_session(door: Door) -> None:
    tokens = await door.registered()
    proof = door.proof(door.owner)
    # The thief's request waits behind the owner's: its proof was checked, and not used yet.
    copy = door.checked(proof)
    successor = await door.refresh(tokens.refresh_token, proof)
    door.keyturn.advance(seconds=30)
    with pytest.raises(InvalidProof):
        await door.keyturn.rotate_refresh.execute(
            RotateRefreshCommand(tokens.refresh_token, proof=copy)
        )
    await door.refresh(successor.refresh_token, door.proof(door.owner))


# Keys that prove nothing: whoever presents one need not hold a private key.

SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(jwk: dict[str, str], algorithm: str, signature: bytes, now: datetime) -> Proof:
    header = {"typ": "dpop+jwt", "alg": algorithm, "jwk": jwk}
    claims = {"jti": str(uuid4()), "htm": "POST", "htu": URL, "iat": int(now.timestamp())}
    parts = [b64(json.dumps(part).encode()) for part in (header, claims)]
    return Proof(Secret(".".join([*parts, b64(signature)])), "POST", URL)


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize("encoding", SMALL_ORDER)
def test_an_ed25519_key_of_small_order_forges_no_proof(
    door: Door, encoding: str, sign_bit: int
) -> None:
    point = bytearray.fromhex(encoding)
    point[-1] |= sign_bit
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(point))}
    with pytest.raises(ValueError, match="small order"):
        VerificationKey.from_public_jwk(jwk)
    # With R the neutral point and S zero, the equation holds for one message in eight or more.
    neutral = (1).to_bytes(32, "little") + bytes(32)
    for _ in range(16):
        with pytest.raises(InvalidProof):
            door.checked(forged(jwk, "EdDSA", neutral, door.keyturn.clock.now()))


def test_the_signature_that_needs_no_private_key_would_verify_with_a_key_of_small_order() -> None:
    # Why such keys must be rejected by name: the library itself accepts what follows.
    key = Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    key.verify((1).to_bytes(32, "little") + bytes(32), b"any message")


EC_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
GENERATOR = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
MODULUS = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n


def ec_jwk(x: int, y: int) -> dict[str, str]:
    return {"kty": "EC", "crv": "P-256"} | {
        name: b64(value.to_bytes(32, "big")) for name, value in (("x", x), ("y", y))
    }


def rsa_jwk(modulus: int, exponent: int) -> dict[str, str]:
    n, e = (b64(v.to_bytes((v.bit_length() + 7) // 8 or 1, "big")) for v in (modulus, exponent))
    return {"kty": "RSA", "n": n, "e": e}


@pytest.mark.parametrize(
    ("jwk", "algorithm"),
    [
        pytest.param(ec_jwk(GENERATOR.x, GENERATOR.y ^ 1), "ES256", id="EC: not on the curve"),
        pytest.param(ec_jwk(0, 0), "ES256", id="EC: zero"),
        pytest.param(ec_jwk(EC_P, GENERATOR.y), "ES256", id="EC: x is the prime"),
        pytest.param(ec_jwk(2**256 - 1, GENERATOR.y), "ES256", id="EC: x beyond the prime"),
        pytest.param(
            ec_jwk(GENERATOR.x, GENERATOR.y) | {"crv": "P-384"}, "ES256", id="EC: another curve"
        ),
        pytest.param(
            ec_jwk(GENERATOR.x, GENERATOR.y) | {"crv": "secp256k1"}, "ES256", id="EC: Bitcoin's"
        ),
        pytest.param(rsa_jwk(MODULUS, 1), "RS256", id="RSA: exponent 1"),
        pytest.param(rsa_jwk(MODULUS, 3), "RS256", id="RSA: exponent 3"),
        pytest.param(rsa_jwk(MODULUS, 65536), "RS256", id="RSA: even exponent"),
        pytest.param(rsa_jwk(MODULUS, 2**24 + 1), "RS256", id="RSA: long exponent"),
        pytest.param(rsa_jwk(MODULUS, 0), "RS256", id="RSA: no exponent"),
        pytest.param(rsa_jwk(MODULUS + 1, 65537), "RS256", id="RSA: even modulus"),
        pytest.param(rsa_jwk(MODULUS >> 1024 | 1, 65537), "RS256", id="RSA: 1024 bits"),
        pytest.param(rsa_jwk(2**8192 + 1, 65537), "RS256", id="RSA: 8193 bits"),
        pytest.param(rsa_jwk(0, 65537), "RS256", id="RSA: no modulus"),
        pytest.param(
            {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(31))}, "EdDSA", id="OKP: short"
        ),
        pytest.param(
            {"kty": "OKP", "crv": "X25519", "x": b64(b"\x09" + bytes(31))},
            "EdDSA",
            id="OKP: X25519",
        ),
        pytest.param(
            {"kty": "OKP", "crv": "Ed25519", "x": b64((2).to_bytes(32, "little"))},
            "EdDSA",
            id="OKP: not on the curve",
        ),
    ],
)
def test_a_weak_or_invalid_key_forges_no_proof(
    door: Door, jwk: dict[str, str], algorithm: str
) -> None:
    for signature in (bytes(64), bytes(256), (1).to_bytes(32, "little") + bytes(32), b"\x01" * 64):
        with pytest.raises(InvalidProof):
            door.checked(forged(jwk, algorithm, signature, door.keyturn.clock.now()))


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param(ec_jwk(GENERATOR.x, GENERATOR.y ^ 1), id="EC: not on the curve"),
        pytest.param(rsa_jwk(MODULUS, 3), id="RSA: exponent 3"),
        pytest.param(rsa_jwk(MODULUS, 65536), id="RSA: even exponent"),
        pytest.param(rsa_jwk(MODULUS + 1, 65537), id="RSA: even modulus"),
        pytest.param(rsa_jwk(MODULUS >> 1024 | 1, 65537), id="RSA: 1024 bits"),
    ],
)
def test_an_attacker_finds_no_weak_key_that_is_accepted_as_a_public_key(
    jwk: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=r"RSA key|incomplete, malformed"):
        VerificationKey.from_public_jwk(jwk)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(("exponent", "bits"), [(3, 2048), (65537, 1024)])
def test_an_attacker_gains_nothing_by_signing_with_a_weak_rsa_key(
    door: Door, exponent: int, bits: int
) -> None:
    private = rsa.generate_private_key(exponent, bits)
    numbers = private.public_key().public_numbers()
    header = {"typ": "dpop+jwt", "jwk": rsa_jwk(numbers.n, numbers.e)}
    now = int(door.keyturn.clock.now().timestamp())
    claims = {"jti": "one", "htm": "POST", "htu": URL, "iat": now}
    text = jwt.api_jws.encode(
        json.dumps(claims).encode(),
        private,
        algorithm="RS256",
        headers=header,
    )
    with pytest.raises(InvalidProof):
        door.checked(Proof(Secret(text), "POST", URL))


# A host app that the service is mounted in.


@asynccontextmanager
async def hosted(folder: Path) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """A host at https://notes.example.com, and a client that a thief points at it."""
    host = FastAPI()

    @host.get("/me")
    async def me(principal: CurrentPrincipal) -> str:
        return str(principal.user_id)

    cheapest = {"argon2_time_cost": 5, "argon2_memory_kib": 7168, "argon2_parallelism": 1}
    settings = Settings.model_validate(
        {
            "accept_risks": ["console-mail"],
            "require_verified_email": False,
            "data_dir": folder,
            "dpop": "on",
            "issuer": "https://notes.example.com/auth",
        }
        | cheapest
    )
    service = await asyncio.to_thread(mount, host, settings, "/auth")
    await migrate(settings.used_database_url)
    async with (
        host.router.lifespan_context(host),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(host), base_url="https://notes.example.com"
        ) as client,
    ):
        yield service, client


async def bound_token(client: httpx.AsyncClient, owner: Holder) -> Secret:
    person = {"email": ADA, "password": "a passphrase of my own"}
    assert (await client.post("/auth/v1/auth/register", json=person)).status_code == 201
    url = "https://notes.example.com/auth/v1/auth/login"
    headers = {"DPoP": owner.prove(datetime.now().astimezone(), url=url)}
    answer = await client.post("/auth/v1/auth/login", json=person, headers=headers)
    assert answer.json()["token_type"] == "DPoP"
    return Secret(answer.json()["access_token"])


async def test_a_thief_can_not_repeat_a_proof_for_another_host_by_sending_its_name(
    tmp_path: Path,
) -> None:
    owner = Holder()
    async with hosted(tmp_path / "data") as (_, client):
        token = await bound_token(client, owner)

        async def ask(htu: str, **named: str) -> int:
            proof = owner.prove(datetime.now().astimezone(), method="GET", url=htu, token=token)
            headers = {"Authorization": f"DPoP {token.reveal()}", "DPoP": proof} | named
            return (await client.get("/me", headers=headers)).status_code

        # The owner used the token at a host of the thief's, which passes it on with that name.
        assert await ask("https://evil.example.com/me", Host="evil.example.com") == 401
        assert await ask("http://notes.example.com/me") == 401
        # The owner is not at the mercy of what a proxy makes of the name.
        assert await ask("https://notes.example.com/me", Host="10.0.0.7:8080") == 200
        assert await ask("https://notes.example.com/me") == 200


async def test_a_stranger_can_not_fill_the_memory_of_used_proofs_over_http(tmp_path: Path) -> None:
    owner, stranger = Holder(), Holder()
    base = "https://notes.example.com"
    async with hosted(tmp_path / "data") as (service, client):
        token = await bound_token(client, owner)
        checker = service.state.keyturn.check_proof._proofs
        checker._max_remembered = len(checker._seen) + 1
        wrong = {"email": ADA, "password": WRONG.reveal()}
        for path, body in (
            ("/auth/v1/auth/login", {"json": wrong}),
            ("/auth/v1/auth/refresh", {"json": {"refresh_token": "forged"}}),
            (
                "/auth/oauth/token",
                {"data": {"grant_type": "password", "username": ADA, "password": WRONG.reveal()}},
            ),
            (
                "/auth/oauth/token",
                {"data": {"grant_type": "refresh_token", "refresh_token": "forged"}},
            ),
        ):
            for _ in range(2):
                proof = stranger.prove(datetime.now().astimezone(), url=base + path)
                answer = await client.post(path, headers={"DPoP": proof}, **body)  # type: ignore[arg-type]  # either a form or JSON
                assert answer.status_code in (400, 401), answer.text
        for path in ("/me", "/auth/v1/auth/verify"):
            for _ in range(2):
                proof = stranger.prove(
                    datetime.now().astimezone(), method="GET", url=base + path, token=token
                )
                headers = {"Authorization": f"DPoP {token.reveal()}", "DPoP": proof}
                assert (await client.get(path, headers=headers)).status_code == 401
        proof = owner.prove(
            datetime.now().astimezone(), method="GET", url=base + "/me", token=token
        )
        headers = {"Authorization": f"DPoP {token.reveal()}", "DPoP": proof}
        assert (await client.get("/me", headers=headers)).status_code == 200


async def test_an_attacker_gains_nothing_by_a_second_proof_in_the_same_request(
    tmp_path: Path,
) -> None:
    owner, stranger = Holder(), Holder()
    async with hosted(tmp_path / "data") as (_, client):
        token = await bound_token(client, owner)
        url, now = "https://notes.example.com/me", datetime.now().astimezone()
        proofs = [
            holder.prove(now, method="GET", url=url, token=token) for holder in (owner, stranger)
        ]
        authorization = ("Authorization", f"DPoP {token.reveal()}")
        for both in (proofs, proofs[::-1], [proofs[0]] * 2):
            headers = [authorization, *(("DPoP", proof) for proof in both)]
            assert (await client.get("/me", headers=headers)).status_code == 401
        headers = [authorization, ("DPoP", proofs[0])]
        assert (await client.get("/me", headers=headers)).status_code == 200
