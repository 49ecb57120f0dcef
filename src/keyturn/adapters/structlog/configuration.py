"""How every line that the process logs is written: as JSON, or for a person at a terminal."""

import logging
import sys
from collections.abc import Iterable
from traceback import FrameSummary, StackSummary, walk_tb
from types import TracebackType
from typing import Literal

_OURS = "keyturn."


class FormatterWhenNeeded(logging.Formatter):
    """Loads structlog for the first line: a service that has nothing to tell does without."""

    def __init__(self, shape: Literal["json", "console"]) -> None:
        """Say how the lines will be shaped."""
        super().__init__()
        self._shape = shape
        self._shaping: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if self._shaping is None:
            from keyturn.adapters.structlog import lines  # noqa: PLC0415 - see above

            self._shaping = (
                lines.json_formatter() if self._shape == "json" else lines.console_formatter()
            )
        return self._shaping.format(record)


def logging_configuration(
    shape: Literal["json", "console"] | None, level: str
) -> dict[str, object]:
    """Return what `logging.config.dictConfig` is to be given, in each process that serves.

    The standard library's logging stays what everybody writes to; structlog shapes the lines.
    What libraries log is kept to warnings, however low the level: at a lower one, drivers quote
    the values of their statements.

    Args:
        shape: None for console on a terminal and JSON elsewhere.
        level: the lowest level of keyturn's own lines and of the server's: `debug`, `info`,
            `warning` or `error`.
    """
    shape = shape or ("console" if sys.stderr.isatty() else "json")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"default": {"()": FormatterWhenNeeded, "shape": shape}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "default",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": _at_least("warning", level), "handlers": ["stderr"]},
        "loggers": {
            "keyturn": {"level": level.upper()},
            # Every start must show which risks are accepted, whatever the level.
            "keyturn.risks": {"level": "WARNING"},
            "uvicorn": {"level": _at_least("info", level)},
        },
    }


def told_exception(error: BaseException) -> str:
    """Return where an exception and its causes came from, without what they quote.

    The text of an exception may hold what it was raised for, such as a password that could not be
    encoded; only those that keyturn writes itself are known to hold no secret. So the others are
    told by their kind and their place, and local variables not at all.
    """
    parts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        parts.append(_told_alone(current))
        if current.__cause__ is not None or current.__suppress_context__:
            current = current.__cause__
        else:
            current = current.__context__
    return "\ncaused by ".join(parts)


def _told_alone(error: BaseException) -> str:
    cls = type(error)
    kind = (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
    text = f": {error}" if cls.__module__.startswith(_OURS) else ""
    within = ""
    if isinstance(error, BaseExceptionGroup):
        within = "".join(f"\nwithin it {told_exception(each)}" for each in error.exceptions)
    return f"{kind}{text}\n{''.join(_frames(error.__traceback__))}".rstrip() + within


def _frames(traceback: TracebackType | None) -> Iterable[str]:
    frame: FrameSummary
    for frame in StackSummary.extract(walk_tb(traceback), lookup_lines=False):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}\n"


def _at_least(lowest: str, level: str) -> str:
    numbers = logging.getLevelNamesMapping()
    return max(lowest.upper(), level.upper(), key=lambda name: numbers[name])
