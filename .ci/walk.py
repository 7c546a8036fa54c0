"""Run every verb and every example of the command as users do, in several terminals.

python .ci/walk.py GRADLAB [--bench]

GRADLAB is the command; the Python of its environment runs this script. Files that a verb writes are
opened again. With --bench, only the benchmarks run, with the installed peers.
"""

import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from fcntl import ioctl
from html import unescape
from pathlib import Path
from termios import TIOCSWINSZ
from xml.etree import ElementTree

from matplotlib.image import imread

VERBS = ("compare", "train", "diagnose", "evaluate", "check", "bench", "demo")
EIGHT = "central,autograd,tape,forward,central4,complex-step,spsa,forward-gradient"
SMALL = ("--layers", "4", "--iterations", "2", "--batch-size", "5")
LOSSES = """
import numpy as np

params, args = {"w": np.array([1.0, 2.0])}, (np.array([0.5, -1.5]),)

def loss(params, x):
    return np.sum((params["w"] * x) ** 2)

def gradient(params, x):
    return {"w": 2 * params["w"] * x**2}
"""
HAS_MNIST = "GRADLAB_DATA" in os.environ


PATIENCE = 300
"""Seconds after a signal when a verb that still runs counts as hung."""


class Walk:
    """Runs of one command in a separate folder."""

    def __init__(self, command: Path, folder: Path) -> None:
        self.command = [str(command.absolute())]
        self.folder = folder

    def run(self, words: str, *, code: int = 0, encoding: str = "utf-8") -> str:
        """Run the command with its output captured, and return what it prints."""
        started = time.perf_counter()
        done = subprocess.run(
            [*self.command, *shlex.split(words)],
            cwd=self.folder,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        out, err = (stream.decode(encoding) for stream in (done.stdout, done.stderr))
        require(done.returncode == code, f"gradlab {words}: code {done.returncode}\n{out}{err}")
        require(code or not err, f"gradlab {words}: {err}")
        require("Traceback" not in err and "…" not in out, f"gradlab {words}:\n{out}{err}")
        print(f"{time.perf_counter() - started:6.1f} s  gradlab {words}  ({encoding})", flush=True)
        return out

    def show(self, words: str, columns: int) -> None:
        """Run the command in a terminal of this width, in which no cell may be cut."""
        ours, theirs = pty.openpty()
        ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        terminal = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):
            terminal.pop(name, None)
        process = subprocess.Popen(
            [*self.command, *shlex.split(words)], cwd=self.folder, env=terminal,
            stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # Linux raises it at the end of the output
            while part := os.read(ours, 65536):
                printed += part
        os.close(ours)
        text = printed.decode()
        require(process.wait() == 0, f"gradlab {words}, {columns} columns:\n{text}")
        require("…" not in text, f"gradlab {words}, {columns} columns:\n{text}")
        print(f"          gradlab {words}  (a terminal of {columns} columns)", flush=True)

    def end(self, words: str, number: signal.Signals, sign: Path) -> int:
        """Send a signal once a file or folder exists, the sign of work; return the exit code."""
        process = subprocess.Popen(
            [*self.command, *shlex.split(words)], cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not (self.folder / sign).exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        try:
            _, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        require("Traceback" not in err, f"gradlab {words}, interrupted: {err}")
        print(f"          gradlab {words}  ({number.name}: code {process.returncode})", flush=True)
        return process.returncode


def require(holds: object, message: str) -> None:
    """Exit with a message unless a condition holds."""
    if not holds:
        sys.exit(message)


def open_again(folder: Path, *names: str) -> None:
    """Open the files of a folder: numbers must not be NaN, pictures must not be empty."""
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    require(set(names) <= there, f"{folder}: {sorted(set(names) - there)} missing")
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"), parse_constant=sys.exit)
        elif path.suffix == ".png":
            require(imread(path)[..., :3].std() > 0.01, f"{path}: an empty picture")
        elif path.suffix == ".svg":
            require(len(list(ElementTree.parse(path).iter())) > 30, f"{path}: an empty picture")


def examples(walk: Walk) -> list[str]:
    """Return the examples in the help of all verbs."""
    found = []
    for verb in VERBS:
        told = " ".join(walk.run(f"{verb} --help").split())
        found += re.findall(r"(?:Example|Or): gradlab (.*?)(?=,? where| Or:| Exit code|$)", told)
    return found


def benchmarks(walk: Walk) -> None:
    """Run all benchmarks, and check the folder that they write."""
    walk.run("bench --quick --output bench --json bench.json")
    page = unescape((walk.folder / "bench/report.html").read_text("utf-8"))
    summary = json.loads((walk.folder / "bench.json").read_text("utf-8"))
    require(len(summary["benchmarks"]) >= 10, "bench: benchmarks are missing")
    for benchmark in summary["benchmarks"]:
        name = benchmark["name"]
        require(benchmark["headline"] in page, f"{name}: its headline is not on the page")
        if benchmark["state"] == "not run" and "is not installed" in benchmark["headline"]:
            continue
        require(benchmark["state"] == "done", f"bench: {benchmark}")
        require(f'<section id="{name}">' in page, f"{name}: no section on the page")
        open_again(
            walk.folder / "bench",
            *(f"tables/{name}.md", f"tables/{name}.csv", f"raw/{name}.json"),
            *(f"figures/{name}.png", f"figures/{name}.svg"),
        )


def verbs(walk: Walk) -> None:
    """Run every verb and every example, in several terminals and with interruptions."""
    folder = walk.folder
    (folder / "losses.py").write_text(LOSSES)
    walk.run("")
    walk.run("--version")
    walk.run("--help")
    walk.run("compare --output compare")
    open_again(folder / "compare", "summary.json", "losses.png", "cost.png")
    walk.run("train --output train")
    open_again(folder / "train", "history.json", "weights.npz", "curves.png", "norms.png")
    for axis in ("optimizer", "learning-rate", "activation", "initialisation"):
        walk.run(f"compare --over {axis} --iterations 40 --seeds 2 --output over-{axis}")
        open_again(folder / f"over-{axis}", "summary.json", "losses.png")
    walk.run("diagnose --output diagnose --json diagnose.json")
    open_again(folder / "diagnose", "summary.json", "report.html", "rates.png", "step.png")
    walk.run("evaluate train/weights.npz --output evaluate --json evaluate.json")
    open_again(folder / "evaluate", "summary.json", "confusion.png", "misclassified.png")
    walk.run("demo --output demo")
    open_again(folder / "demo", "summary.json", "surface.png", "descent.png")
    for example in examples(walk):
        if "mnist" in example and not HAS_MNIST:
            continue
        mnist = {"train": " --epochs 1 --output mnist", "evaluate": " --output of-mnist"}
        more = mnist[example.split()[0]] if "mnist" in example else ""
        walk.run(example.replace("weights.npz", "mnist/weights.npz") + more)
    open_again(folder, "check.png", "check-map.png", "story/summary.json")
    terminals(walk)
    endings(walk)


def terminals(walk: Walk) -> None:
    """Show the widest tables in narrow terminals, and all output in other encodings."""
    for columns in (60, 80):
        walk.show(f"compare --backend {EIGHT} {' '.join(SMALL)}", columns)
        walk.show("evaluate train/weights.npz", columns)
        walk.show("check --network 64,4,10", columns)
    for encoding in ("ascii", "cp949", "cp1252"):
        walk.run("demo", encoding=encoding)
        walk.run("check --network 64,4,10", encoding=encoding)
        walk.run(f"compare --backend {EIGHT} {' '.join(SMALL)}", encoding=encoding)
        walk.run("evaluate train/weights.npz", encoding=encoding)
        walk.run("diagnose --epochs 1", encoding=encoding)


def endings(walk: Walk) -> None:
    """Interrupt and kill verbs while they work, and run the same commands again."""
    folder = walk.folder
    for verb in (
        "demo", "evaluate train/weights.npz", "compare --iterations 100000", "diagnose --epochs 50"
    ):  # fmt: skip
        output = f"ended-{verb.split()[0]}"
        code = walk.end(f"{verb} --output {output}", signal.SIGINT, Path(output))
        require(code in (0, 130), f"{verb}: code {code}")
        if not (folder / output / "summary.json").exists():
            walk.run(f"{verb.replace('100000', '3')} --output {output}")
        open_again(folder / output, "summary.json")
    training = "train --epochs 60 --layers 300"
    walk.run(f"{training} --output undisturbed")
    kept = f"{training} --output killed --checkpoint killed/state"
    walk.end(kept, signal.SIGKILL, Path("killed/state"))
    walk.run(f"{kept} --resume")
    weights = [(folder / name / "weights.npz").read_bytes() for name in ("undisturbed", "killed")]
    require(weights[0] == weights[1], "a training that was killed ended with other weights")


def main(command: str, *options: str) -> None:
    """Run the walk in a temporary folder."""
    started = time.perf_counter()
    # A background process, and its children, may ignore Ctrl-C; restore the default.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(Path(command), Path(folder))
        if "--bench" not in options:
            verbs(walk)
        benchmarks(walk)
    print(f"the walk took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
