"""The tutorial as a page: the notebook with its stored outputs, turned into Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

NOTEBOOK = "examples/tutorial.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page and its pictures."""
    path = Path(config.config_file_path).parent / NOTEBOOK
    page, resources = MarkdownExporter().from_filename(str(path))
    pictures: dict[str, Any] = resources["outputs"]
    files.append(File.generated(config, "tutorial.md", content=described(page)))
    for name, picture in pictures.items():
        files.append(File.generated(config, name, content=picture))
    return files


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
