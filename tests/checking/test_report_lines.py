"""Single lines of a report: which entries it shows, in which order, and with how many digits."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.console import Console

from gradlab.checking.result import Difference, Entry, Leaf, Result, Verdict
from gradlab.checking.tables import MAX_SHOWN, headline, render


def entry(
    verdict: Verdict = "mismatch",
    analytic: float = 2.0,
    numerical: float = 1.0,
    error: float = 1e-8,
    name: str = "w",
    note: str = "",
) -> Entry:
    return Entry(name, (), analytic, numerical, error, 2 * error, verdict, note)


LEAF = Leaf("W", (2,), "mismatch", 2, "2 times too large")


def report(*entries: Entry, verdict: Verdict = "mismatch", **options: Any) -> Result:
    settings: dict[str, Any] = {"mode": "entries", "resolution": 1e-9, "size": len(entries) or 5}
    settings |= {"evaluations": 12_345, "seconds": 0.123, "leaves": ()} | options
    return Result(verdict, entries, **settings)


def lines(result: Result, width: int = 200) -> list[str]:
    return [str(line) for line in render(result, Console(width=width), width)]


def rows(result: Result, width: int = 200) -> list[list[str]]:
    """Return the cells of the table of entries."""
    found = lines(result, width)
    first = next(k for k, line in enumerate(found) if line.startswith("entry"))
    return [line.split() for line in found[first : found.index("", first)]]


def test_entries_are_sorted_by_verdict_then_by_distance() -> None:
    near, far = entry(analytic=1.1, name="near"), entry(analytic=3.0, name="far")
    kink, blind = entry("kink", name="kink"), entry("inconclusive", name="blind")
    result = report(kink, near, blind, far, entry("agree", name="fine"))
    assert [e.name for e in result.mismatches] == ["far", "near"]
    assert [e.name for e in result.most_telling()] == ["far", "near", "blind", "kink", "fine"]
    assert len(report(*[near] * 9).most_telling()) == 5
    assert list(result.counts.items()) == [
        ("mismatch", 2), ("inconclusive", 1), ("kink", 1), ("agree", 1)
    ]  # fmt: skip


def test_excess_counts_tolerances() -> None:
    assert entry(analytic=1.5, error=0.1).excess == pytest.approx(2.5)
    assert Entry("w", (), 1.0, 1.0, 0.0, 0.0, "agree").excess == 0.0
    assert Entry("w", (), 2.0, 1.0, 0.0, 0.0, "mismatch").excess == math.inf
    assert math.isnan(entry(numerical=0.0).ratio)


@pytest.mark.parametrize(
    ("numerical", "error", "shown"),
    [
        (1.23456789123, 1e-12, "1.2345679 ± 1e-12"),  # never more than eight digits
        (1.23456789, 2e-3, "1.2346 ± 0.002"),
        (1.23456789, 3.0, "1.2 ± 3"),  # never fewer than two
        (1234.5678, 1.0, "1234.6 ± 1"),
        (123456.78, 9999.0, "1.235e+05 ± 9999"),
        (123456.78, 10000.0, "1.23e+05 ± 1e+04"),
        (0.0, 1e-3, "0 ± 0.001"),
        (-0.00123456, 0.5, "-0.0012 ± 0.5"),
        (1.0, math.inf, "–"),
    ],
)
def test_a_slope_is_written_with_its_known_digits(
    numerical: float, error: float, shown: str
) -> None:
    table = rows(report(entry(numerical=numerical, error=error)))
    assert " ".join(table[1][2 : 2 + len(shown.split())]) == shown


@pytest.mark.parametrize(
    ("analytic", "verdict", "shown"),
    [
        (2.0, "mismatch", "2"),
        (-0.5, "mismatch", "-0.5"),
        (1 + 9e-5, "mismatch", "1 + 9e-05"),
        (1 - 9e-5, "mismatch", "1 - 9e-05"),
        (1 + 2e-4, "mismatch", "1.0002"),
        (0.0, "mismatch", "0"),
        (2.0, "kink", ""),
        (math.inf, "mismatch", ""),
    ],
)
def test_a_ratio_is_written_if_it_is_known(analytic: float, verdict: Verdict, shown: str) -> None:
    found = rows(report(entry(verdict, analytic), verdict=verdict))
    assert " ".join(found[1][5:]) == shown
    assert ("ratio" in found[0]) == bool(shown)


def test_no_ratio_to_a_slope_within_its_error() -> None:
    assert "ratio" not in rows(report(entry(numerical=0.1, error=0.2)))[0]
    assert "ratio" in rows(report(entry(numerical=0.2, error=0.1)))[0]


def test_a_mismatch_shows_only_wrong_entries() -> None:
    """Other verdicts show the entries that do not agree; a right gradient shows three entries."""
    some = [entry("agree", 1.0, name="a"), entry("kink", 1.0, name="b")]
    wrong = entry(name="c")
    assert [row[0] for row in rows(report(*some, wrong))[1:]] == ["c"]
    assert [row[0] for row in rows(report(*some, verdict="kink"))[1:]] == ["b"]
    assert len(rows(report(*[some[0]] * 9, verdict="agree"))) == 1 + 3
    assert not any(line.startswith("entry") for line in lines(report(*some)))


def test_omitted_lines_are_counted() -> None:
    result = report(*[entry()] * (MAX_SHOWN + 3))
    assert len(rows(result)) == 1 + MAX_SHOWN + 1
    assert "… and 3 more" in lines(result)
    assert "… and" not in str(lines(report(*[entry()] * MAX_SHOWN)))
    notes = [f"note {k}" for k in range(MAX_SHOWN + 2)]
    found = lines(report(entry(), notes=tuple(notes)))
    assert "  note 7" in found
    assert "  … and 2 more such lines" in found
    assert "  note 8" not in found


def test_verdicts_and_notes_stand_beside_the_numbers_if_there_is_room() -> None:
    blind, kink = entry("inconclusive", name="b"), entry("kink", name="k", note="slopes 0 and 1")
    table = rows(report(blind, kink, verdict="inconclusive"))
    assert table[0][-1] == "verdict"
    assert table[1][-1] == "inconclusive"
    assert "verdict" not in rows(report(blind, verdict="inconclusive"))[0]
    wide = lines(report(kink, verdict="kink"))
    line = next(k for k, text in enumerate(wide) if text.startswith("k "))
    assert wide[line].endswith("slopes 0 and 1")
    narrow = lines(report(kink, verdict="kink"), width=len(wide[line]) - 1)
    line = next(k for k, text in enumerate(narrow) if text.startswith("k "))
    assert narrow[line : line + 2] == ["k             2          1 ± 1e-08", "    slopes 0 and 1"]


def test_long_names_stand_above_their_numbers() -> None:
    result = report(entry(name="n" * 40))
    wide = lines(result)
    row = next(text for text in wide if text.startswith("nnn"))
    assert "±" in row
    narrow = lines(result, width=len(row) - 1)
    assert "n" * 40 in narrow
    assert lines(result, width=len(row)).count("n" * 40) == 0


def test_the_end_says_what_was_examined() -> None:
    end = lines(report(entry(), entry("agree"), difference=Difference(0.25, "w")))[-4:]
    assert end == [
        "one by one  all 2 entries: 1 mismatch, 1 agree",
        "differs     by relative errors up to 0.2, at w",
        "resolves    relative errors from 1e-09 up, in the median entry",
        "cost        12,345 evaluations of the loss, 0.12 s",
    ]
    end = lines(report(entry(), mode="directional", size=5000, resolution=0.0, leaves=(LEAF,)))[-3:]
    assert end == [
        "directions  through all 5,000 entries",
        "one by one  1 of 5,000 entries: 1 mismatch",
        "cost        12,345 evaluations of the loss, 0.12 s",
    ]
    assert "resolves    nothing" in lines(report(entry(), resolution=math.inf))
    assert "resolves    errors from 1 times the gradient up, in the median entry" in lines(
        report(entry(), resolution=1.0)
    )


def test_headlines() -> None:
    one = entry()
    fine = Leaf("b", (2,), "agree", 2)
    told = {
        headline(
            report(size=0)
        ): "there is nothing to check, because the parameters or outputs have no entries",
        headline(report(one)): "the one entry of the gradient is wrong",
        headline(report(one, one)): "all 2 entries of the gradient are wrong",
        headline(report(one, one, size=7)): "2 of 7 entries of the gradient are wrong",
        headline(report(one, size=7)): "1 of 7 entries of the gradient is wrong",
        headline(report(one, mode="directional", leaves=(LEAF, fine))): (
            "the gradient is wrong in W"
        ),
        headline(report(what="vjp")): "the vjp contradicts itself",
        headline(report(what="vjp and jvp")): "the vjp and jvp contradict each other",
    }
    assert all(found == expected for found, expected in told.items()), told


def test_a_cause_is_stated_once_for_all_its_leaves() -> None:
    leaves = [Leaf(name, (2,), "mismatch", 2, "the wrong sign") for name in "abc"]
    leaves.append(Leaf("d", (2,), "mismatch", 2))
    told = lines(report(entry(), leaves=tuple(leaves)))
    assert told[1] == "  a, b and c: the wrong sign"
    assert told[2] == ""


def test_continued_lines_are_indented() -> None:
    told = lines(report(entry(), notes=("word " * 20,)), width=40)
    assert all(len(line) <= 40 for line in told[:5])
    assert told[2].startswith("  word")
    assert told[3].startswith("    word")
