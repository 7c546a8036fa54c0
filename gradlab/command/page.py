"""A page of findings and figures, in the form of the benchmarks' report."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab import outputs
from gradlab.bench import report
from gradlab.diagnosis import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_page(
    path: Path,
    *,
    title: str,
    lead: str,
    findings: Sequence[Finding],
    figures: Mapping[str, Callable[[], Figure]],
    environment: Mapping[str, Any],
) -> None:
    """Write a self-contained page: the findings as a table, and the figures below it."""
    table = {
        "title": "Findings",
        "columns": ["", "found", "remedy"],
        "right": [False] * 3,
        "rows": [[found.about, found.text, found.remedy] for found in findings],
    }
    told = "<br>".join(map(escape, report.environment_lines(environment)))
    body = f"""<header>
<h1>{escape(title)}</h1>
<p class="headline">{escape(lead)}</p>
</header>
<main>
{report.body(table)}
{"".join(report.figure(_svg(draw()), name) for name, draw in figures.items())}
<p class="environment">{told}</p>
</main>"""
    outputs.write(path, report.document(title, body).encode())


def _svg(figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="svg")
    return picture.getvalue().decode()
