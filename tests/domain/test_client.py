"""A client is who knows its secret."""

import pytest

from keyturn.domain.client import Client, secret_digest
from keyturn.domain.secret import Secret


def test_a_client_with_a_secret_is_proven_by_it_alone() -> None:
    client = Client("notes", secret_digest(Secret("right")))
    assert client.is_proven_by(Secret("right"))
    assert [client.is_proven_by(s) for s in (None, Secret(""), Secret("wrong"))] == [False] * 3
    assert not client.is_proven_by(Secret("\ud800"))


def test_a_public_client_has_nothing_to_prove() -> None:
    assert Client("mobile").is_proven_by(None)
    assert not Client("mobile").is_proven_by(Secret("right"))


def test_a_client_never_shows_its_digest() -> None:
    client = Client("notes", secret_digest(Secret("right")))
    assert repr(client) == "Client(id='notes', public=False)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Client("two words"),
        lambda: Client("notes", "right"),
        lambda: Client("notes", introspects=True),
        lambda: Client("notes", reads_revocations=True),
    ],
)
def test_what_makes_no_sense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError):
        make()
