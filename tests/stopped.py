"""Runs of gradlab that are stopped again and again, and go on: a script for test_stopping.

``python stopped.py KIND SEED COUNT`` stops runs of one kind (`RUNS`) COUNT times: at a random
moment, by SIGKILL, SIGTERM, SIGINT, or two SIGINT that are 1 to 50 ms apart, sent to the process
alone or to its whole group, as a terminal does. Each time, nothing hangs, no process outlives the
run, nothing stays in the folder for temporary files or in shared memory, and what was done is kept;
in the end there are the bits of the undisturbed run. It prints what it did, in JSON.

Processes are found by a variable of their environment, so that it takes Linux.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stored import arrays_in

PATIENCE = 600.0
"""Seconds without an end after which a run counts as hanging: see `processes.PATIENCE`."""

MARK = "GRADLAB_STOPPED"
WAYS = ("SIGKILL", "SIGTERM", "SIGINT", "pair")

TRAIN = ["-m", "gradlab", "train", "--epochs", "40", "--subset", "600", "--checkpoint", "state"]
TRAIN += ["--checkpoint-every", "3", "--resume", "--output", "results", "--json", "copy.json"]

COMPARE = ["-m", "gradlab", "compare", "--layers", "8", "--subset", "300", "--iterations", "30"]
COMPARE += ["--output", "results", "--json", "copy.json"]

GRADIENT = """
import sys, time
import numpy as np
import gradlab

def loss(x):
    time.sleep(0.002)
    return np.sum(np.sin(x)) * np.prod(1 + x / 100)

if __name__ == "__main__":
    start = time.monotonic()
    backend = gradlab.CentralDifference(workers=2, resume="part")
    found = gradlab.grad(loss, backend)(np.linspace(0, 1, 300))
    np.save("results.npy", found)
"""

BENCH = """
import sys
from pathlib import Path
import gradlab.bench
from gradlab.command.main import main

if __name__ == "__main__":
    made = [gradlab.bench.Script(name, Path(name + ".py"), "What?") for name in ("a", "b")]
    gradlab.bench.find = lambda names: made
    sys.argv = ["gradlab", "bench", "--output", "results", "--json", "copy.json"]
    main()
"""
A_BENCHMARK = """
import argparse, json, sys, time
import numpy as np
import gradlab

def loss(x):
    time.sleep(0.002)
    return np.sum(np.sin(x))

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("--json", "--plot"):
        parser.add_argument(option, action="append")
    given = parser.parse_args()
    print("at work", file=sys.stderr)
    gradlab.grad(loss, gradlab.CentralDifference(workers=2))(np.linspace(0, 1, 100))
    table = {"title": "", "columns": ["", "x"], "right": [False, True], "rows": [], "notes": ""}
    numbers = {"benchmark": "b", "environment": {}, "headline": "done", "table": table}
    numbers["results"] = [{"x": 1}]
    open(given.json[0], "w").write(json.dumps(numbers))
    for path in given.plot:
        open(path, "w").write("<svg/>")
