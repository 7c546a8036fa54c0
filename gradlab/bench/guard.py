"""A process between `gradlab bench` and a benchmark, which sees to it that nothing is left behind.

Usage: guard.py SCRATCH LOG COMMAND...

It runs the command in a process group of its own, with SCRATCH as its folder for temporary files.
Whoever started it holds its standard input open. An ``i`` in there interrupts the benchmark. At the
end of the input, and that is also when the caller was killed, it kills what is left of the process
group, removes SCRATCH, and ends. The benchmark prints into LOG; its exit code is a line on the
standard output.

It is run by its path and imports nothing of gradlab, so that it starts in a moment.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ATTEMPTS = 500
"""Times to remove the folder, 10 ms apart: a process that is being killed may still write there."""


def main(scratch: str, log: str, *command: str) -> None:
    """Run a command, and clean up after it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # which a new program does not inherit
    Path(scratch).mkdir()
    try:
        with open(log, "wb") as printed:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                env={**os.environ, "TMPDIR": scratch},
                process_group=0 if os.name == "posix" else None,
            )
        # The caller reads the standard error until all who have it open, but for us, are gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        threading.Thread(target=_tell, args=(process,), daemon=True).start()
        while order := os.read(0, 1):
            if order == b"i":
                _signal(process, signal.SIGINT)
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
    finally:
        for _ in range(ATTEMPTS):
            shutil.rmtree(scratch, ignore_errors=True)
            if not os.path.exists(scratch):
                break
            time.sleep(0.01)


def _tell(process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    with suppress(OSError):
        os.write(1, b"%d\n" % code)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a benchmark and what it started, as far as they are still there."""
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
