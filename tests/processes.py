"""Processes under test: wait for them on a loaded machine, and end them in every case."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 600.0
"""Seconds after which a test that waits for something fails.

This only ends a test that would otherwise hang. A second of work on an idle machine can take
minutes on one whose processors, memory and disk are busy.
"""


@contextmanager
def running(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command during a test; when the block ends, kill the process and wait for its end.

    This also closes its pipes: Python reports an open pipe later, in an unrelated test.
    """
    with subprocess.Popen([*map(str, command)], text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Wait until a condition holds; fail if one of these processes ends before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert process.poll() is None, f"ended with code {process.returncode}"
        if time.monotonic() > end:
            raise AssertionError(f"the condition did not hold within {PATIENCE:g} s")
        time.sleep(0.005)


def is_alive(pid: int | str) -> bool:
    """Return whether a process runs, on Linux. A process that ended as a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