"""


@dataclass(frozen=True)
class Run:
    """A kind of run: its command, and what has to hold of its folder after it was stopped."""

    command: list[str]
    files: dict[str, str]
    check: Callable[[Path, bool], Any]
    resumes: bool = True


class Stopped(Exception):  # noqa: N818
    """Something was lost, hung, or left behind."""


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise Stopped(what)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def check_train(folder: Path, whole: bool) -> Any:
    """Return the weights of a training that is over."""
    results = folder / "results"
    if not whole:
        if (results / "history.json").exists():
            json.loads((results / "history.json").read_text())
        return None
    written = {"history.json", "weights.npz", "curves.png", "norms.png"}
    expect(names(results) == written, f"{names(results)}")
    kept = {"state", "state.previous", "results", "copy.json"}
    expect(names(folder) == kept, f"{names(folder)}")
    losses = json.loads((results / "history.json").read_text())["losses"]
    expect(json.loads((folder / "copy.json").read_text())["losses"] == losses, "another copy")
    with np.load(results / "weights.npz") as file:
        return losses, {name: file[name].tobytes() for name in file.files}


def check_compare(folder: Path, whole: bool) -> Any:
    """Return the losses of a comparison, and see that what is written can be read."""
    summary = folder / "results" / "summary.json"
    if not whole:
        if summary.exists():
            json.loads(summary.read_text())
        return None
    return [run["losses"] for run in json.loads(summary.read_text())["runs"] if "losses" in run]


def check_gradient(folder: Path, whole: bool) -> Any:
    """Return the gradient; the file of what is done can be read until then."""
    if (part := folder / "part").exists():
        *_, missing = arrays_in(part)
        expect(missing.dtype == bool, "no file of slopes")
    if not whole:
        return None
    expect(names(folder) == {"script.py", "results.npy"}, f"{names(folder)}")
    return np.load(folder / "results.npy").tobytes()


def check_bench(folder: Path, whole: bool) -> Any:
    """See that the report has what is done, and that no scratch folder is left."""
    results = folder / "results"
    if not results.exists():
        return None
    left = [name for name in names(results) if name.startswith(".") and not name.endswith(".tmp")]
    expect(not left, f"scratch folders: {left}")
    done = [path.stem for path in (results / "raw").glob("*.json")] if whole else []
    if (summary := results / "summary.json").exists():
        told = json.loads(summary.read_text())["benchmarks"]
        done = sorted(each["name"] for each in told if each["state"] == "done")
        report = (results / "report.html").read_text()
        expect("</html>" in report, "half a report")
    return done if whole else None


RUNS = {
    "train": Run(TRAIN, {}, check_train),
    "compare": Run(COMPARE, {}, check_compare, resumes=False),
    "gradient": Run(["script.py"], {"script.py": GRADIENT}, check_gradient),
    "bench": Run(
        ["script.py"],
        {"script.py": BENCH, **{f"{name}.py": A_BENCHMARK for name in "ab"}},
        check_bench,
        resumes=False,
    ),
}


class Place:
    """A folder of a run, with a folder for its temporary files beside."""

    def __init__(self, root: Path, run: Run) -> None:
        self.run = run
        self.folder, self.temporary = root / "run", root / "temporary"
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.temporary.mkdir(parents=True)
        self.folder.mkdir()
        for name, text in run.files.items():
            (self.folder / name).write_text(textwrap.dedent(text))

    def start(self, errors: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, MARK: self.mark, "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, *self.run.command],
            cwd=self.folder,
            env=environment | {"MPLBACKEND": "Agg"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            # Whoever runs the suite in the background may have had Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def processes(self) -> dict[int, str]:
        """Return what runs of this place, by its command."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}\0".encode() in (path / "environ").read_bytes():
                    state = (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
                    if state != "Z":
                        command = (path / "cmdline").read_text().replace("\0", " ")
                        found[int(path.name)] = command[-300:]
        return found

    def require_tidy(self) -> None:
        """See that nothing of the run is left: processes may take a moment to end."""
        end = time.monotonic() + PATIENCE
        while left := self.processes():
            if time.monotonic() > end:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise Stopped(f"orphans: {left}")
            time.sleep(0.02)
        # What Matplotlib, where it has no folder for its settings, or Python itself leaves there.
        left_behind = {name for name in names(self.temporary) if not name.startswith("matplotlib-")}
        expect(not left_behind, f"in the temporary folder: {left_behind}")


def send(process: subprocess.Popen[bytes], number: int, to_group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if to_group else os.kill)(process.pid, number)


def stop(place: Place, after: float, way: str, rng: np.random.Generator) -> bool:
    """Run until it is stopped, or over; tell whether it was over, and fine."""
    with (place.folder.parent / "errors").open("w+b") as errors:
        process = place.start(errors)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            stopped = process.poll() is None
            to_group = bool(rng.integers(2))
            if stopped:
                number = signal.SIGINT if way == "pair" else getattr(signal, way)
                send(process, number, to_group)
                if way == "pair":
                    time.sleep(rng.uniform(0.001, 0.05))
                    send(process, signal.SIGINT, to_group)
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise Stopped(f"hangs, after {way}: {place.processes()}") from None
        finally:
            process.kill()
            process.wait()
        place.require_tidy()
        errors.seek(0)
        told = errors.read().decode(errors="replace")
    expect(stopped or code == 0, f"code {code}: {told}")
    place.run.check(place.folder, False)
    return code == 0


def shared_memory() -> set[str]:
    """Return what lies in shared memory by Python's names and is in no process's memory.

    Other programs of this machine have theirs there, too, while they run.
    """
    there = {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "sem."))}
    for process in Path("/proc").glob("[0-9]*") if there else ():
        with suppress(OSError):
            maps = (process / "maps").read_text()
            there = {name for name in there if f"/dev/shm/{name}" not in maps}
    return {name for name in there if Path("/dev/shm", name).exists()}


def sweep(kind: str, seed: int, count: int) -> Iterator[str]:
    """Stop runs of a kind so many times; yield how each was stopped."""
    rng = np.random.default_rng(seed)
    run = RUNS[kind]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        undisturbed = Place(root / "undisturbed", run)
        started = time.perf_counter()
        expect(stop(undisturbed, PATIENCE, "SIGKILL", rng), "the undisturbed run failed")
        took = time.perf_counter() - started
        wanted = run.check(undisturbed.folder, True)
        done = 0
        while done < count:
            place = Place(root / f"stopped {done}", run)
            attempts = int(rng.integers(2, 7)) if run.resumes else 1
            over = False
            for _ in range(min(attempts, count - done)):
                way = WAYS[done % len(WAYS)]
                over = stop(place, took * rng.uniform(0.05, 1.0), way, rng)
                done += 1
                yield way
                if over:
                    break
            if run.resumes:
                expect(over or stop(place, PATIENCE, "SIGKILL", rng), "it did not go on")
            if run.resumes or over:
                expect(run.check(place.folder, True) == wanted, "other bits")
            shutil.rmtree(place.folder.parent)


def main(kind: str, seed: str, count: str) -> None:
    before = shared_memory()
    started = time.perf_counter()
    ways = Counter(sweep(kind, int(seed), int(count)))
    end = time.monotonic() + PATIENCE
    while left := shared_memory() - before:
        expect(time.monotonic() < end, f"in shared memory: {left}")
        time.sleep(0.1)
    seconds = round(time.perf_counter() - started)
    print(json.dumps({"kind": kind, "ways": ways, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
