"""A report as one self-contained HTML page: no scripts, no requests, no fonts.

Numbers and error messages are escaped, and a content policy in the page allows only its own style
and pictures. Figures are inlined as SVG.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gradlab.bench.scripts import ScriptResult

STYLESHEET = Path(__file__).with_name("report.css")

FIGURE_SCALE = 1.2
"""Factor by which figures are enlarged: they are drawn for phones."""

CONTENT_SECURITY_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(outcomes: Sequence[ScriptResult], summary: Mapping[str, Any]) -> str:
    """Return the page; the summary is that of `gradlab.bench.running.summarise`."""
    done = sum(outcome.state == "done" for outcome in outcomes)
    told = environment_lines(summary["environment"])
    quick = " A quick run: fewer rounds, wider errors." if summary["quick"] else ""
    body = f"""<header>
<h1>What gradients cost, and how right they are</h1>
<p>gradlab’s benchmarks, {escape(summary["started"])}: {done} of {len(outcomes)} done.{quick}</p>
<p class="environment">{"<br>".join(map(escape, told))}</p>
<p>Read the ratios, not the seconds: contenders took turns in one process, and a ratio compares
neighbours in time. Shown are medians.</p>
</header>
<main>
{overview(outcomes)}
{"".join(map(section, outcomes))}</main>"""
    return document(f"gradlab bench, {summary['started']}", body)


def document(title: str, body: str) -> str:
    """Return a page with this body, which is HTML; it may load nothing."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{STYLESHEET.read_text(encoding="utf-8")}</style>
</head>
<body>
{body}
</body>
</html>
"""


def environment_lines(described: Mapping[str, Any]) -> list[str]:
    """Describe an environment in two lines: machine, then packages.

    Examples
    --------
    >>> environment_lines({"python": "3.12.1", "system": "Linux", "machine": "x86_64", "cores": 2,
    ...                    "numpy": "2.4.6", "jax": "0.7"})
    ['Python 3.12.1, Linux x86_64, 2 cores', 'numpy 2.4.6, jax 0.7']
    """
    machine = ("python", "system", "machine", "cores")
    packages = ", ".join(f"{k} {v}" for k, v in described.items() if k not in machine)
    python, system, kind, cores = (described[name] for name in machine)
    return [f"Python {python}, {system} {kind}, {cores} cores", packages]


def overview(outcomes: Sequence[ScriptResult]) -> str:
    """Lay out one row per benchmark with its headline, or why there is none."""
    rows = []
    for outcome in outcomes:
        name = escape(outcome.name)
        linked = f'<a href="#{name}">{name}</a>' if outcome.numbers else name
        absent = "".join(
            f"<br>without {escape(peer)}, which is not installed: <code>{escape(remedy)}</code>"
            for peer, remedy in outcome.missing.items()
        )
        seconds = f"{outcome.seconds:.0f} s" if outcome.seconds else ""
        rows.append(
            f'<tr class="{outcome.state.replace(" ", "-")}"><th scope="row">{linked}</th>'
            f"<td>{escape(outcome.headline)}<small>{absent}</small></td>"
            f'<td class="number">{seconds}</td></tr>'
        )
    heads = '<th>benchmark</th><th>what came out</th><th class="number">took</th>'
    return (
        f'<div class="scroll"><table class="overview"><thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def section(outcome: ScriptResult) -> str:
    """Lay out a finished benchmark: question, headline, figure and table."""
    if outcome.numbers is None:
        return ""
    table = outcome.numbers["table"]
    notes = "".join(f"<li>{escape(line)}</li>" for line in table["notes"].splitlines())
    picture = figure(outcome.figure, f"{outcome.name}: {outcome.headline}")
    return f"""<section id="{escape(outcome.name)}">
<div class="lead">
<h2>{escape(outcome.name)}</h2>
<p class="question">{escape(outcome.question)}</p>
<p class="headline">{escape(outcome.headline)}</p>
{picture}
</div>
{body(table)}
<ul class="notes">{notes}</ul>
</section>
"""


def figure(svg: str | None, alternative: str) -> str:
    """Inline a picture, at most as wide as the page and a fifth wider than drawn."""
    if svg is None:
        return ""
    width = re.search(r'<svg[^>]*?\swidth="([\d.]+)pt"', svg)
    style = f' style="--width: {float(width[1]) * 96 / 72 * FIGURE_SCALE:.0f}px"' if width else ""
    data = b64encode(svg.encode("utf-8")).decode("ascii")
    return (
        f'<figure><img{style} alt="{escape(alternative)}" '
        f'src="data:image/svg+xml;base64,{data}"></figure>'
    )


def body(table: Mapping[str, Any]) -> str:
    """Lay out a benchmark's table; indented rows belong to the row above them."""
    classes = [' class="number"' if right else "" for right in table["right"]]
    heads = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for kind, name in zip(classes, table["columns"], strict=True)
    )
    rows = []
    for cells in table["rows"]:
        first, *rest = cells
        indented = ' class="indented"' if first.startswith(" ") else ""
        told = "".join(
            f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(classes[1:], rest, strict=True)
        )
        absent = ' class="absent"' if "not installed" in rest else ""
        rows.append(
            f'<tr{absent}><th scope="row"{indented}>{escape(first.strip())}</th>{told}</tr>'
        )
    return (
        f'<div class="scroll"><table><caption>{escape(table["title"])}</caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )
