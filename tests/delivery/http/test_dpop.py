"""Tokens that are bound to a client's key, and what is left for whoever steals them."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.adapters.memory.clients import MemoryClients
from keyturn.adapters.pyjwt.key_ring import Key, KeyRing
from keyturn.adapters.pyjwt.proofs import PyJwtProofChecker
from keyturn.delivery.http.services import HttpOptions
from keyturn.domain.client import Client, secret_digest
from keyturn.domain.secret import Secret
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn

ISSUER = "https://auth.example.com"
ME = "/v1/users/me"
LOGIN = {"email": ADA, "password": PASSWORD.reveal()}
SERVER = Key(ec.generate_private_key(ec.SECP256R1()))
Json = dict[str, Any]


class Holder:
    """Somebody with a key."""

    def __init__(self, keyturn: InMemoryKeyturn) -> None:
        self.keyturn = keyturn
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.thumbprint = Key(self.private).kid

    def prove(self, method: str, path: str, token: str | None = None, **more: str) -> str:
        jwk = Key(self.private).public_jwk() or {}
        now = int(self.keyturn.clock.now().timestamp())
        claims: Json = {"jti": str(uuid4()), "htm": method, "htu": ISSUER + path, "iat": now}
        if token is not None:
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "jwk": {name: jwk[name] for name in ("kty", "crv", "x", "y")}}
        return jwt.encode(claims | more, self.private, algorithm="ES256", headers=header)

    def bearing(self, token: str, method: str = "GET", path: str = ME) -> dict[str, str]:
        return {"Authorization": f"DPoP {token}", "DPoP": self.prove(method, path, token)}


def taking_proofs(*, asks_for_nonce: bool = False) -> InMemoryKeyturn:
    ring = KeyRing([SERVER], SERVER.kid)
    return InMemoryKeyturn(proofs=PyJwtProofChecker(ring, asks_for_nonce=asks_for_nonce))


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return taking_proofs()


@pytest.fixture
def client(connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return connect(options=HttpOptions(issuer=ISSUER, dpop=True))


@pytest.fixture
def owner(keyturn: InMemoryKeyturn) -> Holder:
    return Holder(keyturn)


@pytest.fixture
async def bound(client: httpx.AsyncClient, keyturn: InMemoryKeyturn, owner: Holder) -> Json:
    await keyturn.register()
    headers = {"DPoP": owner.prove("POST", "/v1/auth/login")}
    answer = await client.post("/v1/auth/login", json=LOGIN, headers=headers)
    assert answer.status_code == 200
    tokens: Json = answer.json()
    return tokens


async def test_the_owner_uses_and_refreshes_bound_tokens(
    client: httpx.AsyncClient, bound: Json, owner: Holder
) -> None:
    assert bound["token_type"] == "DPoP"
    answer = await client.get(ME, headers=owner.bearing(bound["access_token"]))
    assert answer.status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": bound["refresh_token"]}
    headers = {"DPoP": owner.prove("POST", "/oauth/token")}
    refreshed = (await client.post("/oauth/token", data=form, headers=headers)).json()
    assert refreshed["token_type"] == "DPoP"
    answer = await client.get(ME, headers=owner.bearing(refreshed["access_token"]))
    assert answer.status_code == 200


async def test_a_stolen_refresh_token_is_worth_nothing_without_the_key(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, bound: Json, owner: Holder
) -> None:
    thief = Holder(keyturn)
    body = {"refresh_token": bound["refresh_token"]}
    for headers in ({}, {"DPoP": thief.prove("POST", "/v1/auth/refresh")}):
        answer = await client.post("/v1/auth/refresh", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")
    form = {"grant_type": "refresh_token"} | body
    answer = await client.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    headers = {"DPoP": owner.prove("POST", "/v1/auth/refresh")}
    assert (await client.post("/v1/auth/refresh", json=body, headers=headers)).status_code == 200
    # An old copy without the key does not end the session either.
    keyturn.advance(minutes=5)
    assert (await client.post("/v1/auth/refresh", json=body)).status_code == 401
    answer = await client.get(ME, headers=owner.bearing(bound["access_token"]))
    assert answer.status_code == 200


async def test_a_stolen_access_token_is_worth_nothing_without_the_key(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, bound: Json, owner: Holder
) -> None:
    token = bound["access_token"]
    as_bearer = {"Authorization": f"Bearer {token}"}
    answer = await client.get(ME, headers=as_bearer)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    answer = await client.get(ME, headers=as_bearer | {"DPoP": owner.prove("GET", ME, token)})
    assert answer.status_code == 401
    answer = await client.get(ME, headers=Holder(keyturn).bearing(token))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert answer.headers["www-authenticate"].startswith('DPoP realm="keyturn", error="invalid_to')
    for proof in (None, owner.prove("POST", ME, token), owner.prove("GET", ME, "another")):
        headers = {"Authorization": f"DPoP {token}"} | ({"DPoP": proof} if proof else {})
        answer = await client.get(ME, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_dpop_proof")
        assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]
        assert 'algs="ES256' in answer.headers["www-authenticate"]


async def test_a_copied_request_is_refused(
    client: httpx.AsyncClient, bound: Json, owner: Holder
) -> None:
    headers = owner.bearing(bound["access_token"])
    assert (await client.get(ME, headers=headers)).status_code == 200
    answer = await client.get(ME, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_dpop_proof")


async def test_a_bearer_token_stays_one(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, owner: Holder
) -> None:
    await keyturn.register()
    tokens = (await client.post("/v1/auth/login", json=LOGIN)).json()
    assert tokens["token_type"] == "Bearer"
    answer = await client.get(ME, headers=owner.bearing(tokens["access_token"]))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_a_bad_proof_at_login_is_told(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, owner: Holder
) -> None:
    await keyturn.register()
    form = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
    wrong = {"DPoP": owner.prove("POST", "/oauth/revoke")}
    answer = await client.post("/oauth/token", data=form, headers=wrong)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_a_nonce_is_asked_for_and_taken(connect: Callable[..., httpx.AsyncClient]) -> None:
    keyturn = taking_proofs(asks_for_nonce=True)
    client = connect(keyturn=keyturn, options=HttpOptions(issuer=ISSUER, dpop=True))
    owner = Holder(keyturn)
    await keyturn.register()
    form = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
    headers = {"DPoP": owner.prove("POST", "/oauth/token")}
    answer = await client.post("/oauth/token", data=form, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
    nonce = answer.headers["dpop-nonce"]
    headers = {"DPoP": owner.prove("POST", "/oauth/token", nonce=nonce)}
    answer = await client.post("/oauth/token", data=form, headers=headers)
    assert answer.status_code == 200
    answer = await client.get(ME, headers=owner.bearing(answer.json()["access_token"]))
    assert answer.status_code == 401
    assert 'DPoP realm="keyturn", error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    assert answer.headers["dpop-nonce"]


async def test_metadata_and_challenges_say_that_proofs_are_taken(
    client: httpx.AsyncClient, connect: Callable[..., httpx.AsyncClient]
) -> None:
    metadata = "/.well-known/oauth-authorization-server"
    assert "ES256" in (await client.get(metadata)).json()["dpop_signing_alg_values_supported"]
    assert "DPoP" in (await client.get(ME)).headers["www-authenticate"]
    assert "dpop_signing_alg_values_supported" not in (await connect().get(metadata)).json()


async def test_introspection_names_the_key_of_a_bound_token(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    secret = "s" * 43
    asking = Client("notes", secret_digest(Secret(secret)), introspects=True)
    keyturn = InMemoryKeyturn(
        proofs=PyJwtProofChecker(KeyRing([SERVER], SERVER.kid)), clients=MemoryClients(asking)
    )
    client = connect(keyturn=keyturn, options=HttpOptions(issuer=ISSUER, dpop=True))
    owner = Holder(keyturn)
    await keyturn.register()
    headers = {"DPoP": owner.prove("POST", "/v1/auth/login")}
    tokens = (await client.post("/v1/auth/login", json=LOGIN, headers=headers)).json()
    told = await client.post(
        "/oauth/introspect", data={"token": tokens["access_token"]}, auth=("notes", secret)
    )
    assert told.json()["token_type"] == "DPoP"
    assert told.json()["cnf"] == {"jkt": owner.thumbprint}


async def test_while_it_is_off_proofs_are_ignored_and_bound_tokens_refused(
    connect: Callable[..., httpx.AsyncClient], bound: Json, owner: Holder
) -> None:
    off = InMemoryKeyturn()
    client = connect(keyturn=off)
    await off.register()
    headers = {"DPoP": owner.prove("POST", "/v1/auth/login")}
    answer = await client.post("/v1/auth/login", json=LOGIN, headers=headers)
    assert answer.json()["token_type"] == "Bearer"
    answer = await client.get(ME, headers=owner.bearing(bound["access_token"]))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert answer.headers["www-authenticate"].startswith("Bearer")
