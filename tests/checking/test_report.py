"""A report starts with the verdict, fits its width, and is readable by people and programs."""

import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import gradlab
from gradlab.checking.kinks import NOT_JOINT_NOTE, OUTSIDE_NOTE
from gradlab.checking.report import GradientReport
from gradlab.checking.result import VERDICTS, Entry, Leaf, worst
from gradlab.checking.tables import MAX_SHOWN, render
from gradlab.errors import GradientMismatchError

CAUSE = "wrong before encoder.block[11].W, right from there on: the derivative of an activation?"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SIZES = st.floats(1e-300, 1e300)
NAMES = st.sampled_from(
    ["W1", "b", "params", "가중치", "layers[0]['a key']", "encoder.block[11].W"]
)
NOTES = st.sampled_from(
    [
        "",
        *(f"slopes -1.23457e-05 and -1.23457e-05: {why}" for why in (OUTSIDE_NOTE, NOT_JOINT_NOTE)),
    ]
)


@st.composite
def entries(draw):
    index = tuple(draw(st.lists(st.integers(0, 9999), max_size=3)))
    value, error = draw(st.tuples(NUMBERS, SIZES) | st.just((math.nan, math.inf)))
    verdict = draw(st.sampled_from(VERDICTS))
    analytic = draw(NUMBERS | st.sampled_from([math.nan, math.inf]))
    return Entry(draw(NAMES), index, analytic, value, error, error, verdict, draw(NOTES))


@st.composite
def reports(draw):
    found = draw(st.lists(entries(), max_size=12))
    paths = sorted({entry.path for entry in found} | set(draw(st.lists(NAMES, min_size=1))))
    causes = st.sampled_from(["", "the wrong sign", CAUSE])
    mode = draw(st.sampled_from(["entries", "directional"]))
    own = st.sampled_from(VERDICTS if mode == "directional" else ["agree"])
    leaves = [
        Leaf(path, (3,), worst([draw(own), *verdicts]), len(verdicts), draw(causes))
        for path in paths
        for verdicts in [[entry.verdict for entry in found if entry.path == path]]
    ]
    size = len(found) + draw(st.integers(0, 10**6)) * (mode == "directional")
    return GradientReport(
        worst(leaf.verdict for leaf in leaves),
        tuple(found),
        tuple(leaves),
        mode,
        draw(st.sampled_from([0.0, 1e-9, 3e5, math.inf])),
        size,
        evaluations=12345,
        seconds=0.5,
        notes=tuple(draw(st.lists(st.just(f"{paths[0]} is wrong as a whole"), max_size=1))),
    )


def report_of(*entries, mode="entries", **rest):
    leaves = tuple(
        Leaf(path, (9,), worst(e.verdict for e in entries if e.path == path), 1)
        for path in {entry.path: None for entry in entries}
    )
    verdict = worst(entry.verdict for entry in entries)
    rest = {"resolution": 1e-9, "size": len(entries), "evaluations": 99, "seconds": 0.1} | rest
    return GradientReport(verdict, entries, leaves, mode, **rest)


def printed(report, width):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, force_jupyter=False).print(report)
    return out.getvalue().splitlines()


WRONG = Entry("W1", (2, 3), 3.0, 2.0, 1e-9, 2e-9, "mismatch")
RIGHT = Entry("b1", (0,), 1.0, 1.0, 1e-9, 2e-9, "agree")
KINK = Entry("b1", (1,), 0.0, 0.5, 0.5, 0.5, "kink", "slopes 0 and 1")
BLIND = Entry("b1", (2,), 0.5, 0.0, 3.0, 3.0, "inconclusive", "an error below 3 would not be seen")


# How it reads


@pytest.mark.parametrize("width", [80, 100])
@given(report=reports())
def test_every_line_fits_and_ends_without_blanks(width, report):
    lines = printed(report, width)
    rendered = list(render(report, Console(), width))
    assert all(line.cell_len <= width for line in rendered)
    assert len(lines) == len(rendered)  # none is broken in two
    assert all(line == line.rstrip() for line in lines)
    assert lines[0].startswith(f"{report.verdict}: ")


