"""keyturn's command line with a profiler that SIGUSR1 starts and SIGUSR2 ends.

python -m benchmarks.profiled_server FILE serve --port 8000
"""

import cProfile
import signal
import sys

from keyturn.__main__ import run_command_line


def main() -> None:
    """Serve; the profile of the thread that the loop runs in goes to the file."""
    file = sys.argv.pop(1)
    profile = cProfile.Profile()

    def begin(*_: object) -> None:
        profile.enable()

    def end(*_: object) -> None:
        profile.disable()
        profile.dump_stats(file)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv[0] = "keyturn"
    run_command_line()


if __name__ == "__main__":
    main()
