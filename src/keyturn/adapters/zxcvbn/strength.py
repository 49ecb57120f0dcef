"""How hard a password is to guess, as zxcvbn estimates it."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.domain.strength import Strength
from keyturn.ports.passwords import StrengthEstimator

CHARACTERS_LOOKED_AT: Final = 20
"""What follows can make a password only harder to guess, and estimating it costs a great deal.

The worst texts that were found take half a second at 20 characters, and many at 72.
"""

MOST_WAITING: Final = 8
"""Estimates beyond the one that is under way."""

ANSWER_SECONDS: Final = 5.0
"""How long the process may take for one estimate, its start included."""

PROGRAM: Final = (sys.executable, "-P", "-m", "keyturn.adapters.zxcvbn.process")
"""The process that estimates. `-P` keeps modules of the working directory out of it."""


class ZxcvbnEstimator(StrengthEstimator):
    """Estimates one password at a time, in a process of its own.

    In a thread, zxcvbn would hold the interpreter's lock and so delay every other request. The
    process is started by the first estimate, has the lowest priority, and ends when it is idle or
    when this process does. An estimate that takes too long is killed with it; the next estimate
    starts another process.
    """

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        """Start nothing yet.

        Args:
            program: what estimates; see `process`.
        """
        self._program = program
        # Waits for the process; that takes no lock from anybody.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")
        self._taken = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._closed = False

    async def estimate(self, password: Secret, words: tuple[str, ...]) -> Strength:
        if self._taken > MOST_WAITING:
            raise HashingBusy
        self._taken += 1
        try:
            work = self._thread.submit(self._estimate, password, words)
        except RuntimeError:
            # Closed, or the machine has no thread to give.
            self._taken -= 1
            raise HashingBusy from None
        try:
            return await asyncio.wrap_future(work)
        finally:
            self._taken -= 1

    def close(self) -> None:
        """Refuse new work, drop what waits, and end the process."""
        with self._starting:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._end_process()

    def _estimate(self, password: Secret, words: tuple[str, ...]) -> Strength:
        text = password.reveal()[:CHARACTERS_LOOKED_AT]
        request = json.dumps({"text": text, "words": words}).encode("ascii") + b"\n"
        was_running = self._process is not None
        answer = self._ask(request)
        if not answer and was_running:
            # The process has probably ended because it was idle.
            answer = self._ask(request)
        if not answer:
            raise HashingBusy
        found = json.loads(answer)
        return Strength(found["score"], found["warning"], tuple(found["suggestions"]))

    def _ask(self, request: bytes) -> bytes:
        """Return the answer of the process; nothing if it has ended.

        Raises:
            HashingBusy: it took too long and was killed.
        """
        try:
            with self._starting:
                if self._closed:
                    return b""
                process = self._process = self._process or self._start()
        except OSError:
            return b""
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        took_too_long = threading.Event()

        def end() -> None:
            took_too_long.set()
            process.kill()

        ending = threading.Timer(ANSWER_SECONDS, end)
        ending.daemon = True
        ending.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            ending.cancel()
        if not answer.endswith(b"\n"):
            self._end_process()
            if took_too_long.is_set():
                raise HashingBusy
            return b""
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        # It needs none of the settings, some of which are secret.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        return subprocess.Popen(  # noqa: S603 - nothing of a request is an argument
            self._program,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # An exception of zxcvbn may quote the password.
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the service, which ends the process by itself.
            start_new_session=True,
        )

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()
