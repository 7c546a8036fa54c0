"""The search for wrong entries under a direction that fails, and the verdict on the rest."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab.checking import directions
from gradlab.checking.directions import Walk, _is_dense, _with_rest, search
from gradlab.checking.jacobian import DerivativeEntry
from gradlab.checking.jacobian_causes import _of_block
from gradlab.checking.jacobian_directions import _with_pair, culprits, resolved, spread, trace
from gradlab.checking.result import Leaf, Verdict
from gradlab.gradients.slopes import Bar, Slope

# Outputs and parameters of a Jacobian


class Searched:
    """A claim that is wrong at some pairs (output, parameter), as exact directions show."""

    def __init__(self, wrong: Iterable[tuple[int, int]]) -> None:
        self.wrong, self.rng = set(wrong), np.random.default_rng(0)
        self.function = SimpleNamespace(evaluations=0, name=lambda i: f"y[{i}]")

    def pair(self, outputs: Any, entries: Any) -> Any:
        count = sum((i, j) in self.wrong for i in outputs for j in entries)
        return SimpleNamespace(outputs=outputs, entries=entries, excess=count, fails=count > 0)

    def part(self, pair: Any, side: str, which: Any) -> Any:
        self.function.evaluations += 10
        own = {"outputs": pair.outputs, "entries": pair.entries}
        own[side] = own[side][which]
        return self.pair(**own)


def traced(wrong: Iterable[tuple[int, int]], q: int = 12, p: int = 40) -> tuple[Any, str, int]:
    """Return the named pairs, the verdict on the rest, and the number of evaluations."""
    made: Any = Searched(wrong)
    named, remark = trace(made, made.pair(np.arange(q), np.arange(p)))
    return named, remark, made.function.evaluations


@pytest.mark.parametrize("wrong", [{(3, 17)}, {(0, 0)}, {(11, 39)}, {(2, 5), (2, 30), (9, 5)}])
def test_few_wrong_entries_are_all_named(wrong: Any) -> None:
    named, remark, evaluations = traced(wrong)
    assert (named, remark) == (wrong, "")
    # Two halves per level: 4 levels for each wrong output, 6 for each wrong parameter.
    assert evaluations <= 10 * (8 + 2 * (4 + 6) * len(wrong)) * 2


def test_four_outputs_and_eight_parameters_of_each_are_named() -> None:
    named, remark, _ = traced({(i, 7) for i in range(6)})
    assert len(named) == 4
    assert remark == "is wrong in more entries than are named here"
    named, remark, _ = traced({(3, j) for j in range(0, 40, 4)}, p=40)
    assert len({j for _, j in named}) == 8
    assert remark == "is wrong in more entries than are named here"


def test_faults_in_most_entries_are_sampled_instead() -> None:
    q, p = 30, 40
    everywhere = {(i, j) for i in range(q) for j in range(p)}
    named, remark, evaluations = traced(everywhere, q, p)
    assert remark == "is wrong as a whole: most of its random parts fail"
    assert len(named) == 2 * 2
    assert evaluations == 10 * (8 + 2 * 8)
    _, remark, _ = traced({(i, 7) for i in range(q)}, q, p)
    assert remark == "is wrong in most outputs"
    _, remark, _ = traced({(4, j) for j in range(p)}, q, p)
    assert remark == "is wrong in y[4] by most parameters"


def test_a_fault_that_neither_half_shows_is_too_small_to_name() -> None:
    made: Any = Searched(())
    failed = made.pair(np.arange(4), np.arange(4))
    failed.fails, failed.excess = True, 1.5
    assert trace(made, failed) == (set(), "is wrong, by too little in each entry to name one")


def test_culprits_are_sampled_only_among_more_than_sixteen() -> None:
    """With fewer, all are examined: four of eight failures are a majority."""
    few: Any = Searched({(i, 0) for i in range(16)})
    found, dense, complete = culprits(few, few.pair(np.arange(16), np.arange(1)), "outputs", 99)
    assert (len(found), dense, complete) == (16, False, True)
    many: Any = Searched({(i, 0) for i in range(17)})
    found, dense, complete = culprits(many, many.pair(np.arange(17), np.arange(1)), "outputs", 99)
    assert (len(found), dense, complete) == (2, True, True)
    half: Any = Searched({(i, 0) for i in range(0, 40, 8)})  # 5 of 40: rarely 4 of 8
    found, dense, _ = culprits(half, half.pair(np.arange(40), np.arange(1)), "outputs", 99)
    assert (len(found), dense) == (5, False)


def test_a_search_ends_after_too_many_evaluations() -> None:
    """The limit is a hundred evaluations for each halving of all entries, and for ten more."""
    made: Any = Searched({(0, j) for j in range(0, 4096, 8)})
    before = made.pair(np.arange(1), np.arange(4096))
    found, dense, complete = culprits(made, before, "entries", 10**6)
    assert not dense
    assert not complete
    assert 2200 <= made.function.evaluations <= 2200 + 20 + 80
    assert len(found) < 4096 // 8


def measured(kind: Any = "smooth", value: float = 2.0, error: float = 0.1) -> Slope:
    return Slope(value, error, kind, Bar(value - 1, error), Bar(value + 1, error))


def pair(verdict: Verdict = "agree", tolerance: float = 0.1, size: float = 4.0, **more: Any) -> Any:
    return SimpleNamespace(
        verdict=verdict, fails=verdict == "mismatch", tolerance=tolerance, size=size,
        measured=measured(**more), outputs=[0],
    )  # fmt: skip


def test_a_pair_is_resolved_relative_to_its_size_or_to_other_outputs() -> None:
    """The limit is half of the pair's larger size, or a thousandth of the largest output."""
    assert resolved(pair(tolerance=1.9), [])
    assert not resolved(pair(tolerance=2.1), [])
    assert resolved(pair(tolerance=2.4, value=5.0), [])
    assert resolved(pair(tolerance=9.0, kind="flat"), [])
    large = pair(size=1e4)
    assert resolved(pair(tolerance=9.0), [large])
    assert not resolved(pair(tolerance=11.0), [large])
    large.outputs = [0, 1]
    assert not resolved(pair(tolerance=9.0), [large])


