"""Every line has one shape, whoever writes it, and quotes nothing."""

import json
import logging
import logging.config
from collections.abc import Iterator
from typing import Literal

import pytest

from keyturn.adapters.structlog.configuration import logging_configuration
from keyturn.domain.errors import StoreUnavailable

SECRET = "correct horse battery staple"


class Written:
    """What the process logs, by the configuration under test."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    @property
    def text(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text

    @property
    def line(self) -> dict[str, object]:
        [line] = self.text.splitlines()
        parsed: dict[str, object] = json.loads(line)
        return parsed


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Written(capsys)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("keyturn", "keyturn.risks", "uvicorn"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def configure(shape: Literal["json", "console"] | None = None, level: str = "info") -> None:
    logging.config.dictConfig(logging_configuration(shape, level))


def test_a_line_is_one_json_object_with_time_level_and_logger(written: Written) -> None:
    configure()
    logging.getLogger("keyturn.request").info("request", extra={"status": 200, "subject": None})
    line = written.line
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "keyturn.request",
        "status": 200,
        "subject": None,
    }


def test_a_line_break_in_a_value_breaks_no_line(written: Written) -> None:
    configure()
    logging.getLogger("keyturn").info("a\nb %s", "c\nd")
    assert written.line["event"] == "a\nb c\nd"


def test_the_server_writes_as_keyturn_does(written: Written) -> None:
    configure()
    coloured = {"color_message": "Started server process [\u001b[36m%d\u001b[0m]"}
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7, extra=coloured)
    line = written.line
    assert line["event"] == "Started server process [7]"
    assert "color_message" not in line


def test_a_person_gets_lines_to_read(written: Written) -> None:
    configure("console")
    logging.getLogger("keyturn.request").info("request", extra={"status": 200})
    assert "request" in written.text
    assert "status=200" in written.text


@pytest.mark.parametrize("shape", ["json", "console"])
def test_an_exception_is_told_by_kind_and_place_without_text_or_variables(
    shape: Literal["json", "console"], written: Written
) -> None:
    configure(shape)
    password = SECRET
    try:
        try:
            int(password)
        except ValueError as error:
            raise KeyError(f"for {password}") from error
    except KeyError:
        logging.getLogger("keyturn").exception("it failed")
    assert SECRET not in written.text
    for told in ("KeyError", "caused by", "test_configuration.py", "it failed"):
        assert told in written.text


def test_what_keyturn_says_itself_of_an_error_is_told(written: Written) -> None:
    configure()
    logging.getLogger("keyturn").warning("it failed", exc_info=StoreUnavailable())
    assert "can't reach its store" in written.text


def test_each_error_of_a_group_is_told(written: Written) -> None:
    configure()
    group = ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)])
    logging.getLogger("keyturn").error("it failed", exc_info=group)
    assert SECRET not in written.text
    assert "ValueError" in written.text
    assert "KeyError" in written.text


def test_a_low_level_lets_no_library_speak_of_what_it_handles(written: Written) -> None:
    configure(level="debug")
    logging.getLogger("sqlalchemy.engine").debug("executing %s", SECRET)
    logging.getLogger("asyncpg").info(SECRET)
    logging.getLogger("keyturn.http").debug("ours")
    assert written.line["event"] == "ours"


def test_no_level_hides_the_accepted_risks(written: Written) -> None:
    configure(level="error")
    logging.getLogger("keyturn.risks").warning("the risk console-mail is accepted")
    assert "console-mail" in written.text


def test_a_high_level_leaves_errors(written: Written) -> None:
    configure(level="error")
    logging.getLogger("keyturn").warning("left out")
    logging.getLogger("somebody").warning("left out")
    logging.getLogger("keyturn").error("told")
    assert written.line["event"] == "told"
