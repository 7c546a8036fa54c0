"""CI finds circular imports: `.ci/circles.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci" / "circles.py"


def circles_of(folder: Path, **modules: str) -> list[str]:
    """Return the output of the script for a package of these modules, without known circles."""
    package = folder / "package"
    package.mkdir()
    for name, source in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(source, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(package)], capture_output=True, text=True, check=False
    )
    found = run.stderr.splitlines()
    assert run.returncode == bool(found)
    return found


def test_a_chain_of_imports_is_not_circular(tmp_path):
    assert (
        circles_of(tmp_path, a="import os", b="from package import a", c="import package.b") == []
    )


def test_a_circle_through_three_files_is_found(tmp_path):
    found = circles_of(
        tmp_path, a="from package.b import x", b="import package.c", c="from package import a"
    )
    assert found == ["circular imports: package.a, package.b, package.c"]


def test_an_import_for_type_checkers_or_in_a_function_counts(tmp_path):
    found = circles_of(
        tmp_path,
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.b import x",
        b="def f():\n    from package.a import y",
    )
    assert found == ["circular imports: package.a, package.b"]


def test_gradlab_has_only_known_circles():
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(SCRIPT.parent.parent / "gradlab")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
