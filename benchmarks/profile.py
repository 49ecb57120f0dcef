"""Where the microseconds of a hot path go, by layer.

    python -m benchmarks.profile [verify] [rotate] [login] [--output FOLDER]

The real server is driven by the load generator, first without a profiler, which gives the processor
time of a request, and then with cProfile, which gives the part of each layer. What the loop spends
outside of Python (sockets, uvloop, httptools) is what is left of the time of its thread. The
profiler makes calls dearer: layers of many small functions look larger than they are.
"""

import argparse
import functools
import json
import os
import pstats
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import (
    ROOT,
    Stage,
    cpu_seconds,
    pin,
    run_load,
    thread_cpu_seconds,
    wait_for,
)
from benchmarks.profiling import ARGON2, LAYERS, PATHS, SERVER, own_times
from benchmarks.subjects import KEYTURN_API, Running, Subject, keyturn
from benchmarks.works import Cores, Job

CONNECTIONS = {"verify": 16, "rotate": 16, "login": 8}
SECONDS = {"verify": 4.0, "rotate": 4.0, "login": 8.0}


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile what the arguments name, and write and draw what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("paths", nargs="*", choices=[*PATHS, []], metavar="|".join(PATHS))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    given = parser.parse_args(arguments)
    # Not `exit`: the stage ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given.output.mkdir(parents=True, exist_ok=True)
    with Stage() as stage:
        dump = stage.folder / "profile"
        start = keyturn(module=("benchmarks.profiled_server", str(dump)))
        running = start(stage, Subject("profiled", "keyturn", KEYTURN_API, start))
        for path in given.paths or PATHS:
            print(f"Profiling {path}", flush=True)
            told = profile(path, running, stage, dump)
            file = given.output / f"profile-{path}.json"
            file.write_text(json.dumps(told, indent=1) + "\n")
            for layer in LAYERS:
                print(f"  {told['layers'][layer]:10.1f} µs  {layer}")
    _draw(given.output)


def profile(path: str, running: Running, stage: Stage, dump: Path) -> dict[str, Any]:
    """Return the microseconds of a request by layer."""
    server = running.server
    assert server is not None
    postmaster = stage.postmaster
    cores = Cores.shared() if path == "login" else Cores.apart()
    pin(server.pids(), cores.server)
    if postmaster is not None:
        pin([postmaster], cores.database)
    plain = _drive(path, running, cores)
    os.kill(server.pid, signal.SIGUSR1)
    profiled = _drive(path, running, cores)
    dump.unlink(missing_ok=True)
    os.kill(server.pid, signal.SIGUSR2)
    stats = _stats(dump, running)
    python = own_times(stats)
    outside = max(0.0, profiled["loop_us"] * profiled["requests"] / 1e6 - sum(python.values()))
    python[SERVER] += outside
    whole = sum(python.values())
    layers = {layer: plain["loop_us"] * seconds / whole for layer, seconds in python.items()}
    if path == "login":
        layers[ARGON2] += plain["beside_us"]
    return {
        "path": path,
        "requests": plain["requests"],
        "loop_us": round(plain["loop_us"], 1),
        "beside_us": round(plain["beside_us"], 1),
        "layers": {layer: round(layers[layer], 1) for layer in LAYERS},
    }


def _drive(path: str, running: Running, cores: Cores) -> dict[str, float]:
    """Return the processor time of a request: of the loop's thread, and of the others."""
    assert running.server is not None
    connections = CONNECTIONS[path]
    kind: dict[str, Any] = {
        "verify": lambda: {"requests": running.warm_requests(connections)},
        "rotate": lambda: {"chain": running.chain(connections)},
        "login": lambda: {"requests": running.login_requests()},
    }[path]()
    pid = running.server.pid
    job = Job(
        "127.0.0.1",
        running.port,
        connections,
        seconds=SECONDS[path],
        warm_up=0,
        cores=cores.load,
        **kind,
    )
    before = thread_cpu_seconds(pid), cpu_seconds([pid])
    outcome = run_load(job)
    after = thread_cpu_seconds(pid), cpu_seconds([pid])
    if outcome["tokens"] is not None:
        running.follow(outcome["tokens"])
    count = outcome["count"]
    loop, whole = (1e6 * (late - early) / count for early, late in zip(before, after, strict=True))
    return {"requests": count, "loop_us": loop, "beside_us": max(0.0, whole - loop)}


def _stats(dump: Path, running: Running) -> dict[Any, Any]:
    assert running.server is not None
    wait_for(functools.partial(_is_whole, dump), running.server)
    stats: dict[Any, Any] = vars(pstats.Stats(str(dump)))["stats"]
    return stats


def _is_whole(dump: Path) -> bool:
    if not dump.exists():
        return False
    try:
        pstats.Stats(str(dump))
    except (EOFError, ValueError, TypeError):
        time.sleep(0.1)
        return False
    return True


def _draw(folder: Path) -> None:
    try:
        from benchmarks.plots import draw_profiles  # noqa: PLC0415 - profiles without plots are fine
    except ImportError as error:
        print(f"Without plots: {error}")
    else:
        draw_profiles(folder)
    from benchmarks.report import write_report  # noqa: PLC0415
    from benchmarks.results import Results  # noqa: PLC0415

    if (folder / "results.json").exists():
        write_report(Results.load(folder / "results.json"), folder / "README.md")
    print(f"Written to {folder}")


if __name__ == "__main__":
    main()
