"""Which layer a function belongs to, and the own time of the layers in a profile."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Function = tuple[str, int, str]
"""File, line and name, as `pstats` has them; built-in ones have the file `~`."""

SERVER = "uvicorn, uvloop, httptools, sockets"
ARGON2 = "Argon2"
_OTHER = "everything else"

# The first that the file or the name contains; what none of them names, the standard library
# among it, counts for the layer that has called it.
_LAYERS = (
    ("keyturn/adapters/argon2", ARGON2),
    ("argon2", ARGON2),
    ("keyturn/adapters/prometheus", "logging and metrics"),
    ("keyturn/adapters/structlog", "logging and metrics"),
    ("keyturn/delivery/http/observation", "logging and metrics"),
    ("prometheus_client", "logging and metrics"),
    ("structlog", "logging and metrics"),
    ("/logging/", "logging and metrics"),
    ("keyturn/adapters/pyjwt", "codec, cryptography"),
    ("/jwt/", "codec, cryptography"),
    ("cryptography", "codec, cryptography"),
    ("_hashlib", "codec, cryptography"),
    ("keyturn/adapters/sqlalchemy", "SQL adapter, SQLAlchemy"),
    ("sqlalchemy", "SQL adapter, SQLAlchemy"),
    ("greenlet", "SQL adapter, SQLAlchemy"),
    ("asyncpg", "driver"),
    ("sqlite3", "driver"),
    ("keyturn/delivery", "delivery"),
    ("keyturn/main", "delivery"),
    ("keyturn/adapters", "use-cases, domain, small adapters"),
    ("keyturn/", "use-cases, domain, small adapters"),
    ("dependency_injector", "use-cases, domain, small adapters"),
    ("starlette", "Starlette, FastAPI, pydantic"),
    ("fastapi", "Starlette, FastAPI, pydantic"),
    ("pydantic", "Starlette, FastAPI, pydantic"),
    ("anyio", "Starlette, FastAPI, pydantic"),
    ("uvicorn", SERVER),
    ("uvloop", SERVER),
    ("httptools", SERVER),
    ("/asyncio/", SERVER),
)

LAYERS = (
    SERVER,
    "Starlette, FastAPI, pydantic",
    "delivery",
    "use-cases, domain, small adapters",
    "codec, cryptography",
    "SQL adapter, SQLAlchemy",
    "driver",
    ARGON2,
    "logging and metrics",
    _OTHER,
)
"""From the socket inwards."""

PATHS = ("verify", "rotate", "login")
"""What is profiled."""


def own_times(stats: Mapping[Function, Any]) -> dict[str, float]:
    """Return the own seconds of each layer in what `pstats.Stats.stats` holds."""
    seconds = dict.fromkeys(LAYERS, 0.0)
    shares: dict[Function, dict[str, float]] = {}
    for function, (_, _, own, _, _) in stats.items():
        for layer, share in _shares(function, stats, shares, frozenset()).items():
            seconds[layer] += own * share
    return seconds


def _shares(
    function: Function,
    stats: Mapping[Function, Any],
    known: dict[Function, dict[str, float]],
    below: frozenset[Function],
) -> dict[str, float]:
    """Return what part of a function's own time counts for which layer."""
    layer = layer_of(function)
    if layer is not None:
        return {layer: 1.0}
    if function in known:
        return known[function]
    callers = {
        caller: own
        for caller, (_, _, own, _) in stats[function][4].items()
        if caller in stats and caller not in below and caller != function
    }
    whole = sum(callers.values())
    if not callers or not whole:
        # Called by the loop itself, which is no function of Python's.
        return {_OTHER: 1.0}
    shares: dict[str, float] = {}
    for caller, own in callers.items():
        for name, share in _shares(caller, stats, known, below | {function}).items():
            shares[name] = shares.get(name, 0.0) + share * own / whole
    known[function] = shares
    return shares


def layer_of(function: Function) -> str | None:
    """Return the layer of a function, None if it works for whoever calls it."""
    file, _, name = function
    text = name if file == "~" else file
    return next((layer for part, layer in _LAYERS if part in text), None)


def load_profiles(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the profiles that are in a folder, by what was profiled."""
    files = {path: folder / f"profile-{path}.json" for path in PATHS}
    return {path: json.loads(file.read_text()) for path, file in files.items() if file.exists()}
