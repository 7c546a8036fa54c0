"""Find circular imports in the package, including those below ``if TYPE_CHECKING:``.

    python .ci/circles.py [FOLDER]

import-linter does not check files of one layer against each other, and its configuration ignores
imports for type checkers. In a circle, no file can be read or moved without the others.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def imports_of(folder: Path) -> dict[str, set[str]]:
    """Return, for each module of a package, the modules of the package that it imports.

    An import of a name from a package counts as an import of the module with that name, if there is
    one; otherwise, as an import of the package.
    """
    paths = {
        ".".join((folder.name, *path.relative_to(folder).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in sorted(folder.rglob("*.py"))
    }
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets.update(name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                full = [f"{node.module}.{name.name}" for name in node.names]
                targets.update(name if name in paths else node.module for name in full)
        found[module] = (targets & paths.keys()) - {module}
    return found


def circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    reached = {module: _reached(module, imports) for module in imports}
    found = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in imports
    }
    return {circle for circle in found if len(circle) > 1}


def _reached(module: str, imports: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    todo = [module]
    while todo:
        new = imports[todo.pop()] - reached
        reached |= new
        todo += new
    return reached


if __name__ == "__main__":
    found = circles(imports_of(Path(sys.argv[1] if len(sys.argv) > 1 else "gradlab").resolve()))
    lines = [f"circular imports: {', '.join(sorted(circle))}" for circle in found]
    sys.exit("\n".join(sorted(lines)) or None)
