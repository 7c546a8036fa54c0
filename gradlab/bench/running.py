"""Run benchmarks one after the other, each in its own process, and keep finished results."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from gradlab import environment, files
from gradlab.bench import guard, tables
from gradlab.bench.report import render
from gradlab.bench.scripts import NOT_INSTALLED, Script, ScriptResult, State, require_protocol
from gradlab.errors import GradlabError
from gradlab.interrupts import allowed, forget, held

GUARD = Path(guard.__file__)


def bench(
    scripts: Sequence[Script],
    folder: Path,
    *,
    quick: bool = False,
    watch: Callable[[str, str], None] = lambda name, message: None,
) -> Iterator[ScriptResult]:
    """Run benchmarks, and write the results after each.

    Ctrl-C ends the run: the running script is interrupted and waited for, and it and the remaining
    ones are marked as such. A second Ctrl-C kills a script that does not end. SIGTERM kills it at
    once, and the report says so. If this process is killed, the script ends, and the report keeps
    the earlier results.

    The folder for the results must exist. ``watch(name, message)`` is called with the progress of a
    script.
    """
    for part in ("raw", "figures", "tables"):
        (folder / part).mkdir(exist_ok=True)
    started = time.strftime("%Y-%m-%d %H:%M")
    outcomes: list[ScriptResult] = []
    interrupted = False
    for script in scripts:
        outcome = ScriptResult(script.name, script.question, "not run")
        with held():
            try:
                if not interrupted:
                    watch(script.name, "starting ...")
                    outcome = run(script, folder, quick, partial(watch, script.name))
                    interrupted = outcome.state == "interrupted"
            except SystemExit:
                outcomes += [
                    ScriptResult(
                        other.name, other.question, "interrupted" if other is script else "not run"
                    )
                    for other in scripts[len(outcomes) :]
                ]
                raise
            else:
                outcomes.append(outcome)
            finally:
                write(outcomes, folder, quick, started)
            interrupted = forget() or interrupted  # Ctrl-C between two scripts
        yield outcome


def run(script: Script, folder: Path, quick: bool, watch: Callable[[str], None]) -> ScriptResult:
    """Run one script; its files are moved to the folder when it is done.

    Raise SystemExit at SIGTERM, after the script was killed.
    """
    started = time.perf_counter()

    def ended(state: State, **what: Any) -> ScriptResult:
        seconds = time.perf_counter() - started
        return ScriptResult(script.name, script.question, state, seconds, **what)

    log = folder / "raw" / f"{script.name}.txt"
    scratch = folder / f".{secrets.token_hex(8)}"
    made = {suffix: scratch / f"out.{suffix}" for suffix in ("json", "png", "svg")}
    command = [
        *(sys.executable, str(script.path), "--json", str(made["json"])),
        *("--plot", str(made["png"]), "--plot", str(made["svg"])),
        *(["--quick"] if quick else []),
    ]
    with _guarded(command, log, scratch) as guard:
        try:
            code, told = _listen(guard, watch)
        except KeyboardInterrupt:
            _interrupt(guard, watch)
            return ended("interrupted")
        if code:
            with log.open("a", encoding="utf-8") as printed:
                printed.write("".join(f"{line}\n" for line in told))
            why = told[-1] if told else f"it ended with code {code}"
            return ended("not run" if code == NOT_INSTALLED else "failed", why=why)
        try:
            numbers = json.loads(made["json"].read_text(encoding="utf-8"))
            require_protocol(numbers)
            figure = made["svg"].read_text(encoding="utf-8")
        except (OSError, ValueError, GradlabError) as error:
            return ended("failed", why=f"{script.path.name}: {error}")
        made["json"].replace(folder / "raw" / f"{script.name}.json")
        for suffix in ("png", "svg"):
            made[suffix].replace(folder / "figures" / f"{script.name}.{suffix}")
    return ended("done", numbers=numbers, figure=figure)


@contextmanager
def _guarded(command: list[str], log: Path, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command during a ``with`` block; see `gradlab.bench.guard`.

    Its processes and its folder are removed at the end of the block, or if this process is killed.
    """
    settings = {"GRADLAB_PROGRESS": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), str(scratch), str(log), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | settings,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # so that a terminal's signals reach only this process
    ) as guard:
        assert guard.stdin
        try:
            yield guard
        finally:
            guard.stdin.close()
            guard.wait()


def _listen(guard: subprocess.Popen[str], watch: Callable[[str], None]) -> tuple[int, list[str]]:
    """Wait for a script; return its exit code and its standard error."""
    told: list[str] = []
    assert guard.stdout
    assert guard.stderr
    with allowed():
        for line in guard.stderr:
            if line.strip():
                told.append(line.strip())
                watch(told[-1])
        return int(guard.stdout.readline() or 1), told


def _interrupt(guard: subprocess.Popen[str], watch: Callable[[str], None]) -> None:
    """Interrupt a script and its children, and wait; a second Ctrl-C ends the waiting.

    How long a script takes to clean up depends on the machine and its load. Only the user can
    tell a slow script from one that hangs.
    """
    if os.name != "posix":
        return
    assert guard.stdin
    with suppress(KeyboardInterrupt, OSError):
        guard.stdin.write("i")
        guard.stdin.flush()
        watch("interrupted; waiting for it to end (Ctrl-C again kills it)")
        _listen(guard, lambda line: None)  # a full pipe would block the script


def write(outcomes: Sequence[ScriptResult], folder: Path, quick: bool, started: str) -> None:
    """Write tables, summary and report of the results so far."""
    texts = {}
    for outcome in outcomes:
        if outcome.numbers is not None:
            for suffix, convert in (("md", tables.markdown), ("csv", tables.csv)):
                texts[f"tables/{outcome.name}.{suffix}"] = convert(outcome.numbers)
    summary = summarise(outcomes, quick, started)
    texts["summary.json"] = f"{json.dumps(summary, indent=2, allow_nan=False)}\n"
    texts["report.html"] = render(outcomes, summary)
    for name, text in texts.items():
        files.replace(folder / name, [text.encode()])


def summarise(outcomes: Sequence[ScriptResult], quick: bool, started: str) -> dict[str, Any]:
    """Return the head of a report."""
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
