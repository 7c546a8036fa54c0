"""The corpus is proven: each truth by other means than the formula, each verdict by what follows.

Losses are plain NumPy, so that the same source runs on `Precise` arrays of mpmath's numbers: its
central differences in a hundred digits are the reference. Where that would take too long, a
complex step is. At kinks gradients are collected nearby, and a claim is right if and only if it
lies in their convex hull. That a fault can be seen at all is shown by a step of a finite
difference which tells it from the truth, and that one cannot, by there being none.
"""

from __future__ import annotations

import doctest
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import corpus
import mpmath
import numpy as np
import pytest
from corpus import CASES, KINDS, Case, outcome, relative_difference
from corpus.case import (
    Fault,
    evaluated_in,
    factor,
    noisy,
    plus,
    rolled,
    swapped,
    transposed,
    unique,
)

from gradlab.params import flatten, map_leaves, size

DIGITS = 100
CLOSE = 1e-11
"""Relative tolerance of an entry: a hundredth of the smallest fault that must be found."""


def each(cases: Any) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.title) for c in cases])


def by(method: str) -> list[Case]:
    """Return the cases that are verified in this way; wrong cases share the truth of right ones."""
    proven: dict[Any, Case] = {}
    for case in CASES:
        if case.verified_by == method:
            proven.setdefault((case.kind, case.name, id(case.truth)), case)
    return list(proven.values())


# Arrays of a hundred digits


