"""What a device is called whose user did not say: "Firefox on Windows"."""

import asyncio
import logging
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ua_parser import Parser

_log = logging.getLogger("keyturn.http")

_MAX_PARSED = 256
"""Characters of a user agent that are looked at: what a hostile one costs grows faster than it."""

_MAX_NAME = 100


async def device_name(user_agent: str | None) -> str | None:
    """Return a name that people recognise, None if the user agent gives none away.

    Whatever is in it, a login never fails for it. Runs in a thread: the library takes a tenth of
    a second to load when it is first needed, and a few milliseconds for a hostile user agent.
    """
    return None if user_agent is None else await asyncio.to_thread(_name, user_agent[:_MAX_PARSED])


@lru_cache(maxsize=256)
def _name(user_agent: str) -> str | None:
    try:
        browser = _parser().parse_user_agent(user_agent)
        system = _parser().parse_os(user_agent)
    except Exception:  # noqa: BLE001 - a library's bug is no reason to keep somebody out
        # The user agent itself stays out of it: the traceback says where, the session what.
        _log.exception("a user agent could not be read")
        return None
    families = [found.family for found in (browser, system) if found is not None]
    return " on ".join(dict.fromkeys(families))[:_MAX_NAME].strip() or None


@cache
def _parser() -> "Parser":
    # Loaded at the first login: a worker that only verifies tokens does without. The resolver in
    # pure Python is fast enough once in a login, and the fast ones take tens of megabytes.
    from ua_parser import BasicResolver, Parser, load_lazy_builtins  # noqa: PLC0415 - lazily

    return Parser(BasicResolver(load_lazy_builtins()))