@given(reports())
def test_the_last_lines_describe_the_check(report):
    at = str(report).splitlines()
    assert at[-1] == "cost        12,345 evaluations of the loss, 0.5 s"
    looked = next(line for line in at if line.startswith("one by one"))
    assert all(f"{count} {verdict}" in looked for verdict, count in report.counts.items())
    assert any(line.startswith("resolves") for line in at) == bool(report.resolution)


@given(reports())
def test_wrong_entries_are_shown_or_counted(report):
    text = str(report)
    wrong = report.mismatches
    assert all(entry.name in text for entry in wrong[:MAX_SHOWN])
    if len(wrong) > MAX_SHOWN:
        assert f"… and {len(wrong) - MAX_SHOWN} more" in text
    if wrong:  # and nothing distracts from them
        names = {entry.name for entry in wrong}
        others = [e.name for e in report.entries if e.name not in names and len(e.index) > 1]
        assert not any(name in text for name in others)


def test_a_whole_report():
    report = report_of(WRONG, RIGHT)
    assert (
        str(report)
        == """\
mismatch: 1 of 2 entries of the gradient is wrong

entry     gradient  slope of the loss  ratio
W1[2, 3]         3          2 ± 1e-09    1.5

one by one  all 2 entries: 1 mismatch, 1 agree
resolves    relative errors from 1e-09 up, in the median entry
cost        99 evaluations of the loss, 0.1 s"""
    )


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([RIGHT], "agree: the gradient is that of the loss"),
        ([RIGHT, KINK], "kink: the gradient is a valid choice"),
        ([RIGHT, BLIND], "inconclusive: the loss is not precise enough to measure its slope"),
        ([WRONG, RIGHT, BLIND], "mismatch: 1 of 3 entries of the gradient is wrong"),
        ([WRONG, WRONG, RIGHT], "mismatch: 2 of 3 entries of the gradient are wrong"),
        ([WRONG, WRONG], "mismatch: all 2 entries of the gradient are wrong"),
        ([WRONG], "mismatch: the one entry of the gradient is wrong"),
    ],
)
def test_the_headline_counts(entries, says):
    report = report_of(*entries)
    assert str(report).startswith(says)
    assert says in repr(report)


def test_an_inconclusive_report_says_what_to_do():
    text = str(report_of(RIGHT, BLIND))
    assert "evaluate it in float64" in text
    assert "an error below 3 would not be seen" in text


def test_numbers_that_differ_in_the_eighth_digit_show_the_difference():
    near = Entry("w", (), 1 + 3e-8, 1.0, 1e-12, 1e-12, "mismatch")
    assert "1 + 3e-08" in str(report_of(near))


def test_leaves_with_the_same_cause_share_a_line():
    leaves = tuple(Leaf(path, (2,), "mismatch", 2, "the wrong sign") for path in ("W1", "b1"))
    report = GradientReport("mismatch", (WRONG,), leaves, "directional", 0.0, 5, 9, 0.1)
    assert "mismatch: the gradient is wrong in W1 and b1\n  W1 and b1: the wrong sign" in str(
        report
    )


def test_long_names_stand_above_their_numbers():
    entry = Entry(
        "encoder.layers[11].attention.query.weight", (511, 511), 3.0, 2.0, 1e-9, 2e-9, "mismatch"
    )
    lines = printed(report_of(entry), 80)
    assert "encoder.layers[11].attention.query.weight[511, 511]" in lines
    assert any(line.split() == ["3", "2", "±", "1e-09", "1.5"] for line in lines)


def test_colours_only_in_a_terminal():
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="standard", width=80).print(
        report_of(WRONG)
    )
    assert "\x1b[1;31mmismatch" in out.getvalue()
    assert "\x1b" not in str(report_of(WRONG))


