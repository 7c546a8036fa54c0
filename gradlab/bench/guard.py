"""A process between `gradlab bench` and a benchmark that cleans up however the run ends.

Usage: guard.py SCRATCH LOG COMMAND...

It runs the command in its own process group, with SCRATCH as the folder for temporary files. The
caller holds its standard input open; an ``i`` on it interrupts the benchmark. At the end of the
input, which also comes when the caller is killed, it kills the remaining process group, removes
SCRATCH and ends. The benchmark prints to LOG; its exit code is a line on standard output.

It is run by path and imports nothing from gradlab, so that it starts quickly.
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

MAX_REMOVAL_ATTEMPTS = 500
"""Attempts to remove the folder, 10 ms apart: a dying process may still write to it."""


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
        # The caller reads standard error until every other process that has it open is gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        threading.Thread(target=_tell, args=(process,), daemon=True).start()
        while order := os.read(0, 1):
            if order == b"i":
                _signal(process, signal.SIGINT)
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
    finally:
        for _ in range(MAX_REMOVAL_ATTEMPTS):
            shutil.rmtree(scratch, ignore_errors=True)
            if not os.path.exists(scratch):
                break
            time.sleep(0.01)


def _tell(process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    with suppress(OSError):
        os.write(1, b"%d\n" % code)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a benchmark and its children, if they still run."""
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
