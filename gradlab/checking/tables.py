"""A report as text: the verdict first, then the details in order of interest.

The details are the wrong leaves with likely causes, the entries that show the errors, and last the
number of checked entries, the smallest detectable error, and the cost. Lines fit a given width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from gradlab.checking.causes import SMALL_ERROR
from gradlab.checking.result import Entry, Leaf, Result, Verdict

STYLES: dict[Verdict, str] = {
    "agree": "bold green",
    "kink": "bold cyan",
    "inconclusive": "bold yellow",
    "mismatch": "bold red",
}

MAX_SHOWN = 8
"""Largest number each of entries, leaves and notes that a report shows."""

ZERO_GRADIENT_MESSAGE = (
    "its gradient is zero; let the loss use its first argument instead of parameters of its own, "
    "or check at another point"
)

INCONCLUSIVE_ADVICE = (
    "evaluate it in float64, subtract a constant from it, or check at another point"
)


def headline(report: Result) -> str:
    """Return the meaning of the verdict in one sentence.

    Examples
    --------
    >>> headline(Result("agree", (), (), "directional", 1e-9, 5000, 900, 0.1))
    'the gradient is that of the loss, as far as the error bars reach'
    """
    if not report.size:
        return "there is nothing to check, because the parameters or outputs have no entries"
    what, of = report.what, report.of
    if report.constant:
        return (
            f"the {of} does not depend on its parameters: "
            "its value is the same at all points evaluated"
        )
    match report.verdict:
        case "agree":
            return f"the {what} {_verb(what)} that of the {of}, as far as the error bars reach"
        case "kink":
            return (
                f"the {what} {_verb(what)} a valid choice at kinks of the {of}, and right elsewhere"
            )
        case "inconclusive":
            return f"the {of} is not precise enough to measure its slope"
    wrong = len(report.mismatches)
    leaves = [leaf.path for leaf in report.leaves if leaf.verdict == "mismatch"]
    if not (wrong or leaves):
        return f"the {what} {'contradict each other' if ' and ' in what else 'contradicts itself'}"
    if report.mode == "entries":
        some = (
            f"{wrong:,} of {report.size:,} entries" if wrong < report.size else _all_entries(wrong)
        )
        return f"{some} of the {what} {'is' if wrong == 1 else 'are'} wrong"
    return f"the {what} {_verb(what)} wrong in {_listed(leaves)}"


def _verb(what: str) -> str:
    return "are" if " and " in what else "is"


def render(report: Result, console: Console, width: int) -> Iterator[Text]:
    """Yield the lines of a report, none of them wider than `width`."""

    def fitted(line: Text, indent: str = "") -> Iterator[Text]:
        for number, part in enumerate(line.wrap(console, width - len(indent) - 2)):
            part.rstrip()
            yield Text.assemble(indent, "  " if number else "", part)

    verdict = (report.verdict, STYLES[report.verdict])
    yield from fitted(Text.assemble(verdict, f": {headline(report)}"))
    told = [*_causes(report.leaves), *map(Text, (*report.notes, *_advice(report)))]
    for line in _capped(told, "more such lines"):
        yield from fitted(line, indent="  ")
    rows, left = _telling_entries(report)
    if rows:
        yield Text("")
        yield from _table(report, rows, width)
    if left:
        yield Text(f"… and {left:,} more", "dim")
    yield Text("")
    for name, text in _summary(report):
        yield Text.assemble((f"{name:10}  ", "dim"), text)


def _advice(report: Result) -> Iterator[str]:
    """Yield what to do next, if the verdict does not say it."""
    if report.constant:
        yield ZERO_GRADIENT_MESSAGE
    elif report.verdict == "inconclusive" and report.size:
        yield INCONCLUSIVE_ADVICE
    elif report.mismatches and report.difference and 0 < report.difference.relative <= SMALL_ERROR:
        share = 10.0 ** math.ceil(math.log10(1.1 * report.difference.relative))
        yield (
            "small errors: if the loss has a solver inside, or the derivative is an approximation, "
            f"allow a relative error of {share:.0e}"
        )


def _capped(lines: Sequence[Text], rest: str) -> list[Text]:
    over = len(lines) - MAX_SHOWN
    return [*lines[:MAX_SHOWN], Text(f"… and {over:,} {rest}", "dim")] if over > 0 else list(lines)


def _causes(leaves: Sequence[Leaf]) -> list[Text]:
    """Return the causes, each with the leaves that it applies to."""
    paths: dict[str, list[str]] = {}
    for leaf in leaves:
        if leaf.cause:
            paths.setdefault(leaf.cause, []).append(leaf.path)
    return [Text.assemble((_listed(paths[cause]), "bold"), f": {cause}") for cause in paths]


def _listed(names: Sequence[str]) -> str:
    """Return names separated by commas; long lists are shortened.

    Examples
    --------
    >>> _listed(["W1"]), _listed(["W1", "b1", "W2"]), _listed(list("abcdefgh"))
    ('W1', 'W1, b1 and W2', 'a, b, c, d and 4 more leaves')
    """
    shown = list(names) if len(names) <= 6 else [*names[:4], f"{len(names) - 4} more leaves"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _all_entries(size: int) -> str:
    return "the one entry" if size == 1 else f"all {size:,} entries"


# The entries


def _telling_entries(report: Result) -> tuple[list[Entry], int]:
    """Return the entries that explain the verdict, and the number of further ones.

    They are the wrong entries if there are any, else those that do not agree, else a few.
    """
    shown = {"mismatch"} if report.verdict == "mismatch" else {"inconclusive", "kink"}
    count = sum(entry.verdict in shown for entry in report.entries)
    if not count:
        return [] if report.verdict == "mismatch" else report.most_telling(3), 0
    told = [entry for entry in report.most_telling(MAX_SHOWN) if entry.verdict in shown]
    return told, count - len(told)


def _table(report: Result, entries: Sequence[Entry], width: int) -> Iterator[Text]:
    """Yield aligned rows, with notes beside or below them, and long names above the numbers."""
    what, of = report.what, report.of
    columns = {
        "entry": [Text(e.name) for e in entries],
        what if len(what) < 9 else "claimed": [Text(f"{e.analytic:.8g}") for e in entries],
        f"slope of the {of}": [_with_bar(e) for e in entries],
        "ratio": [_ratio(e) for e in entries],
    }
    if not any(columns["ratio"]):
        del columns["ratio"]
    if len({entry.verdict for entry in entries}) > 1:
        columns["verdict"] = [Text(e.verdict, STYLES[e.verdict]) for e in entries]
    rows = [[Text(title) for title in columns], *map(list, zip(*columns.values(), strict=True))]
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    stacked = sum(widths) + 2 * (len(widths) - 1) > width
    notes = ["", *(entry.note for entry in entries)]
    for (name, *numbers), note in zip(rows, notes, strict=True):
        for cell, wide, title in zip(numbers, widths[1:], list(columns)[1:], strict=True):
            if title != "verdict":
                cell.pad_left(wide - cell.cell_len)
        if stacked:
            yield name
            name = Text("")
        else:
            name.pad_right(widths[0] - name.cell_len)
        line = Text("  ").join([name, *numbers])
        if note and line.cell_len + 2 + cell_len(note) <= width:
            line = Text.assemble(line, "  ", note)
            note = ""
        line.rstrip()
        yield line
        if note:
            yield Text(f"    {note}")


def _with_bar(entry: Entry) -> Text:
    """Format a measured value and its error bar with the significant digits.

    Examples
    --------
    >>> str(_with_bar(Entry("w", (), 0.0, 0.123456789, 2.1e-4, 0.0, "agree")))
    '0.12346 ± 0.0002'
    """
    value, error = entry.numerical, entry.error
    if not math.isfinite(error):
        return Text("–")
    digits = 8
    if value and error:
        digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2
    shown = f"{value:.{min(max(digits, 2), 8)}g}"
    return Text(f"{shown} ± {error:.0f}" if 1 <= error < 1e4 else f"{shown} ± {error:.1g}")


def _ratio(entry: Entry) -> Text:
    """Format the ratio of the claimed to the measured value, if it is known.

    Examples
    --------
    >>> def ratio(analytic, verdict):
    ...     return str(_ratio(Entry("w", (), analytic, 1.0, 1e-9, 1e-9, verdict)))
    >>> ratio(-1.5, "mismatch"), ratio(1 + 2e-8, "mismatch"), ratio(1.0, "agree")
    ('-1.5', '1 + 2e-08', '1')
    """
    ratio = entry.ratio
    known = abs(entry.numerical) > entry.error and entry.verdict != "kink"
    if not known or not math.isfinite(ratio):
        return Text("")
    off = ratio - 1
    if entry.verdict == "mismatch" and abs(off) < 1e-4:
        return Text(f"1 {'+' if off > 0 else '-'} {abs(off):.1g}")
    return Text(f"{ratio + 0.0:.6g}" if ratio else "0")


# The last lines


def _summary(report: Result) -> Iterator[tuple[str, str]]:
    counts = ", ".join(f"{number:,} {verdict}" for verdict, number in report.counts.items())
    looked_at = _all_entries(report.size)
    if report.mode == "directional":
        yield "directions", f"through {looked_at}"
        looked_at = f"{len(report.entries):,} of {report.size:,} entries"
    yield "one by one", looked_at + (f": {counts}" if counts else "")
    if report.difference:
        relative, name = report.difference
        differs = f"by relative errors up to {relative:.1g}, at {name}"
        yield "differs", differs if relative else "nowhere"
    if report.resolution:
        yield "resolves", _resolution_text(report.resolution)
    yield "cost", f"{report.evaluations:,} evaluations of the {report.of}, {report.seconds:.2g} s"


def _resolution_text(resolution: float) -> str:
    """Describe the smallest error that would have been detected."""
    if not math.isfinite(resolution):
        return "nothing"
    if resolution < 1:
        return f"relative errors from {resolution:.1g} up, in the median entry"
    return f"errors from {resolution:.1g} times the gradient up, in the median entry"
