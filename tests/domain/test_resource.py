"""Which names resources can have, and which tokens the routes accept."""

from datetime import timedelta

import pytest

from keyturn.domain.errors import InvalidTarget
from keyturn.domain.resource import AccessRule, Resources, require_resource, same_resource

ISSUER, NOTES = "https://auth.example.com", "https://notes.example"


@pytest.mark.parametrize(
    "text",
    [
        NOTES,
        "https://notes.example/api/v1",
        "https://notes.example:8443/",
        "https://notes.example/?tenant=a%20b",
        "http://[::1]:8000",
        "urn:example:notes",
        "https://" + "n" * 247,
    ],
)
def test_an_absolute_uri_without_a_fragment_names_a_resource(text: str) -> None:
    require_resource(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "notes",
        "notes.example",
        "//notes.example",
        "/notes",
        "1http://notes.example",
        "https:",
        "https://",
        "https:///path",
        "https:notes",
        "https://notes.example#",
        "https://notes.example#top",
        "https://notes.example/%zz",
        "https://notes.example/ä",
        "https://notes.example ",
        "https://notes.example\n",
        'https://notes.example/"',
        "https://[::1",
        "https://" + "n" * 248,
    ],
)
def test_what_is_none_names_no_resource(text: str) -> None:
    with pytest.raises(ValueError, match="absolute URI"):
        require_resource(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ISSUER, ISSUER, True),
        (ISSUER, ISSUER + "/", True),
        (ISSUER, "HTTPS://AUTH.Example.COM", True),
        (ISSUER + "/auth", ISSUER + "/auth/", True),
        (ISSUER + "/auth", ISSUER + "/Auth", False),
        (ISSUER, "http://auth.example.com", False),
        (ISSUER, "https://auth.example.com:8443", False),
        (ISSUER, "https://auth.example.com.evil.example", False),
        ("keyturn", "keyturn", True),
        ("keyturn", "Keyturn", False),
    ],
)
def test_names_that_people_read_alike_are_the_same(one: str, other: str, same: bool) -> None:
    assert same_resource(one, other) is same
    assert same_resource(other, one) is same


def test_each_level_accepts_its_tokens_and_names_what_to_ask_for() -> None:
    resources = Resources(ISSUER, "keyturn", frozenset({NOTES}), timedelta(minutes=1))
    issuer = frozenset({ISSUER})
    assert resources.ordinary == AccessRule(frozenset({"keyturn", ISSUER}), "keyturn")
    assert resources.sensitive == AccessRule(issuer, ISSUER, timedelta(minutes=1))
    assert resources.administration == AccessRule(issuer, ISSUER)
    assert resources.proxied == AccessRule(frozenset({"keyturn"}), "keyturn")
    assert AccessRule.only(NOTES) == AccessRule(frozenset({NOTES}), NOTES)
    assert resources.audiences == {ISSUER, "keyturn", NOTES}


def test_a_resource_is_its_own_audience_and_none_is_the_default_one() -> None:
    resources = Resources(ISSUER, "keyturn", frozenset({NOTES}))
    assert resources.audience_of(None) == "keyturn"
    for resource in ("keyturn", ISSUER, NOTES):
        assert resources.audience_of(resource) == resource
    for resource in ("", "Keyturn", ISSUER + "/", NOTES + "/", "https://other.example"):
        with pytest.raises(InvalidTarget):
            resources.audience_of(resource)


@pytest.mark.parametrize(("issuer", "audience"), [("", "keyturn"), (ISSUER, "")])
def test_neither_name_is_empty(issuer: str, audience: str) -> None:
    with pytest.raises(ValueError, match="need an issuer and a default audience"):
        Resources(issuer, audience)
