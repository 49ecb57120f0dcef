"""A secret that can't be printed by accident."""

import copy
import logging
import pickle
import traceback
from dataclasses import dataclass

import pytest

from keyturn.domain.secret import Secret

TEXT = "correct horse battery staple"


def test_a_secret_prints_nothing_of_its_text() -> None:
    secret = Secret(TEXT)

    @dataclass
    class Command:
        password: Secret

    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret} {secret!r}",
        repr(Command(secret)),
    ):
        assert TEXT not in shown


def test_a_secret_does_not_reach_a_log_or_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    try:
        int(Secret(TEXT))  # type: ignore[call-overload]  # the mistake that is tested
    except TypeError:
        logging.getLogger(__name__).exception("failed with %s", Secret(TEXT))
        assert TEXT not in traceback.format_exc()
    assert TEXT not in caplog.text


def test_a_secret_is_not_pickled_or_copied() -> None:
    for leave in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            leave(Secret(TEXT))


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret(TEXT + "!")
    assert Secret("\ud800") == Secret("\ud800")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT)}) == 1
    assert len(Secret(TEXT)) == len(TEXT)
