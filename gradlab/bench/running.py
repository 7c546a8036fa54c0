"""Run benchmarks one after the other, each in a process of its own, and keep what is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

from gradlab import environment
from gradlab.bench import tables
from gradlab.bench.report import render
from gradlab.bench.scripts import NOT_INSTALLED, Script, require_protocol
from gradlab.errors import GradlabError

State: TypeAlias = Literal["done", "failed", "interrupted", "not run"]


@dataclass(frozen=True)
class Outcome:
    """What became of one benchmark.

    Attributes
    ----------
    name, question : str
        Of the script.
    state : str
        "done", "failed", "interrupted" or "not run".
    seconds : float
        That it took.
    numbers : dict or None
        What it wrote, if it is done.
    figure : str or None
        Its figure as SVG.
    why : str
        If it failed, the last line of its error.
    """

    name: str
    question: str
    state: State
    seconds: float = 0.0
    numbers: dict[str, Any] | None = None
    figure: str | None = None
    why: str = ""

    @property
    def headline(self) -> str:
        """What came out, in one line, or why nothing did."""
        if self.numbers is not None:
            return str(self.numbers.get("headline", ""))
        return f"{self.state}: {self.why}" if self.why else self.state

    @property
    def missing(self) -> dict[str, str]:
        """The peers that were not installed, and how to install them."""
        return dict((self.numbers or {}).get("missing", {}))


def bench(
    scripts: Sequence[Script],
    folder: Path,
    *,
    quick: bool = False,
    watch: Callable[[str, str], None] = lambda name, message: None,
) -> Iterator[Outcome]:
    """Run benchmarks, and write what came out after each.

    Ctrl-C ends the run: the script at work is interrupted and waited for, and it and those after
    it say so. A second Ctrl-C kills a script that does not end.

    Parameters
    ----------
    scripts : sequence of Script
        From `find`.
    folder : Path
        For the results; it is there.
    quick : bool
        Whether the scripts are run with ``--quick``.
    watch : callable
        ``watch(name, message)`` is told how far a script is.

    Yields
    ------
    Outcome
        Of each script, in order.
    """
    for part in ("raw", "figures", "tables"):
        (folder / part).mkdir(exist_ok=True)
    started = time.strftime("%Y-%m-%d %H:%M")
    outcomes: list[Outcome] = []
    interrupted = False
    for script in scripts:
        if interrupted:
            outcome = Outcome(script.name, script.question, "not run")
        else:
            watch(script.name, "starting ...")
            outcome = run(script, folder, quick, partial(watch, script.name))
            interrupted = outcome.state == "interrupted"
        outcomes.append(outcome)
        write(outcomes, folder, quick, started)
        yield outcome


def run(script: Script, folder: Path, quick: bool, watch: Callable[[str], None]) -> Outcome:
    """Run one script; its files come into the folder when it is done."""
    started = time.perf_counter()

    def ended(state: State, **what: Any) -> Outcome:
        seconds = time.perf_counter() - started
        return Outcome(script.name, script.question, state, seconds, **what)

    log = folder / "raw" / f"{script.name}.txt"
    with TemporaryDirectory(dir=folder, prefix=".") as scratch:
        files = {suffix: Path(scratch) / f"out.{suffix}" for suffix in ("json", "png", "svg")}
        command = [
            *(sys.executable, str(script.path), "--json", str(files["json"])),
            *("--plot", str(files["png"]), "--plot", str(files["svg"])),
            *(["--quick"] if quick else []),
        ]
        try:
            code, told = _call(command, log, watch)
        except KeyboardInterrupt:
            return ended("interrupted")
        if code:
            why = told[-1] if told else f"it ended with code {code}"
            return ended("not run" if code == NOT_INSTALLED else "failed", why=why)
        try:
            numbers = json.loads(files["json"].read_text(encoding="utf-8"))
            require_protocol(numbers)
            figure = files["svg"].read_text(encoding="utf-8")
        except (OSError, ValueError, GradlabError) as error:
            return ended("failed", why=f"{script.path.name}: {error}")
        files["json"].replace(folder / "raw" / f"{script.name}.json")
        for suffix in ("png", "svg"):
            files[suffix].replace(folder / "figures" / f"{script.name}.{suffix}")
    return ended("done", numbers=numbers, figure=figure)


def _call(command: list[str], log: Path, watch: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run a command; return its code and what it said on the standard error, which is watched."""
    settings = {**os.environ, "GRADLAB_PROGRESS": "1", "PYTHONIOENCODING": "utf-8"}
    told: list[str] = []
    with log.open("w", encoding="utf-8") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.PIPE,
            env={**settings, "COLUMNS": "100"},
            encoding="utf-8",
            errors="replace",
            process_group=0 if os.name == "posix" else None,  # so that Ctrl-C comes from here alone
        )
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.strip():
                    told.append(line.strip())
                    watch(told[-1])
            code = process.wait()
        except BaseException:
            _stop(process, watch)
            raise
        finally:
            process.stderr.close()
        if code:
            printed.seek(0, os.SEEK_END)  # after what the script has printed into the same file
            printed.write("".join(f"{line}\n" for line in told))
    return code, told


def _stop(process: subprocess.Popen[str], watch: Callable[[str], None]) -> None:
    """Interrupt a script and what it started, and wait for it; a second Ctrl-C kills them.

    How long a script needs to put things in order depends on the machine and what else runs on it:
    only the user can tell a slow one from one that hangs.
    """
    try:
        if os.name == "posix":
            _signal(process, signal.SIGINT)
            watch("interrupted; waiting for it to end (Ctrl-C again kills it)")
            process.communicate()  # reads on, as a full pipe would keep the script from ending
    except KeyboardInterrupt:
        pass
    finally:
        if os.name == "posix":
            _signal(process, signal.SIGKILL)
        process.kill()
        process.wait()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a script and what it started, as far as they are still there."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def write(outcomes: Sequence[Outcome], folder: Path, quick: bool, started: str) -> None:
    """Write tables, summary and report of what there is so far."""
    for outcome in outcomes:
        if outcome.numbers is not None:
            for suffix, convert in (("md", tables.markdown), ("csv", tables.csv)):
                path = folder / "tables" / f"{outcome.name}.{suffix}"
                path.write_text(convert(outcome.numbers), encoding="utf-8", newline="\n")
    summary = summarise(outcomes, quick, started)
    text = json.dumps(summary, indent=2, allow_nan=False)
    (folder / "summary.json").write_text(f"{text}\n", encoding="utf-8")
    (folder / "report.html").write_text(render(outcomes, summary), encoding="utf-8")


def summarise(outcomes: Sequence[Outcome], quick: bool, started: str) -> dict[str, Any]:
    """Return what stands above a report."""
    return {
        "command": "bench",
        "started": started,
        "quick": quick,
        "environment": environment.describe(),
        "benchmarks": [
            {
                "name": outcome.name,
                "state": outcome.state,
                "seconds": round(outcome.seconds, 1),
                "headline": outcome.headline,
                "missing": outcome.missing,
            }
            for outcome in outcomes
        ],
    }