@pytest.mark.parametrize(
    ("own", "of_pair", "tolerance", "remark", "verdict", "rest"),
    [
        ("agree", "agree", 0.1, "", "agree", "agree"),
        ("inconclusive", "agree", 0.1, "", "agree", "agree"),
        ("inconclusive", "agree", 9.0, "", "inconclusive", "inconclusive"),
        ("agree", "agree", 9.0, "", "inconclusive", "inconclusive"),
        ("mismatch", "agree", 0.1, "", "mismatch", "agree"),
        ("agree", "mismatch", 0.1, "", "inconclusive", "inconclusive"),
        ("agree", "mismatch", 0.1, "is wrong", "mismatch", "mismatch"),
        ("mismatch", "mismatch", 0.1, "", "mismatch", "mismatch"),
        ("inconclusive", "mismatch", 0.1, "", "inconclusive", "inconclusive"),
        ("agree", "kink", 0.1, "", "kink", "kink"),
    ],
)
def test_a_pair_adds_to_the_verdict_of_its_block(
    own: Verdict, of_pair: Verdict, tolerance: float, remark: str, verdict: str, rest: str
) -> None:
    made = pair(of_pair, tolerance)
    found = _with_pair(Leaf("y by w", (2, 2), own, 4), made, remark, {"y by w": made})
    assert (found.verdict, found.rest) == (verdict, rest)


def test_spreading() -> None:
    assert spread(4, np.array([1, 3]), np.array([5.0, 6.0])).tolist() == [0.0, 5.0, 0.0, 6.0]


# Entries of a gradient


def walks(monkeypatch: pytest.MonkeyPatch, wrong: Iterable[int], size: int) -> Any:
    """Let directions through wrong entries fail; return a walk through all entries."""
    places = set(wrong)
    surface: Any = SimpleNamespace(size=size, evaluations=0)

    def walk(surface: Any, analytic: Any, entries: Any, rng: Any, direction: Any = None) -> Any:
        surface.evaluations += 10
        count = len(places & set(map(int, entries)))
        found = Slope(0.0, 1.0, "smooth")
        return Walk(entries, np.ones(len(entries)), 2.0 * count, found, 0.0, 1.0)

    def look(surface: Any, analytic: Any, i: int) -> Any:
        return SimpleNamespace(apart=i in places)

    monkeypatch.setattr(directions, "walk", walk)
    monkeypatch.setattr(directions, "measure_entry", look)
    return surface, walk(surface, None, np.arange(size), None)


