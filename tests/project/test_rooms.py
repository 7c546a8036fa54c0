"""The docstring of a package lists files that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import gradlab

PACKAGE = Path(gradlab.__file__).parent
RULE = re.compile(r"^=+  =+$")


def rows_of(docstring: str) -> list[str]:
    """Return the first columns of the tables in a docstring.

    A table begins and ends with a line of ``=``.
    """
    rows: list[str] = []
    is_inside = False
    for line in docstring.splitlines():
        if RULE.match(line):
            is_inside = not is_inside
        elif is_inside:
            rows.append(line.split("  ")[0])
    return rows


def missing(init: Path) -> list[str]:
    """Return the names in a package's tables that are neither its modules nor its packages."""
    docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    names = [name for row in rows_of(docstring) for name in re.findall(r"`(\w+)`", row)]
    folder = init.parent
    return [n for n in names if not (folder / f"{n}.py").is_file() and not (folder / n).is_dir()]


@pytest.mark.parametrize("name", ["arrays", "checking", "gradients", "gradients/slopes", "program"])
def test_a_large_package_shows_its_files(name: str) -> None:
    init = PACKAGE / name / "__init__.py"
    assert rows_of(ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or "")


def test_each_file_that_a_docstring_lists_exists() -> None:
    # `rewrite` is next to the package of the passes, not in it.
    stale = {(init.parent.name, n) for init in PACKAGE.rglob("__init__.py") for n in missing(init)}
    assert stale == {("passes", "rewrite")}


def test_a_name_without_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.py").touch()
    table = "=======  ====\n`there`  one\n`gone`   two\n=======  ====\n"
    init = tmp_path / "__init__.py"
    init.write_text(f'"""A package, with `other` words.\n\n{table}"""\n', encoding="utf-8")
    assert missing(init) == ["gone"]
