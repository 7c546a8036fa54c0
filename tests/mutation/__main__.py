"""``python -m mutation``: try mutants of the numerical core, and print those that survive.

The run is a fixed random sample of at most `--per-file` mutants per module. `--share` tries a part
of it, which `--seed` selects. The folder `.mutation` keeps the coverage of each test and each
outcome. So an interrupted run continues, and a killed mutant is not tried again until its module
changes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
import sys
import time
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from mutation import coverage, running
from mutation.coverage import Covered, choose, file_of
from mutation.operators import Mutant, mutants_of, sources

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".mutation"

MUTATED = (
    *(
        f"gradlab/gradients/{name}.py"
        for name in (
            "differences/* probing/* slopes/* perturbable surface error_bars estimators noise "
            "tape/* tape/compiled/* perturb/*"
        ).split()
    ),
    *(
        f"gradlab/{name}.py"
        for name in (
            "layout program/* program/passes/* checking/* training/* optim/* comparison/* "
            "checkpoints"
        ).split()
    ),
)
"""The numerical core and the checker."""

LIBRARIES = "native"
"""Prefix of modules that need JAX or PyTorch, which CI installs after this run."""

LEFT_OUT = (
    "array_libraries* arrays_numpy bench* blas circles cli* concurrency corpus coverage datasets* "
    "docs first_call_sweep foreign_data foreign_weights fuzz gradients hostile html idx "
    "interop_jax interop_torch interrupts laws* mnist mutation native_jax native_torch network* "
    "notebook options outputs packaging parallel* plain_numpy plotting readers readme rewriting "
    "rules* scaling stopping stress surroundings terminal testing tutorial typing weights writing"
)
"""Test files that do not run: they test other modules, or take minutes."""

OPTIONS = ["-qq", "--capture=sys", "--no-header", "--no-summary", "-p", "no:cacheprovider"]
OPTIONS += ["-k", "not jax and not torch and not dask"]


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("--per-file", type=int, default=30, help="mutants of a module at most")
    parser.add_argument("--share", type=float, default=1.0, help="share of them to try")
    parser.add_argument("--seed", type=int, default=0, help="which share")
    parser.add_argument("--draw", type=int, default=0, help="another random sample of each module")
    parser.add_argument("--files", default="", help="only modules whose path contains this")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--minutes", type=float, default=1e6, help="start none after that")
    parser.add_argument("--budget", type=float, default=15.0, help="seconds of tests a mutant")
    parser.add_argument("--again", action="store_true", help="try again what survived before")
    parser.add_argument("--least", type=float, default=0.95, help="fail below this share")
    return parser.parse_args()


@dataclass(frozen=True)
class Result:
    """The outcome of a mutant."""

    mutant: Mutant
    outcome: str
    seconds: float
    killer: str = ""


class Run:
    """A plugin of pytest that collects the tests, and tries mutants instead of running them all."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sources = {
            file: source
            for file, source in sources(ROOT, MUTATED).items()
            if not Path(file).stem.startswith(LIBRARIES)
        }
        self.results: list[Result] = []
        self.left = 0
        self.until = time.monotonic() + 60 * options.minutes
        STATE.mkdir(exist_ok=True)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Trace the tests, choose mutants, and try them."""
        self.items = {item.nodeid: item for item in session.items}
        self.covering = Covering(self._coverage(session.items), self.sources)
        self._try(self._sample())
        return True

    # What covers what

    def _coverage(self, items: list[pytest.Item]) -> list[Covered]:
        """Return the lines that each test covers; trace the tests that are new or have changed."""
        code = _digest(*sources(ROOT, ("gradlab/**/*.py",)).values())
        kept = STATE / "coverage.json"
        known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        if known.get("code") != code:
            known = {"code": code, "files": {}}
        files = {file: _digest((ROOT / file).read_text()) for file in map(file_of, items)}
        for file, digest in files.items():
            if known["files"].get(file, {}).get("digest") != digest:
                known["files"].pop(file, None)
        new = [item for item in items if file_of(item) not in known["files"]]
        if new:
            _say(f"tracing {len(new)} tests")
            for covered in self._trace(new):
                own = {"digest": files[file_of_test(covered)], "tests": []}
                known["files"].setdefault(file_of_test(covered), own)["tests"].append(vars(covered))
            kept.write_text(json.dumps(known))
        return [Covered(**test) for file in files for test in known["files"][file]["tests"]]

    def _trace(self, items: list[pytest.Item]) -> list[Covered]:
        names = {str(ROOT / file): file for file in self.sources}
        pieces = []
        for part in coverage.spread(items, self.options.workers):
            out = STATE / f"traced-{len(pieces)}.jsonl"
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    nothing = os.open(os.devnull, os.O_RDWR)
                    for stream in range(3):
                        os.dup2(nothing, stream)
                    coverage.trace(part, names, out)
                    code = 0
                finally:
                    os._exit(code)
            pieces.append((pid, out))
        found: list[Covered] = []
        for pid, out in pieces:
            _, status = os.waitpid(pid, 0)
            if status:
                sys.exit(f"a process that traced tests ended with {status}")
            found += coverage.read(out)
            out.unlink()
        return found

    # Which mutants

    def _sample(self) -> list[Mutant]:
        chosen: list[Mutant] = []
        draw = self.options.draw
        for file, source in self.sources.items():
            own = sorted(mutants_of(file, source), key=lambda mutant: mutant.order(draw))
            chosen += own[: self.options.per_file]
        chosen = [mutant for mutant in chosen if self.options.files in mutant.file]
        chosen.sort(key=lambda mutant: mutant.order(self.options.seed + 1))
        return chosen[: round(self.options.share * len(chosen))]

    # Trying them

    def _try(self, mutants: list[Mutant]) -> None:
        done = self._done()
        functions = running.Functions({str(ROOT / file) for file in self.sources})
        waiting: list[Mutant] = []
        for mutant in mutants:
            if (outcome := done.get(self._known_as(mutant))) is not None:
                self.results.append(Result(mutant, outcome, 0.0))
            else:
                waiting.append(mutant)
        _say(f"{len(mutants)} mutants, {len(waiting)} to try")
        trials: list[running.Trial] = []
        begun: dict[str, float] = {}
        while waiting or trials:
            if waiting and time.monotonic() > self.until:
                self.left, waiting = len(waiting), []
            if waiting and len(trials) < self.options.workers:
                mutant = waiting.pop(0)
                begun[mutant.key] = time.monotonic()
                tests, seconds = self._choice(mutant)
                body = self._body(mutant, tests, functions)
                if not tests:  # the line may run only at the import
                    of_file = self.covering.of_file(mutant.file)
                    tests, seconds = choose(of_file, self.options.budget, mutant.file)
                    body = self._body(mutant, tests, None)
                if not tests:
                    self._note(Result(mutant, "uncovered", 0.0))
                    continue
                trials.append(running.start(mutant, seconds, body))
                continue
            for trial, outcome, killer in running.finished(trials):
                taken = time.monotonic() - begun[trial.mutant.key]
                if outcome == "unfit":
                    tests, seconds = self._choice(trial.mutant)
                    anew = self._body(trial.mutant, tests, None)
                    trials.append(running.start(trial.mutant, seconds, anew))
                else:
                    self._note(Result(trial.mutant, outcome, taken, killer))
            time.sleep(0.01)

    def _choice(self, mutant: Mutant) -> tuple[list[str], float]:
        return choose(self.covering.of(mutant), self.options.budget, mutant.file)

    def _body(self, mutant: Mutant, tests: list[str], functions: running.Functions | None) -> Any:
        """Return the function that runs in the process of a mutant."""
        source = self.sources[mutant.file]
        changed, path = mutant.applied(source), ROOT / mutant.file

        def here() -> int:
            assert functions is not None
            if not functions.replace(str(path), changed, mutant.function):
                return running.UNFIT
            return running.run_here([self.items[test] for test in tests])

        def anew() -> int:
            work = Path(os.environ["TMPDIR"]) / "mutant.json"
            work.write_text(json.dumps([str(path), changed, tests, OPTIONS]))
            os.execv(sys.executable, [sys.executable, "-m", "mutation", "--one", str(work)])

        return here if functions is not None and mutant.function else anew

    def _done(self) -> dict[str, str]:
        """Return the outcomes of earlier runs whose modules have not changed."""
        file = STATE / "results.jsonl"
        told = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        killed = ("killed", "timeout")
        return {
            one["known as"]: one["outcome"]
            for one in told
            if one["outcome"] in killed or not self.options.again
        }

    def _known_as(self, mutant: Mutant) -> str:
        return f"{mutant.key} of {_digest(self.sources[mutant.file])}"

    def _note(self, result: Result) -> None:
        self.results.append(result)
        one = {"known as": self._known_as(result.mutant), "outcome": result.outcome,
               "killer": result.killer, "seconds": round(result.seconds, 1)}  # fmt: skip
        with (STATE / "results.jsonl").open("a") as stream:
            stream.write(json.dumps(one) + "\n")
        if result.outcome not in ("killed", "timeout"):
            _say(f"  {result.outcome} {result.mutant.file}:{result.mutant.number} "
                  f"{result.mutant.change} ({result.seconds:.0f} s)")  # fmt: skip


class Covering:
    """The tests that run the line of a mutant."""

    def __init__(self, tests: list[Covered], sources: dict[str, str]) -> None:
        self._by_line: dict[tuple[str, int], list[Covered]] = defaultdict(list)
        self._by_file: dict[str, list[Covered]] = defaultdict(list)
        for test in tests:
            for file, lines in test.lines.items():
                self._by_file[file].append(test)
                for line in lines:
                    self._by_line[file, line].append(test)
        self._uses: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._bodies: dict[tuple[str, int], range] = {}
        for file, source in sources.items():
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    assert node.end_lineno is not None
                    self._bodies[file, node.lineno] = range(
                        node.body[0].lineno, node.end_lineno + 1
                    )
                elif name := getattr(node, "id", None) or getattr(node, "attr", None):
                    self._uses[name].append((file, node.lineno))

    def of(self, mutant: Mutant) -> list[Covered]:
        """Return the tests of a mutant's line.

        For a constant or a default, these are the tests that run a line that may use it.
        """
        if mutant.function:
            for line in (mutant.number, mutant.statement):
                if found := self._by_line[mutant.file, line]:
                    return found
            return []
        name = mutant.line.split("=")[0].split(":")[0].strip()
        places = [
            (mutant.file, line) for line in self._bodies.get((mutant.file, mutant.statement), ())
        ]
        places = places or self._uses[name]
        found = {test.test: test for place in places for test in self._by_line[place]}
        # No line shows the use of a field's default: it is used where an object is created.
        found |= {test.test: test for test in self._by_file[mutant.file]}
        return list(found.values())

    def of_file(self, file: str) -> list[Covered]:
        """Return the tests that run any line of a module."""
        return self._by_file[file]


def _say(text: str) -> None:
    """Print to the terminal, although pytest captures the standard output."""
    print(text, file=sys.__stdout__, flush=True)


def file_of_test(covered: Covered) -> str:
    """Return the file of a test."""
    return covered.test.split("::")[0]


def _digest(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()[:16]


def accepted() -> dict[tuple[str, str, str], str]:
    """Return the reasons why some mutants may survive, by file, line and change.

    An entry without a change accepts every change of its line.
    """
    file = Path(__file__).with_name("accepted.toml")
    found = tomllib.loads(file.read_text()).get("accepted", [])
    return {(one["file"], one["line"], one.get("change", "")): one["reason"] for one in found}


def tell(run: Run) -> int:
    """Print the counts and the surviving mutants, and return the exit code."""
    reasons = accepted()
    counts: Counter[str] = Counter()
    open_ones: list[Result] = []
    for result in run.results:
        mutant = result.mutant
        killed = result.outcome in ("killed", "timeout")
        excused = any((mutant.file, mutant.line, c) in reasons for c in (mutant.change, ""))
        counts["killed" if killed else "accepted" if excused else "survived"] += 1
        if not killed and not excused:
            open_ones.append(result)
    for result in sorted(open_ones, key=lambda r: (r.mutant.file, r.mutant.number)):
        mutant = result.mutant
        print(f"{mutant.file}:{mutant.number}: {result.outcome}\n    {mutant.line}\n"
              f"    {mutant.change}")  # fmt: skip
    tried = counts["killed"] + counts["survived"]
    share = counts["killed"] / tried if tried else 1.0
    print(
        f"{tried} mutants: {counts['killed']} killed ({share:.1%}), {counts['survived']} survived; "
        f"{counts['accepted']} more are accepted, {run.left} not tried for want of time"
    )
    least = run.options.least
    # A part of the run is a sample: its share may be three standard deviations lower.
    is_sample = run.left or run.options.share < 1
    chance = 3 * math.sqrt(least * (1 - least) / tried) if is_sample and tried else 0.0
    return int(share < least - chance)


def main() -> int:
    """Run the command."""
    if sys.argv[1:2] == ["--one"]:
        path, changed, tests, options = json.loads(Path(sys.argv[2]).read_text())
        os._exit(running.run_anew(Path(path), changed, tests, options))
    os.chdir(ROOT)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    run = Run(arguments())
    left_out = [f"test_{name}" for name in LEFT_OUT.split()]
    files = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        if not any(fnmatch(file.stem, name) for name in left_out)
    ]
    doctests = [file for file, source in run.sources.items() if ">>>" in source]
    code = pytest.main([*OPTIONS, *files, *doctests], plugins=[run])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return int(code)
    return tell(run)


if __name__ == "__main__":
    sys.exit(main())