@pytest.mark.parametrize("wrong", [[3], [0, 63], [5, 6, 7, 40]])
def test_bisection_finds_all_wrong_entries(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    surface, failed = walks(monkeypatch, wrong, 64)
    found, complete = search(surface, None, failed, np.random.default_rng(0))  # type: ignore[arg-type]
    assert sorted(found) == wrong
    assert complete


def test_bisection_names_twenty_and_spends_a_hundred_a_halving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surface, failed = walks(monkeypatch, range(0, 64, 2), 64)
    found, complete = search(surface, None, failed, np.random.default_rng(0))  # type: ignore[arg-type]
    assert len(found) == 20 or surface.evaluations >= 100 * 16
    assert not complete
    surface, failed = walks(monkeypatch, range(0, 2**16, 2), 2**16)
    search(surface, None, failed, np.random.default_rng(0))  # type: ignore[arg-type]
    assert surface.evaluations <= 10 + 100 * (10 + 16) + 20


@pytest.mark.parametrize(("share", "size", "dense"), [
    (1.0, 64, True), (1.0, 31, False), (0.5, 64, True), (0.02, 256, False),
])  # fmt: skip
def test_a_stratum_is_dense_if_most_parts_fail_and_half_of_a_sample(
    monkeypatch: pytest.MonkeyPatch, share: float, size: int, dense: bool
) -> None:
    surface, failed = walks(monkeypatch, range(round(share * size)), size)
    rng = np.random.default_rng(0)
    sample = np.arange(size)[:: size // 8][:8]
    assert _is_dense(surface, None, failed, sample, rng) is dense  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "of_walks", "remark", "verdict", "rest"),
    [
        ("agree", ["agree"], "", "agree", "agree"),
        ("inconclusive", ["agree"], "", "agree", "agree"),
        ("inconclusive", ["inconclusive"], "", "inconclusive", "inconclusive"),
        ("agree", ["mismatch"], "", "inconclusive", "agree"),
        ("agree", ["mismatch"], "is wrong", "mismatch", "mismatch"),
        ("mismatch", ["mismatch", "agree"], "", "mismatch", "agree"),
        ("inconclusive", ["mismatch", "agree"], "", "inconclusive", "agree"),
        ("agree", ["agree", "kink"], "", "kink", "kink"),
    ],
)
def test_directions_add_to_the_verdict_of_their_leaf(
    own: Verdict, of_walks: list[Verdict], remark: str, verdict: str, rest: str
) -> None:
    made: Any = [SimpleNamespace(verdict=v, fails=v == "mismatch") for v in of_walks]
    found = _with_rest(Leaf("w", (4,), own, 4), made, remark)
    assert (found.verdict, found.rest) == (verdict, rest)


# A block of a Jacobian as a matrix

J = np.random.default_rng(0).normal(size=(3, 3))
D = np.diag(np.diag(J))

BLOCKS = {
    "transposed": (J.T, ["transposed"]),
    "symmetrised": ((J + J.T) / 2, ["symmetrised: (J + Jᵀ) / 2"]),
    "both": (J + J.T, ["J + Jᵀ: a triangle added to its transpose?"]),
    "both, the diagonal once": (J + J.T - D, ["J + Jᵀ with the diagonal counted once"]),
    "the diagonal twice": (
        J + D, ["the diagonal is counted twice: a triangle added to its transpose?"],
    ),
    "the diagonal": (D, ["the diagonal alone"]),
    "no diagonal": (J - D, ["all but the diagonal"]),
    "upper": (np.triu(J), ["the upper triangle alone"]),
    "upper, no diagonal": (np.triu(J, 1), ["the upper triangle alone"]),
    "lower": (np.tril(J), ["the lower triangle alone"]),
    "lower, no diagonal": (np.tril(J, -1), ["the lower triangle alone"]),
    "twice": (2 * J, []),
}  # fmt: skip


def block(claimed: Any, true: Any, tolerance: float = 1e-9, shape: Any = (3, 3)) -> list[str]:
    entries = [
        DerivativeEntry("b", index, float(claimed[index]), float(x), tolerance, tolerance,
                        "mismatch", output="y", parameter="w")
        for index, x in np.ndenumerate(true)
    ]  # fmt: skip
    other = DerivativeEntry(
        "other", (0, 0), 9.0, 1.0, 1.0, 1.0, "mismatch", output="", parameter=""
    )
    return list(_of_block(Leaf("b", shape, "mismatch", len(entries)), [*entries, other]))


@pytest.mark.parametrize("name", BLOCKS)
def test_what_a_block_of_a_jacobian_shows(name: str) -> None:
    claimed, causes = BLOCKS[name]
    assert block(claimed, J) == causes


def test_a_block_shows_nothing_within_its_tolerance() -> None:
    assert block(J.T + 3e-9, J) == ["transposed"]
    assert block(J.T + 5e-9, J) == []
    assert block(0 * J, np.full((3, 3), 1e-9)) == []
    rectangular = np.ones((3, 2))
    assert block(2 * rectangular, rectangular, shape=(3, 2)) == []


def test_a_fault_that_was_found_needs_no_note() -> None:
    """One entry of 1,200 is named, and nothing else is wrong."""
    rng = np.random.default_rng(0)
    right = rng.normal(size=(30, 40))
    wrong = right.copy()
    wrong[3, 7] *= 2
    report = gradlab.check_derivatives(
        lambda w: np.tanh(right @ w),
        np.linspace(-0.1, 0.1, 40),
        jvp=lambda w, v: (1 - np.tanh(right @ w) ** 2) * (wrong @ v),
        mode="directional",
    )
    assert [entry.name for entry in report.mismatches] == ["output[3] by params[7]"]
    assert report.notes == ()
    assert report.mismatches[0].ratio == pytest.approx(2.0)


@pytest.mark.parametrize(("units", "causes"), [(12, ["transposed"]), (24, [])])
def test_exact_numbers_may_be_off_by_a_few_units_in_the_last_place(
    units: int, causes: list[str]
) -> None:
    """The limit is 4 times 2^-50 of the measured numbers, which is 16 units."""
    signs = np.array([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    assert block(signs.T * (1 + units * 2.0**-52), signs, tolerance=0.0) == causes
