"""Clients that nobody here wrote, against the service as it is run."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import jwt
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import get_well_known_url
from oauthlib.oauth2 import (
    InvalidGrantError,
    LegacyApplicationClient,
)
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session as OAuthlibSession

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interop")


@pytest.fixture(scope="module")
def secret(folder: Path) -> str:
    """The secret of the client `notes`, which may introspect."""
    added = subprocess.run(
        [sys.executable, "-m", "keyturn", "clients", "add", "notes", "--introspect"],
        cwd=folder,
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return added.stdout.strip()


@pytest.fixture(scope="module")
def issuer(
    folder: Path,
    secret: str,  # what the service is to find must be there before
    serve_in: Callable[..., AbstractContextManager[str]],
    unset_all: Callable[[pytest.MonkeyPatch], None],
) -> Iterator[str]:
    """The URL of a running service where Ada is registered."""
    with pytest.MonkeyPatch.context() as patch:
        unset_all(patch)
        patch.setenv("KEYTURN_ALGORITHM", "RS256")
        # Both libraries refuse plain HTTP, as they should.
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
        patch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
        patch.setenv("NO_PROXY", "*")
        with serve_in(folder) as banner:
            url = banner.partition("keyturn is at ")[2].partition("\n")[0]
            assert httpx.post(f"{url}/v1/auth/register", json=PERSON).status_code == 201
            yield url


@pytest.fixture
def metadata(issuer: str) -> dict[str, str]:
    """What a client discovers."""
    found = httpx.get(get_well_known_url(issuer, external=True))
    told: dict[str, str] = found.json()
    assert told["issuer"] == issuer
    return told


def test_authlib_logs_in_refreshes_introspects_and_revokes(
    metadata: dict[str, str], secret: str
) -> None:
    with OAuth2Session(
        "notes", secret, scope="profile:read", token_endpoint=metadata["token_endpoint"]
    ) as session:
        first = session.fetch_token(username=PERSON["email"], password=PERSON["password"])
        assert first["scope"] == "profile:read"
        me = session.get(f"{metadata['issuer']}/v1/users/me")
        assert me.json()["email"] == PERSON["email"]

        second = session.refresh_token(metadata["token_endpoint"])
        assert second["refresh_token"] != first["refresh_token"]

        def introspected(token: str) -> dict[str, object]:
            answer = session.introspect_token(
                metadata["introspection_endpoint"], token=token, token_type_hint="access_token"
            )
            told: dict[str, object] = answer.json()
            return told

        told = introspected(second["access_token"])
        assert (told["active"], told["client_id"], told["scope"]) == (True, "notes", "profile:read")
        revoked = session.revoke_token(
            metadata["revocation_endpoint"],
            token=second["refresh_token"],
            token_type_hint="refresh_token",
        )
        assert revoked.status_code == 200
        assert introspected(second["access_token"]) == {"active": False}
        assert introspected(second["refresh_token"]) == {"active": False}


def test_authlib_asks_for_a_resource_at_login_and_refresh(metadata: dict[str, str]) -> None:
    def audience(token: dict[str, str]) -> object:
        claims = jwt.decode(token["access_token"], options={"verify_signature": False})
        return claims["aud"]

    issuer = metadata["issuer"]
    with OAuth2Session("keyturn", token_endpoint=metadata["token_endpoint"]) as session:
        first = session.fetch_token(
            username=PERSON["email"], password=PERSON["password"], resource=issuer
        )
        assert audience(first) == issuer
        second = session.refresh_token(metadata["token_endpoint"])
        assert audience(second) == "keyturn"
        third = session.refresh_token(metadata["token_endpoint"], resource=issuer)
        assert audience(third) == issuer
        with pytest.raises(OAuthError, match="invalid_target"):
            session.refresh_token(metadata["token_endpoint"], resource="https://evil.example")


def test_oauthlib_logs_in_as_a_public_client_and_refreshes(metadata: dict[str, str]) -> None:
    client = LegacyApplicationClient("keyturn")
    with OAuthlibSession(client=client) as session:
        token = session.fetch_token(
            metadata["token_endpoint"],
            username=PERSON["email"],
            password=PERSON["password"],
            include_client_id=True,
        )
        assert session.get(f"{metadata['issuer']}/v1/users/me").status_code == 200
        new = session.refresh_token(metadata["token_endpoint"], client_id="keyturn")
        assert new["refresh_token"] != token["refresh_token"]
        url, headers, body = client.prepare_token_revocation_request(
            # It wants https here, whatever it is told.
            metadata["revocation_endpoint"].replace("http://", "https://"),
            new["refresh_token"],
            token_type_hint="refresh_token",
        )
        there = url.replace("https://", "http://")
        assert httpx.post(there, headers=headers, content=body).status_code == 200
        with pytest.raises(InvalidGrantError):
            session.refresh_token(metadata["token_endpoint"], client_id="keyturn")


def test_oauthlib_authenticates_with_a_secret(metadata: dict[str, str], secret: str) -> None:
    with OAuthlibSession(client=LegacyApplicationClient("notes")) as session:
        token = session.fetch_token(
            metadata["token_endpoint"],
            username=PERSON["email"],
            password=PERSON["password"],
            auth=HTTPBasicAuth("notes", secret),
        )
    assert token["token_type"] == "Bearer"


def test_pyjwt_verifies_by_the_published_keys(metadata: dict[str, str]) -> None:
    form = {
        "grant_type": "password",
        "username": PERSON["email"],
        "password": PERSON["password"],
    }
    token = httpx.post(metadata["token_endpoint"], data=form).json()["access_token"]
    keys = jwt.PyJWKClient(metadata["jwks_uri"])
    key = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        issuer=metadata["issuer"],
        audience="keyturn",
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti", "client_id"]},
    )
    assert claims["client_id"] == "keyturn"
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
