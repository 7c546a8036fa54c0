"""Runs of the scripts in `benchmarks/`, as a user would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import pytest
from processes import PATIENCE

BENCHMARKS = Path(common.__file__).resolve().parents[1]

WITHOUT_PEERS = """
import runpy, sys

class Absent:
    def find_spec(name, *_):
        if name in ("torch", "jax", "scipy", "numdifftools"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent)
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs the script that is its first argument where no peer can be imported."""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, without a terminal, in a fixed environment."""
    here = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": here, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )


def require_one_line(
    script: str,
    main: Callable[..., Any],
    options: tuple[str, ...],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Require that a script refuses options in one line that names the wrong one."""
    monkeypatch.setattr(sys, "argv", [script, *options])
    with pytest.raises(SystemExit) as stop:
        common.run(main)
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith(f"{script}: ")
    assert named in printed.err
    assert printed.err.count("\n") == 1
