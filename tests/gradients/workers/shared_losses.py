"""Losses whose gradients workers compute.

Worker processes import this module. It does not import pytest or hypothesis, which would take as
long as importing gradlab.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
from processes import wait_until

RNG = np.random.default_rng(0)
PARAMS = {"w": RNG.normal(size=(4, 3)), "b": 0.3, "none": np.zeros((0, 2)), "i": np.array([2])}
X = RNG.normal(size=(20, 4))


def loss(params: Any, x: Any, *rest: Any) -> Any:
    """Compute a smooth loss with a different slope for each entry."""
    return (np.sin(x @ params["w"]) ** 2).mean() * (1 + params["i"][0]) + np.exp(params["b"])


def moved(params: Any, name: str, index: int) -> bool:
    """Return whether an entry is perturbed."""
    return bool(np.ravel(params[name])[index] != np.ravel(PARAMS[name])[index])


class Counted:
    """Data that record each process to which they are sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return arrive, (self.folder,)


def arrive(folder: Path) -> Counted:
    (folder / f"{os.getpid()} {time.monotonic_ns()}").touch()
    return Counted(folder)


def note_chunks(params: Any, x: Any, counted: Counted) -> Any:
    """Evaluate the loss, in a worker only when both have arrived."""
    if parent_process() is not None:
        wait_until(lambda: len(list(counted.folder.iterdir())) >= 2)
    return loss(params, x)


def write_into_data(params: Any, x: Any, seen: Path) -> Any:
    """Write into a large array."""
    value = loss(params, x[:20, :4])
    if moved(params, "w", 0):
        (seen / str(os.getpid())).touch()
        x[20:] = np.nan
    return value


def slow_but_well(p: Any) -> Any:
    """Compute a slow loss without errors."""
    time.sleep(0.1)
    return (p**2).sum()


def recovers(params: Any, x: Any, log: Path) -> Any:
    """Fail at the last entry, for two times at most."""
    if moved(params, "i", 0) and (not log.exists() or log.stat().st_size < 2):
        with log.open("a") as file:
            file.write("x")
        return float("nan")
    return loss(params, x)


def bad(params: Any, x: Any, how: str, log: Path) -> Any:
    """Fail if entry 7 of w is perturbed: always, or only the first time."""
    if moved(params, "w", 7):
        first = not log.exists()
        with log.open("a") as file:
            file.write("x")
        if first or not how.endswith("once"):
            match how.split()[0]:
                case "raises":
                    raise Unpicklable("the simulator stopped", 3)
                case "nan":
                    return float("nan")
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exits":
                    sys.exit(3)
                case "hangs":
                    time.sleep(600)
    return loss(params, x)


class Unpicklable(Exception):  # noqa: N818
    """An error made from two arguments, one of which its pickle lacks."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
