"""Lines as JSON or for a person at a terminal, through structlog; loaded by who writes them."""

import logging
import sys


def _load_without_rich() -> None:
    """Load structlog alone.

    It would take rich along where that is installed, four megabytes for tracebacks that are told
    otherwise here.
    """
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # how an import is made to fail
    try:
        import structlog  # noqa: F401, PLC0415 - for its own sake
    finally:
        del sys.modules["rich"]


_load_without_rich()

import structlog  # noqa: E402 - see above
from structlog.typing import EventDict, ExcInfo, Processor  # noqa: E402

from keyturn.adapters.structlog.configuration import told_exception  # noqa: E402


def _without_colours(_logger: object, _method: str, event: EventDict) -> EventDict:
    # uvicorn adds its message once more, with escape codes for a terminal.
    event.pop("color_message", None)
    return event


_BEFORE_RENDERING: tuple[Processor, ...] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    _without_colours,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def json_formatter() -> logging.Formatter:
    """Return what makes one JSON object of each line."""
    return _formatter(structlog.processors.JSONRenderer())


def console_formatter() -> logging.Formatter:
    """Return what makes lines that a person reads."""
    return _formatter(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))


def _formatter(renderer: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_BEFORE_RENDERING,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _tell_exception,
            renderer,
        ],
    )


def _tell_exception(_logger: object, _method: str, event: EventDict) -> EventDict:
    found: ExcInfo | BaseException | bool | None = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()[1]
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event["exception"] = told_exception(found)
    return event
