"""Generated parts of the site: the tutorial, the figures of the exercises, the command's help.

The tutorial is the notebook with its stored outputs, as Markdown. The figures are drawn by an
example and by commands on the page. The help is printed by the command.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

NOTEBOOK = "examples/tutorial.ipynb"

COMPARISONS = {
    "exercises-optimisers.png": ("optimizer", "losses.png"),
    "exercises-activations.png": ("initialisation", "activations.png"),
}
"""For each figure, what `gradlab compare --over` compares, and the file that it writes."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tutorial, its pictures, and the figures of the exercises."""
    path = Path(config.config_file_path).parent / NOTEBOOK
    page, resources = MarkdownExporter().from_filename(str(path))
    pictures: dict[str, Any] = resources["outputs"]
    files.append(File.generated(config, "tutorial.md", content=described(page)))
    for name, picture in pictures.items():
        files.append(File.generated(config, name, content=picture))
    for name, picture in figures(path.parents[1]).items():
        files.append(File.generated(config, name, content=picture))
    return files


@cache
def figures(root: Path) -> dict[str, bytes]:
    """Draw the figures of the exercises: by an example, and by the commands that the page shows."""
    page = (root / "docs" / "exercises.md").read_text(encoding="utf-8")
    with TemporaryDirectory() as folder:
        valley = Path(folder, "valley.png")
        run = partial(subprocess.run, cwd=root, check=True, capture_output=True)
        run([sys.executable, "examples/narrow_valley.py", str(valley)])
        drawn = {"exercises-valley.png": valley.read_bytes()}
        for name, (axis, figure) in COMPARISONS.items():
            (line,) = re.findall(rf"^gradlab (compare --over {axis} .*)$", page, re.MULTILINE)
            output = Path(folder, axis)
            run([sys.executable, "-m", "gradlab", *shlex.split(line), "--output", str(output)])
            drawn[name] = (output / figure).read_bytes()
    return drawn


def described(page: str) -> str:
    r"""Set the alternative text of each picture to the title of its section.

    Examples
    --------
    >>> described("# Title\n## Digits\n![png](output_1_0.png)").splitlines()[-1]
    '![Figure: Digits](output_1_0.png)'
    """
    title, lines = "", []
    for line in page.splitlines():
        if heading := re.match(r"#+ (?:\d+\. )?(.+)", line):
            title = heading[1]
        lines.append(line.replace("![png]", f"![Figure: {title}]"))
    return "\n".join(lines)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace comments such as ``<!-- gradlab train --help -->`` by the command's help."""
    return re.sub(r"<!-- gradlab (\w+) --help -->", lambda verb: helped(verb[1]), markdown)


def helped(verb: str) -> str:
    """Return the output of ``gradlab VERB --help`` as a Markdown block."""
    run = subprocess.run(
        [sys.executable, "-m", "gradlab", verb, "--help"],
        capture_output=True, check=True, encoding="utf-8",
        env=os.environ | {"COLUMNS": "88", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    lines = "\n".join(line.rstrip() for line in run.stdout.splitlines())
    return f"```text\n{lines.strip()}\n```"
