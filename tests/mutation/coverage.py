"""The lines of the mutated modules that each test runs, and its time without a fault.

Each test is traced once, in pytest's order. The result is kept per test file, so that only changed
files are traced again.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from types import CodeType, FrameType
from typing import Any

import pytest

CALLS = 100
"""Number of calls after which a function is not traced any more in a test, for speed."""


@dataclass
class Covered:
    """The lines and the time of one test without a fault.

    Attributes
    ----------
    test : str
        Its node id.
    seconds : float
        CPU time, including the tracer's.
    passed : bool
        Whether it passed; a test that fails or is skipped detects nothing.
    lines : dict of str to list of int
        For each module that is mutated, the lines that it runs.
    """

    test: str
    seconds: float = 0.0
    passed: bool = False
    lines: dict[str, list[int]] = field(default_factory=dict)

    def group(self) -> str:
        """Return the name of the test function, without parameters."""
        return self.test.split("[")[0]


@contextmanager
def traced(files: dict[str, str]) -> Iterator[dict[str, set[int]]]:
    """Collect the lines that run, for code whose path is a key of `files`, by the value there."""
    lines: dict[str, set[int]] = defaultdict(set)
    calls: dict[CodeType, int] = defaultdict(int)

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in files:
            return None
        calls[code] += 1
        if calls[code] > CALLS:
            return None
        seen = lines[files[code.co_filename]]

        def step(frame: FrameType, event: str, _: Any) -> Any:
            seen.add(frame.f_lineno)
            return step

        return step

    sys.settrace(enter)
    threading.settrace(enter)
    try:
        yield lines
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


class _Reports:
    """A plugin of pytest that keeps the reports of one test."""

    def __init__(self) -> None:
        self.seen: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report of a setup, a call or a teardown."""
        self.seen.append(report)


def passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Run a test as pytest does; return whether it passed and was not skipped."""
    reports = _Reports()
    plugins = item.config.pluginmanager
    plugins.register(reports)
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        plugins.unregister(reports)
    return len(reports.seen) == 3 and all(report.passed for report in reports.seen)


def trace(items: list[pytest.Item], files: dict[str, str], out: Path) -> None:
    """Run tests under the tracer, and write the coverage of each as one line of JSON."""
    with out.open("w") as stream:
        for item, following in zip(items, [*items[1:], None], strict=True):
            started = time.process_time()
            with traced(files) as lines:
                passed = passes(item, following)
            seconds = time.process_time() - started
            found = {file: sorted(numbers) for file, numbers in lines.items()}
            covered = Covered(item.nodeid, seconds, passed, found if passed else {})
            stream.write(json.dumps(asdict(covered)) + "\n")


def read(file: Path) -> list[Covered]:
    """Read the file that `trace` wrote."""
    return [Covered(**json.loads(line)) for line in file.read_text().splitlines()]


def choose(
    covering: list[Covered], budget: float, file: str = "", most: int = 1500
) -> tuple[list[str], float]:
    """Return the tests to run for a mutant of a file, and the seconds they take without one.

    The first tests are those that are fast, run little code of other files, and are named after
    this file. The parameters of one test count with the sum of their times so far, so that other
    tests come between them. The list ends when the budget is spent.
    """
    groups: dict[str, float] = defaultdict(float)
    ranked: list[tuple[float, float, str]] = []
    for test in sorted(covering, key=lambda test: test.seconds):
        groups[test.group()] += test.seconds
        elsewhere = sum(map(len, test.lines.values())) / max(len(test.lines.get(file, ())), 1)
        rank = groups[test.group()] * elsewhere / _kinship(test.test, file)
        ranked.append((rank, test.seconds, test.test))
    chosen: list[str] = []
    total = 0.0
    for _, seconds, name in sorted(ranked):
        if total + seconds <= budget or not chosen:
            chosen.append(name)
            total += seconds
        if len(chosen) == most:
            break
    return chosen, total


def _kinship(test: str, file: str) -> int:
    """Return a factor by which a test of this module itself is preferred, from names alone."""
    module, own = PurePath(file), PurePath(test.split("::")[0])
    is_named = module.stem in own.stem
    is_beside = module.parts[1:-1] == own.parts[1:-1]
    return (10 if is_named else 1) * (3 if is_beside else 1)


def spread(items: list[pytest.Item], parts: int) -> list[list[pytest.Item]]:
    """Distribute whole test files over parts with about the same number of tests; none is empty."""
    files: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[file_of(item)].append(item)
    dealt: list[list[pytest.Item]] = [[] for _ in range(parts)]
    for own in sorted(files.values(), key=len, reverse=True):
        min(dealt, key=len).extend(own)
    return [part for part in dealt if part]


def file_of(item: pytest.Item) -> str:
    """Return the file of a test, from the root of the repository."""
    return os.fspath(item.nodeid).split("::")[0]