class Precise(np.ndarray):
    """An array of mpmath's numbers that NumPy's functions accept, at any number of dimensions."""

    FUNCTIONS: ClassVar[dict[str, Any]] = {
        "exp": mpmath.exp, "log": mpmath.log, "log1p": mpmath.log1p, "sqrt": mpmath.sqrt,
        "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "tanh": mpmath.tanh,
        "cosh": mpmath.cosh, "arcsin": mpmath.asin, "arccos": mpmath.acos,
        "arctanh": mpmath.atanh, "arccosh": mpmath.acosh, "sign": mpmath.sign,
    }  # fmt: skip

    @classmethod
    def of(cls, x: Any) -> Precise:
        numbers = np.frompyfunc(mpmath.mpf, 1, 1)(np.asarray(x, dtype=object))
        return np.asarray(numbers, dtype=object).view(cls)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_objects(x) for x in inputs]
        if ufunc.__name__ in self.FUNCTIONS:
            ufunc = np.frompyfunc(self.FUNCTIONS[ufunc.__name__], 1, 1)
        return _wrapped(getattr(ufunc, method)(*plain, **options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return _wrapped(super().__array_function__(function, types, args, options))

    def mean(self, axis: Any = None, **options: Any) -> Any:
        return self.sum(axis) / (self.size if axis is None else self.shape[axis])

    def __getitem__(self, key: Any) -> Any:
        return _wrapped(super().__getitem__(key))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


def _objects(x: Any) -> Any:
    if isinstance(x, Precise):
        return x.view(np.ndarray)
    array = np.asarray(x)
    return np.asarray(Precise.of(array)) if array.dtype.kind == "f" else x


def _wrapped(x: Any) -> Any:
    if isinstance(x, mpmath.mpf):
        return Precise.of(x)
    return x.view(Precise) if isinstance(x, np.ndarray) and x.dtype == object else x


def precise_gradient(case: Case) -> Any:
    """Return central differences of the exact function, in `DIGITS` digits."""
    leaves, structure = flatten(case.params)

    def at(leaf: int, index: tuple[int, ...], x: Any) -> Any:
        moved = [Precise.of(other) for other in leaves]
        moved[leaf].view(np.ndarray)[index] = x
        return mpmath.mpf(np.asarray(case.true_loss(structure.unflatten(moved), *case.args)).item())

    with mpmath.workdps(DIGITS):
        gradients = []
        for number, leaf in enumerate(leaves):
            gradient = np.zeros(leaf.shape)
            typical = float(np.max(np.abs(leaf), initial=0)) or 1.0
            for index in np.ndindex(leaf.shape):
                x = mpmath.mpf(leaf[index].item())
                h = mpmath.mpf(10) ** -(DIGITS // 3) * (abs(x) or typical)
                rise = at(number, index, x + h) - at(number, index, x - h)
                gradient[index] = float(rise / (2 * h))
            gradients.append(gradient)
    return structure.unflatten(gradients)


def complex_gradient(case: Case, entries: Any) -> Any:
    """Return the derivative with respect to each entry, by a complex step."""
    leaves, structure = flatten(case.params)
    ends = np.cumsum([leaf.size for leaf in leaves])
    whole = np.concatenate([leaf.ravel() for leaf in leaves]).astype(complex)
    parts = [
        p.reshape(leaf.shape) for p, leaf in zip(np.split(whole, ends[:-1]), leaves, strict=True)
    ]
    found = []
    for i in entries:
        h = 1e-40 * (abs(whole[i]) or 1.0)
        whole[i] += 1j * h
        found.append(np.imag(case.true_loss(structure.unflatten(parts), *case.args)) / h)
        whole[i] = whole[i].real
    return np.array(found)


def flat(gradient: Any) -> Any:
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in flatten(gradient)[0]])


def assert_truth(case: Case, reference: Any, entries: Any = slice(None)) -> None:
    truth = true_gradient(case)
    # If terms cancel, the remaining rounding error is not relative to the result.
    rounding = np.finfo(np.float64).eps * np.max(np.abs(truth))
    # A zero is right up to the step of the reference.
    slack = np.where(truth == 0, 1e-30, rounding)[entries]
    assert np.all(np.abs(truth[entries] - reference) <= CLOSE * np.abs(reference) + slack)


def true_gradient(case: Case) -> Any:
    """Return the truth, computed in double precision for parameters of lower precision, too."""
    return flat(case.truth(map_leaves(np.float64, case.params), *case.args))


def prove(case: Case) -> None:
    """Compare the truth of a case with its reference."""
    if case.verified_by == "high precision":
        assert_truth(case, flat(precise_gradient(case)))
    elif case.verified_by == "complex step":
        p = size(case.params)
        wrong = np.flatnonzero(flat(case.gradient(*case.point)) != flat(case.truth(*case.point)))
        drawn = np.random.default_rng(0).integers(p, size=min(p, 40))
        entries = np.unique([*drawn, *wrong[:6]]).astype(int)
        assert_truth(case, complex_gradient(case, entries), entries)
    else:
        prove_at_kink(case)


# The truths


@each(by("high precision"))
def test_truth_by_high_precision(case: Case) -> None:
    prove(case)


@each(by("complex step"))
def test_truth_by_complex_step(case: Case) -> None:
    prove(case)


def nearby(case: Case, seed: int = 0, distance: float = 1e-7, draws: int = 600) -> list[Any]:
    """Return random parameters near those of a case."""
    rng = np.random.default_rng(seed)
    return [
        map_leaves(lambda x: x + distance * rng.normal(size=x.shape), case.params)
        for _ in range(draws)
    ]


def distance_to_hull(point: Any, corners: Any) -> float:
    """Return the distance of a point from the convex hull of others, by pairwise Frank-Wolfe.

    Lacoste-Julien & Jaggi, On the global linear convergence of Frank-Wolfe variants, 2015.
    """
    weight = np.zeros(len(corners))
    weight[np.argmin(np.linalg.norm(corners - point, axis=1))] = 1.0
    for _ in range(20_000):
        rest = point - weight @ corners
        along = corners @ rest
        best, worst = np.argmax(along), np.argmin(np.where(weight > 0, along, np.inf))
        if along[best] - along[worst] <= 1e-14 * max(1, np.abs(along).max()):
            break
        step = corners[best] - corners[worst]
        by = min(weight[worst], (rest @ step) / (step @ step))
        weight[best] += by
        weight[worst] -= by
    return float(np.linalg.norm(point - weight @ corners))


def prove_at_kink(case: Case) -> None:
    """A right claim is in the hull of nearby gradients, a wrong one far outside."""
    around = nearby(case)
    for params in around[:3]:  # the formula, where the loss is smooth
        prove(replace(case, params=params, claim=None, right=True, verified_by="high precision"))
    corners = np.array([flat(case.truth(params, *case.args)) for params in around])
    largest = np.abs(corners).max()
    corners = np.unique(np.round(corners / largest, 5), axis=0)
    assert len(corners) > 1 or "which is x" in case.name
    distance = distance_to_hull(flat(case.gradient(*case.point)) / largest, corners)
    assert distance < 1e-3 if case.right else distance > 5e-3


@each(case for case in CASES if case.verified_by == "nearby gradients")
def test_claims_at_kinks_by_nearby_gradients(case: Case) -> None:
    prove(case)


# The claims


@each(case for case in CASES if case.right and case.kind != "kink")
def test_a_right_claim_is_the_truth_in_its_own_precision(case: Case) -> None:
    claimed, truth = flatten(case.gradient(*case.point))[0], true_gradient(case)
    coarsest = max(np.finfo(leaf.dtype).eps for leaf in claimed)
    # The error is that of a few operations on numbers up to the largest.
    assert np.all(np.abs(flat(claimed) - truth) <= 4 * coarsest * np.abs(truth).max())


@each(case for case in CASES if case.resolvable and not case.right and case.kind != "kink")
def test_a_fault_can_be_detected(case: Case) -> None:
    assert_seen(case)


@each(case for case in CASES if not case.resolvable)
def test_undetectable_faults_are_undetectable(case: Case) -> None:
    assert_unseen(case)


def assert_seen(case: Case) -> None:
    """Require several consecutive steps whose differences tell the claim from the truth."""
    assert case.size > 1e-9
    claimed, truth = (flat(g(*case.point)) for g in (case.gradient, case.truth))
    fault = np.abs(claimed - truth)
    relative = fault / np.maximum(np.maximum(np.abs(claimed), np.abs(truth)), 1e-300)
    worst = {int(np.argmax(fault)), int(np.argmax(relative))}
    assert any(4 * resolution(case, i, truth[i]) < fault[i] for i in worst)


def assert_unseen(case: Case) -> None:
    """No four consecutive steps are as close to the truth as the claim, or half the slope."""
    claimed, truth = (flat(g(*case.point)) for g in (case.gradient, case.truth))
    for i in range(len(truth)):
        assert resolution(case, i, truth[i]) > 2 * abs(claimed[i] - truth[i])
        if case.right:
            assert resolution(case, i, truth[i]) > 0.5 * abs(truth[i])


def resolution(case: Case, entry: int, slope: float) -> float:
    """Return the largest error of four consecutive differences, for the best four."""
    leaves, structure = flatten(map_leaves(lambda x: np.array(x, np.float64), case.params))
    ends = np.cumsum([leaf.size for leaf in leaves])
    number = int(np.searchsorted(ends, entry, side="right"))
    within = entry - (ends[number] - leaves[number].size)
    x = leaves[number].flat[within]
    typical = abs(x) or float(np.abs(leaves[number]).max()) or 1.0
    largest = max(typical, 1e-2) if typical > 1e-20 else typical

    def at(h: float) -> float:
        copy = leaves[number].copy()
        copy.flat[within] = x + h
        moved = [copy if k == number else leaf for k, leaf in enumerate(leaves)]
        try:
            with np.errstate(all="ignore"):
                return float(case.loss(structure.unflatten(moved), *case.args))
        except ValueError:
            return np.nan

    centre, errors = at(0.0), []
    for k in range(1, 60):
        h = 2.0 ** (np.round(np.log2(largest)) - k)
        up, down = (x + h) - x, x - (x - h)
        if not up or not down:
            break
        above, below = at(up), at(-down)
        estimates = [(above - below) / (up + down), (above - centre) / up, (centre - below) / down]
        good = [abs(e - slope) for e in estimates if np.isfinite(e)]
        errors.append(good[0] if good else np.inf)
    return min(max(errors[i : i + 4]) for i in range(len(errors) - 3))


# Elsewhere


def everywhere(seeds: Any) -> list[Case]:
    """Return the cases at other points: one of those that share a truth, and no large ones."""
    cases = [*by("high precision"), *by("nearby gradients")]
    return [case.moved(seed) for case in cases for seed in seeds]


@pytest.mark.slow
@each(everywhere([7]))
def test_true_gradients_at_other_points(case: Case) -> None:
    prove(case)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_truths_and_verdicts_at_twenty_places(seed: int) -> None:
    for case in everywhere([seed]):
        prove(case)
    for case in CASES:
        if case.kind not in ("kink", "large") and not case.right:
            there = case.moved(seed)
            assert_seen(there) if case.resolvable else assert_unseen(there)


def test_moving_changes_only_the_parameters_and_only_slightly() -> None:
    for case in CASES:
        there = case.moved(seed=1)
        for before, after in zip(*(flatten(c.params)[0] for c in (case, there)), strict=True):
            assert after.dtype == before.dtype
            assert np.all(np.abs(after - before) <= 8 * np.maximum(np.abs(before), 0))
        if not np.array_equal(flat(case.params), flat(there.params)):
            continue
        assert case.kind in ("kink", "near kink", "zero", "saddle", "edge"), case.title
        assert np.all(flat(case.params) == np.round(flat(case.params))), case.title


def test_moving_by_a_seed_is_moving_to_one_place() -> None:
    case = CASES[0]
    assert np.array_equal(case.moved(3).params, case.moved(3).params)
    assert not np.array_equal(case.moved(3).params, case.moved(4).params)


# What it covers


def test_every_kind_is_there_right_and_wrong() -> None:
    asked = {
        "smooth", "network", "planted", "scale", "offset", "zero", "saddle", "oscillatory",
        "steep", "edge", "float32", "float16", "noise", "quantised", "kink", "near kink",
        "off kink", "solver", "large", "resolution",
    }  # fmt: skip
    assert set(KINDS) == asked
    right, wrong = (Counter(c.kind for c in CASES if c.right is side) for side in (True, False))
    assert all(right[kind] >= 5 for kind in asked - {"planted", "resolution"})
    assert all(wrong[kind] >= 3 for kind in asked)


def test_there_are_slightly_more_right_cases() -> None:
    assert len(CASES) >= 150
    assert 0.5 < np.mean([case.right for case in CASES]) < 0.6


def test_faults_come_in_sizes_from_1_to_1e_6_and_below() -> None:
    sizes = np.array([c.size for c in CASES if not c.right and c.resolvable and c.kind != "kink"])
    decades = Counter(np.floor(np.log10(sizes) + 1e-4).astype(int).tolist())
    assert all(decades[exponent] >= 3 for exponent in range(-6, 1))
    assert min(decades) == -9


def test_a_verdict_is_accepted_for_what_the_case_is() -> None:
    for case in CASES:
        if not case.resolvable:
            assert set(case.accepted) <= {"agree", "inconclusive"}
        elif case.right:
            assert ("agree" in case.accepted) > ("mismatch" in case.accepted)
        else:
            assert ("mismatch" in case.accepted) > ("agree" in case.accepted)


# Its parts


@each(case for case in CASES if case.meant is not None and case.kind != "edge")
def test_a_rough_loss_represents_its_smooth_original(case: Case) -> None:
    """The two losses differ only by the rounding of the values."""
    leaves, structure = flatten(case.params)
    # In double precision, a solver never reaches the tolerance of the exact function.
    exact = leaves if case.kind == "large" else [Precise.of(leaf) for leaf in leaves]
    found = case.loss(*case.point)
    with mpmath.workdps(DIGITS):
        meant = float(case.true_loss(structure.unflatten(exact), *case.args))
    assert found == case.loss(*case.point)
    assert found == pytest.approx(meant, rel=5e-3, abs=1e-3)


def test_noise_has_the_stated_size_and_no_correlation() -> None:
    loss = noisy(lambda x: 2.0, 1e-6)
    values = np.array([loss(np.array([1.0 + k * 2.0**-40])) for k in range(2000)]) / 2 - 1
    assert np.abs(values).max() <= 1e-6 * (1 + 1e-9)
    assert values.std() == pytest.approx(1e-6 / np.sqrt(3), rel=0.1)
    lag = np.corrcoef(values[1:], values[:-1])[0, 1]
    assert abs(lag) < 4 / np.sqrt(len(values))


def test_a_loss_in_another_dtype_computes_in_it() -> None:
    seen = []

    def loss(params: Any, x: Any, labels: Any) -> Any:
        seen.extend([params["w"].dtype, x.dtype, labels.dtype])
        return np.sum(params["w"] * x)

    point = {"w": np.array([0.1])}, np.array([1.0]), np.array([3])
    assert evaluated_in(loss, np.float32)(*point) == float(np.float32(0.1))
    assert seen == [np.float32, np.float32, np.int64]


@pytest.mark.parametrize(
    "fault",
    [factor(-1), plus(0.1, "W", (0, 1)), transposed("W"), swapped("W", "V"), rolled("W")],
    ids=lambda fault: fault.name,
)
def test_a_fault_does_not_change_the_truth_or_the_parameters(fault: Fault) -> None:
    params = {"W": np.arange(4.0).reshape(2, 2), "V": np.ones((2, 2))}
    wrong = fault.plant(lambda params: params)(params)  # the gradient of |params|²/2
    assert np.array_equal(params["W"], [[0, 1], [2, 3]])
    assert np.array_equal(params["V"], np.ones((2, 2)))
    assert relative_difference(wrong, params) > 0


def test_two_cases_of_one_title_are_refused() -> None:
    with pytest.raises(ValueError, match="two cases are called smooth: quadratic form"):
        unique([CASES[0], CASES[0]])


def test_outcomes_of_verdicts() -> None:
    right = next(case for case in CASES if case.right and case.resolvable)
    wrong = next(case for case in CASES if not case.right and case.resolvable)
    hidden = next(case for case in CASES if not case.right and not case.resolvable)
    assert [outcome(right, ok) for ok in (True, False, None)] == [
        "right", "false alarm", "inconclusive",
    ]  # fmt: skip
    assert [outcome(wrong, ok) for ok in (True, False, None)] == ["miss", "right", "inconclusive"]
    assert [outcome(hidden, ok) for ok in (True, False)] == ["right", "right"]


def test_a_point_in_the_middle_is_in_the_hull_and_one_outside_is_not() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert distance_to_hull(np.full(3, 0.2), corners) < 1e-9
    assert distance_to_hull(np.full(3, 1.0), corners) == pytest.approx(2 / np.sqrt(3))


def test_docstrings_run() -> None:
    for module in (corpus, corpus.case):
        found = doctest.testmod(module)
        assert found.attempted > 0
        assert found.failed == 0