def test_notebooks_show_colours_and_escape_names():
    html = report_of(Entry("<script>", (1,), 3.0, 2.0, 1e-9, 2e-9, "mismatch"))._repr_html_()
    assert "font-family:monospace" in html  # or its columns would not line up
    assert html.startswith("<pre")
    assert "color: #d9363e" in html
    assert "<script>" not in html
    assert "&lt;script&gt;[1]" in html


# As data


@given(reports())
def test_json_has_the_whole_report(report):
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["verdict"] == report.verdict
    assert told["ok"] == report.ok
    assert len(told["entries"]) == len(report.entries)
    for told_entry, entry in zip(told["entries"], report.entries, strict=True):
        assert told_entry["name"] == entry.name
        wanted = entry.numerical if math.isfinite(entry.numerical) else None
        assert told_entry["numerical"] == wanted


def test_only_a_mismatch_raises():
    for entry in (RIGHT, KINK, BLIND):
        report_of(entry).raise_for_mismatch()
    with pytest.raises(GradientMismatchError, match=r"W1\[2, 3\]") as raised:
        report_of(WRONG).raise_for_mismatch()
    assert raised.value.report.mismatches == (WRONG,)


# From a check


def test_few_wrong_entries_of_a_large_leaf_are_named():
    """Most random parts of the leaf contain one of them, but most entries are right."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((60, 40)), rng.standard_normal((60, 40))
    for count in (1, 6, 9):
        gradient = np.cos(w * x) * x
        wrong = rng.permutation(w.size)[:count]
        gradient.reshape(-1)[wrong] *= -1
        report = gradlab.check_gradients(lambda w: np.sin(w * x).sum(), w, gradient=gradient)
        places = {(int(i // 40), int(i % 40)) for i in wrong}
        assert {entry.index for entry in report.mismatches} == places
        assert not report.notes


def test_a_flat_loss_agrees_with_no_claim_that_it_could_not_show():
    """Values of 1e18 + sin x only show that the slope is below some thousands."""

    def loss(x):
        return 1e18 + np.sin(x).sum()

    x = np.array([0.7, 1.3])
    for claimed in (np.cos(x), 50 * np.cos(x)):
        report = gradlab.check_gradients(loss, x, gradient=claimed)
        assert report.verdict == "inconclusive"
    assert gradlab.check_gradients(loss, x, gradient=np.zeros(2)).verdict == "agree"


# In notebooks


def luminance(colour):
    """Return the relative luminance (WCAG 2.1) of a colour such as #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("page", ["#ffffff", "#111111"], ids=["light", "dark"])
def test_notebooks_of_both_kinds_show_colours_that_can_be_read(verdict, page):
    html = report_of(Entry("w", (1,), 3.0, 2.0, 1e-9, 2e-9, verdict))._repr_html_()
    assert "background" not in html
    colours = set(re.findall(r"(?<!-)color: (#\w{6})", html))
    assert len(colours) >= 2  # those of the verdict, and of dim text
    for colour in colours:
        low, high = sorted([luminance(colour), luminance(page)])
        assert (high + 0.05) / (low + 0.05) >= 4


@pytest.mark.parametrize("off", [3e-8, 9.5e-6, 9e-5])
def test_the_report_says_which_allowance_accepts_a_small_error(off):
    def loss(w):
        return np.sum(np.sin(w))

    def gradient(w):
        return np.cos(w) * (1 + off * np.array([1, -1, 0.5]))

    w = np.array([0.1, 0.2, 0.3])
    report = gradlab.check_gradients(loss, w, gradient=gradient)
    assert report.verdict == "mismatch"
    (allow,) = re.findall(r"allow a relative error of (\S+)", " ".join(str(report).split()))
    assert off < float(allow) <= 11 * off
    assert gradlab.check_gradients(loss, w, gradient=gradient, allow=float(allow)).ok


def test_the_report_of_a_large_error_suggests_no_allowance():
    report = gradlab.check_gradients(np.sum, np.ones(3), gradient=lambda w: 0 * w + [1, 1, 1.001])
    assert report.verdict == "mismatch"
    assert "allow" not in str(report)
