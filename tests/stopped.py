"""Stop runs of gradlab at random moments, and resume them: a script for test_stopping.

``python stopped.py KIND SEED COUNT`` stops runs of one kind (`RUNS`) COUNT times: at a random
moment, by SIGKILL, SIGTERM, SIGINT, or two SIGINT that are 1 to 50 ms apart. The signal goes to the
process alone or to its whole group, as a terminal sends it. Each time, the script requires that
nothing hangs, that no process outlives the run, and that no temporary files and no shared memory
are left. Finished work must be kept, and a run that is resumed to its end must have the bits of the
undisturbed run. The counts are printed in JSON.

The script finds the processes of a run by a variable in their environment, which needs Linux.
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
    """A kind of run: its command, and the check of its folder after it was stopped."""

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
    """Return the weights of a finished training."""
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
    """Return the losses of a comparison; require that the written files can be read."""
    summary = folder / "results" / "summary.json"
    if not whole:
        if summary.exists():
            json.loads(summary.read_text())
        return None
    return [run["losses"] for run in json.loads(summary.read_text())["runs"] if "losses" in run]


def check_gradient(folder: Path, whole: bool) -> Any:
    """Return the gradient; before it exists, the file of finished slopes must be readable."""
    if (part := folder / "part").exists():
        *_, missing = arrays_in(part)
        expect(missing.dtype == bool, "no file of slopes")
    if not whole:
        return None
    expect(names(folder) == {"script.py", "results.npy"}, f"{names(folder)}")
    return np.load(folder / "results.npy").tobytes()


def check_bench(folder: Path, whole: bool) -> Any:
    """Require a whole report and no scratch folder; return the finished benchmarks."""
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
    """The folder of a run, and a folder for its temporary files."""

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
            # A suite in the background may ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def processes(self) -> dict[int, str]:
        """Return the running processes of this run: their ids and commands."""
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
        """Require that no process or temporary file is left; wait for processes that still end."""
        end = time.monotonic() + PATIENCE
        while left := self.processes():
            if time.monotonic() > end:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise Stopped(f"orphans: {left}")
            time.sleep(0.02)
        # Matplotlib creates a folder there if it has none for its settings.
        left_behind = {name for name in names(self.temporary) if not name.startswith("matplotlib-")}
        expect(not left_behind, f"in the temporary folder: {left_behind}")


def send(process: subprocess.Popen[bytes], number: int, to_group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if to_group else os.kill)(process.pid, number)


def stop(place: Place, after: float, way: str, rng: np.random.Generator) -> bool:
    """Run until the end or the signal; return whether the run ended without an error."""
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
    """Return the names of Python's shared memory that no process has mapped.

    Other programs on this machine may have mapped theirs.
    """
    there = {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "sem."))}
    for process in Path("/proc").glob("[0-9]*") if there else ():
        with suppress(OSError):
            maps = (process / "maps").read_text()
            there = {name for name in there if f"/dev/shm/{name}" not in maps}
    return {name for name in there if Path("/dev/shm", name).exists()}


def sweep(kind: str, seed: int, count: int) -> Iterator[str]:
    """Stop runs of a kind COUNT times; yield the signal of each."""
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
