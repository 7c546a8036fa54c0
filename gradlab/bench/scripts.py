"""The benchmarks, scripts beside the package or inside it in a wheel, and their results."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from gradlab.errors import GradlabError, OptionError, unknown

PACKAGE = Path(__file__).resolve().parent.parent
BENCHMARK_FOLDERS = (PACKAGE.parent / "benchmarks", PACKAGE / "benchmarks")
REQUIRED_KEYS = ("benchmark", "environment", "table", "results", "headline")
"""Required keys of each benchmark's JSON file, from which `gradlab bench` makes its report."""

REQUIRED_TABLE_KEYS = ("title", "columns", "right", "rows", "notes")
"""Required keys of its table; see ``common.files.record``."""

NOT_INSTALLED = 3
"""The exit code of a benchmark that needs a missing package."""

State: TypeAlias = Literal["done", "failed", "interrupted", "not run"]

SHARED_PACKAGE = "common"
"""The package that all scripts import."""


@dataclass(frozen=True)
class Script:
    """A benchmark."""

    name: str  # that of the file, without suffix
    path: Path
    question: str  # the question that it answers: the first paragraph of its docstring


@dataclass(frozen=True)
class ScriptResult:
    """The result of one benchmark, or why there is none."""

    name: str
    question: str
    state: State  # "done", "failed", "interrupted" or "not run"
    seconds: float = 0.0
    numbers: dict[str, Any] | None = None  # its numbers, if it is done
    figure: str | None = None  # as SVG
    why: str = ""  # if it failed, the last line of its error

    @property
    def headline(self) -> str:
        """The result in one line, or why there is none."""
        if self.numbers is not None:
            return str(self.numbers.get("headline", ""))
        return f"{self.state}: {self.why}" if self.why else self.state

    @property
    def missing(self) -> dict[str, str]:
        """The peers that were not installed, and how to install them."""
        return dict((self.numbers or {}).get("missing", {}))


def find(names: Sequence[str] = ()) -> list[Script]:
    """Return the benchmarks with these names in alphabetical order; by default, all.

    Raise an OptionError if a name is unknown, or there are no benchmarks at all.

    Examples
    --------
    >>> [script.name for script in find(["training", "accuracy"])]
    ['accuracy', 'training']
    """
    folder = next((path for path in BENCHMARK_FOLDERS if (path / SHARED_PACKAGE).is_dir()), None)
    if folder is None:
        raise OptionError("the benchmarks are not here: install gradlab from its wheel or folder")
    known = {path.stem: path for path in sorted(folder.glob("*.py"))}
    for name in names:
        if name not in known:
            raise OptionError(unknown("benchmark", name, known))
    return [
        Script(name, path, question(path.read_text(encoding="utf-8")))
        for name, path in known.items()
        if name in names or not names
    ]


def question(source: str) -> str:
    r"""Return the first paragraph of a module's docstring, in one line.

    Examples
    --------
    >>> question("'''What it costs,\nand whom.\n\nMore of it.'''")
    'What it costs, and whom.'
    """
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return " ".join(docstring.split("\n\n")[0].replace("`", "").split())


def require_protocol(numbers: Mapping[str, Any]) -> None:
    """Raise an error that names the keys that a benchmark's numbers lack.

    Raise a GradlabError if a key is missing.

    Examples
    --------
    >>> require_protocol({"benchmark": "speed", "environment": {}, "results": [], "table": {}})
    Traceback (most recent call last):
    gradlab.errors.GradlabError: the benchmark's numbers lack headline, table title, table ...
    """
    lacking = [name for name in REQUIRED_KEYS if name not in numbers]
    table = numbers.get("table", dict.fromkeys(REQUIRED_TABLE_KEYS))
    lacking += [f"table {name}" for name in REQUIRED_TABLE_KEYS if name not in table]
    if lacking:
        raise GradlabError(f"the benchmark's numbers lack {', '.join(lacking)}")
