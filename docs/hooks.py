"""Pages that are made: the tutorial, the figures of the exercises, the command's help.

The tutorial is the notebook with its stored outputs, turned into Markdown; the figures are drawn by
an example and by commands that the page shows; the help is what the command prints.
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
"""For a figure, what `gradlab compare --over` compares, and the file that it writes."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page and its pictures."""
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
    r"""Name each picture by the section that it stands in, for those who do not see it.

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
    """Put the command's help where a page has a comment that asks for it."""
    return re.sub(r"<!-- gradlab (\w+) --help -->", lambda verb: helped(verb[1]), markdown)


def helped(verb: str) -> str:
    """Return what ``gradlab VERB --help`` prints, as a block of text."""
    run = subprocess.run(
        [sys.executable, "-m", "gradlab", verb, "--help"],
        capture_output=True, check=True, encoding="utf-8",
        env=os.environ | {"COLUMNS": "88", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    lines = "\n".join(line.rstrip() for line in run.stdout.splitlines())
    return f"```text\n{lines.strip()}\n```"
