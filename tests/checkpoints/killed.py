"""Trainings that are killed repeatedly and continue to the end: a script for test_checkpoints.

``python killed.py each SEED FIRST LAST`` kills one training at each of these system calls of its
writes, in turn; ``python killed.py random SEED COUNT`` kills trainings of many kinds at COUNT
random moments. It imports gradlab once and forks, so that a training costs milliseconds.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from gradlab import fit, network

X = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.random.default_rng(1).integers(2, size=40)
SYSTEM_CALLS = ("open", "write", "fsync", "close", "replace", "unlink")
GENERATORS = (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)


def training(seed: int) -> dict:
    """Return the options of a training, which differ between seeds."""
    rng = np.random.default_rng(seed)
    length = [{"epochs": 4}, {"iterations": 17}][rng.integers(2)]
    kind = GENERATORS[rng.integers(4)]
    dtype = rng.choice([np.float32, np.float64])
    start = {name: leaf.astype(dtype) for name, leaf in network.init((3, 4, 2), seed).items()}
    return length | {
        "params": start,
        "backend": str(rng.choice(["autograd", "tape", "central"])),
        "momentum": float(rng.choice([0.0, 0.5, 0.9])),
        "batch_size": int(rng.integers(7, 14)),
        "seed": np.random.Generator(kind(seed)) if rng.integers(2) else seed,
        "validation": (X[:9], LABELS[:9]) if rng.integers(2) else None,
        "accuracy": network.accuracy,
        "callbacks": [lambda step: None] * int(rng.integers(2)),
        "checkpoint_every": [None, 1, 2, 3][rng.integers(4)],
    }


def train(seed: int, path: Path) -> tuple:
    """Train, or continue, and return everything that must be the same."""
    options = training(seed)
    params = options.pop("params")
    result = fit(network.loss, params, (X, LABELS), checkpoint=path, resume=True, **options)
    epochs = [(e.epoch, e.loss, e.validation_loss, e.accuracy) for e in result.history.epochs]
    drawn = options["seed"] if isinstance(options["seed"], int) else options["seed"].integers(2**60)
    bits = [(name, leaf.tobytes()) for name, leaf in result.params.items()]
    return bits, result.history.losses, epochs, drawn


def kill_at(count: int) -> None:
    """Kill this process at its n-th system call, in the middle of a write."""
    calls = 0

    def counted(name, call):
        def called(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == count:
                if name == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return called

    for name in SYSTEM_CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


def child(seed: int, folder: Path, at: int | None = None, after: float | None = None) -> bool:
    """Train in a child that is killed at a system call or after a time; return if it finished."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            warnings.simplefilter("error")
            if at:
                kill_at(at)
            outcome = train(seed, folder / "checkpoint")
            (folder / "outcome").write_bytes(pickle.dumps(outcome))
            code = 0
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"seed {seed}: status {status}"
    return status == 0


def finished(seed: int, folder: Path) -> tuple:
    """Continue without interruption; return the outcome, and require only two checkpoints."""
    assert child(seed, folder)
    outcome = pickle.loads((folder / "outcome").read_bytes())
    left = {path.name for path in folder.iterdir()} - {"outcome"}
    assert left == {"checkpoint", "checkpoint.previous"}, left
    return outcome


def each(seed: int, first: int, last: int) -> int:
    """Kill one training at each of some system calls, and continue it each time."""
    with tempfile.TemporaryDirectory() as name:
        undisturbed = finished(seed, Path(name))
    for at in range(first, last + 1):
        with tempfile.TemporaryDirectory() as name:
            if child(seed, Path(name), at=at):
                return at - first
            assert finished(seed, Path(name)) == undisturbed, (seed, at)
    return last + 1 - first


def random(seed: int, count: int) -> int:
    """Kill trainings at random moments, up to five times each."""
    rng = np.random.default_rng(seed)
    kills = 0
    while kills < count:
        seed += 1
        with tempfile.TemporaryDirectory() as name:
            started = time.perf_counter()
            undisturbed = finished(seed, Path(name))
            took = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as name:
            for _ in range(rng.integers(1, 6)):
                moment = (
                    {"at": int(rng.integers(1, 80))}
                    if rng.integers(2)
                    else {"after": took * rng.uniform(0, 1)}
                )
                if child(seed, Path(name), **moment):
                    break
                kills += 1
            assert finished(seed, Path(name)) == undisturbed, seed
    return kills


if __name__ == "__main__":
    how, *numbers = sys.argv[1:]
    print(json.dumps({"kills": {"each": each, "random": random}[how](*map(int, numbers))}))
