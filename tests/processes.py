"""Processes under test: waiting for them on a loaded machine, and ending them in any case."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 600.0
"""Seconds without what has to come, after which a test fails.

It only ends a test that would hang for ever. What takes a second on an idle machine takes minutes
where others keep its processors, memory and disk busy.
"""


@contextmanager
def running(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test; when the test is over, or fails, it is killed and waited for.

    Its pipes are closed, too: what one test leaves open is reported in whichever runs later.
    """
    with subprocess.Popen([*map(str, command)], text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Wait for a condition, which these processes are to bring about: none of them may end."""
    end = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert process.poll() is None, f"ended with code {process.returncode}"
        if time.monotonic() > end:
            raise AssertionError(f"nothing came of it in {PATIENCE:g} s")
        time.sleep(0.005)


def is_alive(pid: int | str) -> bool:
    """Tell, on Linux, whether a process runs: not one that has ended and was not yet waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
