"""The program that estimates, in a process of its own: `ZxcvbnEstimator` runs it.

It reads a line of JSON with `text` and `words`, and writes one with `score`, `warning` and
`suggestions`. It ends when its standard input does, and after `IDLE_SECONDS` without a request.
"""

import json
import os
import re
import signal
import sys
from contextlib import suppress
from typing import Any, Final

IDLE_SECONDS: Final = 60
"""How long it waits for a request. Its dictionaries take some 20 MB."""

ESTIMATE_SECONDS: Final = 10
"""How long one estimate may take; the service gives up earlier."""


def estimate(text: str, words: list[str]) -> dict[str, Any]:
    """Return what zxcvbn says of a text.

    Args:
        text: as many characters of a password as are to be looked at.
        words: what is easily guessed of this person.
    """
    from zxcvbn import zxcvbn  # noqa: PLC0415 - it builds its dictionaries

    # It fails on nothing at all, and on a line break between digits, which it takes for a date.
    text = re.sub(r"\s", " ", text)
    if not text:
        return {"score": 0, "warning": None, "suggestions": []}
    found = zxcvbn(text, user_inputs=words)
    feedback = found["feedback"]
    return {
        "score": found["score"],
        "warning": feedback["warning"] or None,
        "suggestions": list(feedback["suggestions"]),
    }


def main() -> None:
    """Answer requests, one at a time."""
    _let_others_go_first()
    # No password in a core dump, whatever kills the process.
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        _end_after(IDLE_SECONDS)
        line = sys.stdin.buffer.readline()
        if not line:
            return
        _end_after(ESTIMATE_SECONDS)
        request = json.loads(line)
        answer = json.dumps(estimate(request["text"], request["words"]))
        sys.stdout.buffer.write(answer.encode("ascii") + b"\n")
        sys.stdout.buffer.flush()


def _end_after(seconds: int) -> None:
    # Nobody handles the signal, so it ends the process. Windows has no such timer.
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _let_others_go_first() -> None:
    """Run only on a core that nothing else wants: a hint must not delay a request."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(19)


if __name__ == "__main__":
    main()
