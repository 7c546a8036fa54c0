"""A report as a short table: the verdict first, then what one wants to know next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradlab.checking.report import Entry, GradientReport, Verdict

STYLES: dict[Verdict, str] = {
    "agree": "green",
    "kink": "cyan",
    "inconclusive": "yellow",
    "mismatch": "bold red",
}

SENTENCES: dict[Verdict, str] = {
    "agree": "the gradient is that of the loss, as far as error bars reach",
    "kink": "the gradient is a valid choice where the loss has a kink, and right elsewhere",
    "inconclusive": "the loss cannot resolve its slope well enough to tell",
    "mismatch": "the gradient is not that of the loss",
}

SHOWN = 8
"""So many entries at most are shown."""


def render(report: GradientReport) -> Iterator[Any]:
    """Yield what rich prints of a report."""
    from rich.table import Table
    from rich.text import Text

    style = STYLES[report.verdict]
    yield Text.assemble((report.verdict, style), f": {SENTENCES[report.verdict]}")
    for leaf in report.leaves:
        if leaf.cause:
            yield Text.assemble("  ", (leaf.path, "bold"), f": {leaf.cause}")
    for note in report.notes:
        yield Text(f"  {note}")
    rows = _telling(report)
    if rows:
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
        table.add_column("entry", no_wrap=True)
        for column in ("gradient", "slope of the loss", "ratio"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("")
        for entry in rows:
            table.add_row(
                Text(entry.name),
                f"{entry.analytic:.8g}",
                _with_bar(entry),
                _ratio(entry),
                Text(entry.verdict, STYLES[entry.verdict]),
                Text(entry.note),
            )
        yield table
    yield Text(_summary(report), "dim")


def _telling(report: GradientReport) -> list[Entry]:
    """Return the entries that explain the verdict: none but the wrong ones where there are some."""
    told = [e for e in report.most_telling(SHOWN) if e.verdict != "agree"]
    if report.verdict == "mismatch":
        told = [entry for entry in told if entry.verdict == "mismatch"]
    return told or report.most_telling(3)


def _with_bar(entry: Entry) -> str:
    if not entry.error < float("inf"):
        return "–"
    return f"{entry.numerical:.8g} ± {entry.error:.0e}"


def _ratio(entry: Entry) -> str:
    ratio = entry.ratio
    return "" if ratio != ratio or entry.verdict == "kink" else f"{ratio:.6g}"


def _summary(report: GradientReport) -> str:
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report.counts.items())
    every = "all" if report.mode == "entries" else f"{len(report.entries)} of"
    one_by_one = f"{every} {report.size:,} entries one by one" + (f": {counts}" if counts else "")
    seen = (
        f"; an error of {report.resolution:.0e} would have been seen" if report.resolution else ""
    )
    return f"{one_by_one}{seen}\n{report.evaluations:,} evaluations, {report.seconds:.3g} s"
