"""Try mutants: plant each fault in a separate process, and run the tests that cover its line.

The tests are collected once. For a fault inside a function, the process is a fork of the collected
state, in which the function gets the code with the fault; this takes no longer than the tests do. A
fault at module level, such as in a constant, needs a new interpreter that imports everything again.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib.abc
import importlib.machinery
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from mutation.coverage import passes
from mutation.operators import Mutant

KILLED, SURVIVED, UNFIT = 1, 0, 99
"""Exit codes of the process of a mutant. UNFIT: the fault could not be planted in a fork."""

KILLER = "killer"
"""Name of the file, in the folder of a trial, with the test that failed."""

PATIENCE = 10.0
"""CPU seconds that the tests of a mutant may take, beyond twice their time without a fault."""


@dataclass
class Trial:
    """A process in which a mutant is tried."""

    mutant: Mutant
    folder: str
    pid: int
    until: float

    def killer(self) -> str:
        """Return the test that failed; empty if none did, or if it crashed."""
        with contextlib.suppress(FileNotFoundError):
            return (Path(self.folder) / KILLER).read_text()
        return ""

    def end(self) -> None:
        """Kill the processes that the trial started, and remove the files that it wrote."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def start(mutant: Mutant, seconds: float, body: Callable[[], int]) -> Trial:
    """Start a process that tries a mutant, with limits of time and memory."""
    folder = tempfile.mkdtemp(prefix="mutant-")
    limit = PATIENCE + 2 * seconds
    pid = os.fork()
    if pid:
        return Trial(mutant, folder, pid, time.monotonic() + 60 + 6 * limit)
    code = KILLED
    try:
        os.setpgid(0, 0)
        faulthandler.disable()  # pytest's would print where machine code with a fault crashes
        os.environ["TMPDIR"], tempfile.tempdir = folder, None
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
        code = body()
    finally:
        os._exit(code)


def finished(trials: list[Trial]) -> Iterator[tuple[Trial, str, str]]:
    """Yield each trial that has ended, its outcome, and the test that failed.

    The outcome is killed, survived, unfit or timeout.
    """
    for trial in list(trials):
        pid, status = os.waitpid(trial.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            outcome = {SURVIVED: "survived", UNFIT: "unfit", KILLED: "killed"}.get(code, "timeout")
        elif time.monotonic() > trial.until:
            os.kill(trial.pid, signal.SIGKILL)
            os.waitpid(trial.pid, 0)
            outcome = "timeout"
        else:
            continue
        killer = trial.killer()
        trial.end()
        trials.remove(trial)
        yield trial, outcome, killer


# In the same interpreter


class Functions:
    """All functions of some files, found once."""

    def __init__(self, files: set[str]) -> None:
        self._found: dict[tuple[str, str], list[FunctionType]] = defaultdict(list)
        for thing in gc.get_objects():
            if type(thing) is FunctionType and thing.__code__.co_filename in files:
                top = thing.__code__.co_qualname.split(".<locals>")[0]
                self._found[thing.__code__.co_filename, top].append(thing)

    def replace(self, path: str, source: str, name: str) -> bool:
        """Give the functions of this name, and those inside them, the code of another source."""
        codes = dict(_codes(compile(source, path, "exec")))
        functions = self._found[path, name]
        for function in functions:
            code = codes.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
            if code is None or code.co_freevars != function.__code__.co_freevars:
                return False
            function.__code__ = code
        return bool(functions)


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield (constant.co_qualname, constant.co_firstlineno), constant
            yield from _codes(constant)


def run_here(items: list[pytest.Item]) -> int:
    """Run collected tests until one fails, and store its name."""
    killer = Path(os.environ["TMPDIR"]) / KILLER
    for item, following in zip(items, [*items[1:], None], strict=True):
        if not passes(item, following):
            killer.write_text(item.nodeid)
            return KILLED
    return SURVIVED


# In a new interpreter


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module from a given source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec")


class Changed(importlib.abc.MetaPathFinder):
    """Finds one module whose source is changed."""

    def __init__(self, file: Path, source: str) -> None:
        self._file, self._source = file, source

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of the changed module, and None for others; see `importlib`."""
        if not fullname.startswith("gradlab"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None or Path(spec.origin) != self._file:
            return None
        spec.loader = _Loader(fullname, spec.origin, self._source)
        return spec


class Ordered:
    """A plugin of pytest that runs these tests in this order, and stops at the first that fails."""

    def __init__(self, tests: list[str], changed: Changed) -> None:
        self._tests, self._changed = tests, changed

    def pytest_sessionstart(self) -> None:
        """Find the changed module before pytest's own finder does, which rewrites assertions."""
        sys.meta_path.remove(self._changed)
        sys.meta_path.insert(0, self._changed)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests, and end the process."""
        items = {item.nodeid: item for item in session.items}
        os._exit(run_here([items[test] for test in self._tests if test in items]))


def run_anew(file: Path, source: str, tests: list[str], options: list[str]) -> int:
    """Import everything again with one source changed, and run tests until one fails."""
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    changed = Changed(file, source)
    sys.meta_path.insert(0, changed)  # the first conftest.py imports most of the package already
    pytest.main([*options, *files], plugins=[Ordered(tests, changed)])
    return KILLED  # the tests could not be collected
