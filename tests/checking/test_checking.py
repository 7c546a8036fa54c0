"""The checker: no false alarm, no missed mistake, the right entry named, no silent pass."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from corpus import CASES, KINDS, Case
from hypothesis import given
from hypothesis import strategies as st

import gradlab
from gradlab import network
from gradlab.checking import GradientReport, Leaf
from gradlab.checking.directions import Walk, _with_rest
from gradlab.errors import (
    BackendError,
    GradientMismatchError,
    LossError,
    NonFiniteError,
    OptionError,
    ParameterError,
)
from gradlab.gradients.slopes import Slope
from gradlab.params import map_leaves
from gradlab.testing import ClosedForm, Problem, losses, networks, parameters

# The corpus


def check(case: Case, seed: int = 0) -> GradientReport:
    return gradlab.check_gradients(case.loss, *case.point, gradient=case.gradient, seed=seed)


def judged_wrongly(case: Case, report: GradientReport) -> str:
    """Return the error in the verdict on a case, if any."""
    if not case.right and case.resolvable and report.ok:
        return f"missed: {case.title}: {report.verdict}"
    if report.verdict not in case.accepted:
        return f"{case.title}: {report.verdict}, expected {' or '.join(case.accepted)}"
    return ""


def told_of(kind: str, first: int) -> list[str]:
    """Return the mistakes in the verdicts on every fourth case of a kind, right and wrong."""
    cases = [case for case in CASES if case.kind == kind and "million" not in case.title]
    sides = ([case for case in cases if case.right is right][first::4] for right in (True, False))
    chosen = [case for side in sides for case in side]
    assert chosen or first  # a kind may have fewer than four cases
    return [told for case in chosen if (told := judged_wrongly(case, check(case)))]


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k == "large" else k for k in KINDS]
)
def test_no_false_alarm_and_no_miss(kind: str) -> None:
    assert told_of(kind, 0) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_no_false_alarm_and_no_miss_in_the_other_cases(kind: str, first: int) -> None:
    assert told_of(kind, first) == []


@pytest.mark.slow
def test_no_false_alarm_and_no_miss_at_other_places() -> None:
    """Each case at five of twenty places, moved at random by 3 %."""
    told = []
    for number, case in enumerate(case for case in CASES if case.kind != "large"):
        for seed in range(1 + number % 4, 21, 4):
            moved = case.moved(seed)
            told.append(judged_wrongly(moved, check(moved, seed)))
    assert list(filter(None, told)) == []


def test_evaluations_an_entry() -> None:
    """The median is about 15 on smooth, well-scaled functions."""
    reports = [check(case) for case in CASES if case.kind in ("smooth", "network") and case.right]
    share = [r.evaluations / r.size for r in reports if r.mode == "entries" and r.size]
    assert len(share) > 20
    assert np.median(share) <= 15.5


# Large gradients


def large_network(seed: int = 0) -> tuple[dict[str, Any], Any, Any, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    params = network.init((100, 200, 50, 10), rng)
    x, labels = rng.standard_normal((20, 100)), rng.integers(10, size=20)
    return params, x, labels, gradlab.grad(network.loss)(params, x, labels)


@pytest.mark.parametrize("fault", ["sign", "factor", "zero", "small"])
@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_entry_of_thirty_thousand(fault: str, seed: int) -> None:
    params, x, labels, grads = large_network(seed)
    rng = np.random.default_rng(100 + seed)
    path = ("W1", "W2", "W3")[seed]
    index = tuple(int(rng.integers(side)) for side in grads[path].shape)
    change = {"sign": -1.0, "factor": 1.5, "zero": 0.0, "small": 1.01}[fault]
    grads[path][index] *= change
    report = gradlab.check_gradients(network.loss, params, x, labels, gradient=grads, seed=seed)
    assert report.mode == "directional"
    assert [(entry.path, entry.index) for entry in report.mismatches] == [(path, index)]
    assert report.evaluations <= 3000


def test_a_right_large_gradient() -> None:
    params, x, labels, grads = large_network()
    for seed in range(5):
        report = gradlab.check_gradients(network.loss, params, x, labels, gradient=grads, seed=seed)
        assert report.verdict == "agree"
        assert report.evaluations <= 2000
        assert report.resolution < 1e-6


def test_dense_faults_stop_early_and_name_the_leaf() -> None:
    params, x, labels, grads = large_network()
    grads["W2"] *= 20
    report = gradlab.check_gradients(network.loss, params, x, labels, gradient=grads)
    assert [leaf.path for leaf in report.leaves if leaf.verdict == "mismatch"] == ["W2"]
    assert "20 times too large" in next(leaf.cause for leaf in report.leaves if leaf.path == "W2")
    assert any("W2 is wrong as a whole" in note for note in report.notes)
    assert report.evaluations <= 5000


def test_six_entries_a_millionth_of_the_others_size() -> None:
    rng = np.random.default_rng(0)
    weights = np.ones(20_000)
    six = np.sort(rng.choice(20_000, 6, replace=False))
    weights[six] = 1e-6
    x = rng.standard_normal(20_000)
    grads = weights * np.cos(x)
    grads[six] *= -1
    report = gradlab.check_gradients(
        lambda x: np.mean(weights * np.sin(x)), x, gradient=grads / 2e4
    )
    assert sorted(entry.index[0] for entry in report.mismatches) == six.tolist()


@pytest.mark.slow
def test_one_wrong_entry_of_a_million() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(10**6)
    grads = np.cos(x) / 1e6
    grads[123_456] *= 1.5
    report = gradlab.check_gradients(lambda x: np.mean(np.sin(x)), x, gradient=grads)
    assert [entry.index for entry in report.mismatches] == [(123_456,)]
    assert report.evaluations <= 6000


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("seen", ["agree", "inconclusive", "kink", "mismatch"])
def test_a_failed_direction_never_agrees(fails: bool, seen: Any) -> None:
    """This holds for any verdict on the entries to which the failure is traced."""
    slope = Slope(1.0, 1e-9, "smooth")
    walk = Walk(np.arange(2), np.ones(2), 2.0 if fails else 1.0, slope, 0.0, 1.0)
    found = _with_rest(Leaf("w", (2,), seen, 1), [walk], "")
    wanted = (
        {"agree": "inconclusive", "inconclusive": "inconclusive"}
        if fails
        else {"inconclusive": "agree"}
    )
    assert found.verdict == wanted.get(seen, seen)


def test_directions_of_a_small_gradient() -> None:
    x = np.array([0.5, 1.0, 1.5])
    wrong = np.cos(x) * [1, 1, 2]
    right = gradlab.check_gradients(
        lambda x: np.sum(np.sin(x)), x, gradient=np.cos, mode="directional"
    )
    assert right.verdict == "agree"
    report = gradlab.check_gradients(
        lambda x: np.sum(np.sin(x)), x, gradient=wrong, mode="directional"
    )
    assert [entry.index for entry in report.mismatches] == [(2,)]


# By property


@given(problem=networks(max_layers=2), data=st.data())
def test_networks_agree_and_planted_faults_do_not(problem: Problem, data: st.DataObject) -> None:
    grads = gradlab.grad(problem.loss)(problem.params, *problem.args)
    right = gradlab.check_gradients(problem.loss, problem.params, *problem.args, gradient=grads)
    assert right.ok, str(right)
    path = data.draw(st.sampled_from(sorted(grads)))
    number = data.draw(st.integers(0, grads[path].size - 1))
    size = max(abs(g).max() for g in grads.values())
    wrong = {**grads, path: grads[path].copy()}
    wrong[path].flat[number] += max(1e-3 * size, 1e-6)
    report = gradlab.check_gradients(problem.loss, problem.params, *problem.args, gradient=wrong)
    named = {(entry.path, int(np.ravel_multi_index(entry.index, grads[path].shape)))
             for entry in report.mismatches}  # fmt: skip
    # Near a kink of a relu, the wrong slope may happen to be that of the other side.
    assert report.verdict == "mismatch" or any(entry.verdict == "kink" for entry in report.entries)
    assert named <= {(path, number)}


@given(case=losses(parameters(dtypes=[np.float64, np.float32, np.int64])))
def test_any_structure_of_parameters(case: ClosedForm) -> None:
    report = gradlab.check_gradients(case.loss, case.params, gradient=case.gradient)
    assert report.ok or not report.size, str(report)
    assert report.size == len(report.entries)


@pytest.mark.parametrize(
    "backend", ["autograd", "complex-step", "richardson", "central", "central4"]
)
def test_backends_are_checked_by_name(backend: str) -> None:
    params = {"w": np.array([0.5, 1.0]), "b": 2.0}

    def loss(p: Any) -> Any:
        return (np.sin(p["w"]) * p["b"]).sum()

    report = gradlab.check_gradients(loss, params, gradient=backend)
    exact = backend in ("autograd", "complex-step")
    assert report.ok or not exact  # the error of a difference may exceed the bars
    assert max(abs(entry.ratio - 1) for entry in report.entries) < 1e-8


# What it says


def quadratic(p: Any) -> Any:
    return (p["W"] ** 2).sum() + (p["b"] * np.array([1.0, 2.0])).sum()


QUADRATIC = {"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([1.0, -1.0])}


def gradient_of_quadratic(p: Any) -> Any:
    return {"W": 2 * p["W"], "b": np.array([1.0, 2.0])}


def test_report() -> None:
    def wrong(p: Any) -> Any:
        return gradient_of_quadratic(p) | {"b": np.array([1.0, 2.5])}

    report = gradlab.check_gradients(quadratic, QUADRATIC, gradient=wrong)
    assert not report.ok
    assert report.counts == {"mismatch": 1, "agree": 5}
    (entry,) = report.mismatches
    assert (entry.name, entry.analytic, entry.ratio) == ("b[1]", 2.5, pytest.approx(1.25))
    assert entry.excess > 1e6
    assert [(leaf.path, leaf.verdict) for leaf in report.leaves] == [
        ("W", "agree"),
        ("b", "mismatch"),
    ]
    with pytest.raises(GradientMismatchError, match=r"b\[1\]") as caught:
        report.raise_for_mismatch()
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report is report
    told = json.loads(json.dumps(report.to_dict()))
    assert told["verdict"] == "mismatch"
    assert [e["name"] for e in told["entries"] if e["verdict"] == "mismatch"] == ["b[1]"]


def test_report_of_a_right_gradient_raises_nothing() -> None:
    report = gradlab.check_gradients(quadratic, QUADRATIC, gradient=gradient_of_quadratic)
    report.raise_for_mismatch()
    assert (report.ok, report.verdict, report.mode) == (True, "agree", "entries")
    assert report.resolution < 1e-9
    assert str(report).startswith("agree: ")


def test_a_gradient_that_is_not_finite_is_a_mismatch() -> None:
    bad = gradient_of_quadratic(QUADRATIC)
    bad["W"] = np.array([[2.0, np.nan], [6.0, np.inf]])
    report = gradlab.check_gradients(quadratic, QUADRATIC, gradient=bad)
    assert [entry.name for entry in report.mismatches if not np.isfinite(entry.analytic)]
    assert {entry.name for entry in report.mismatches} == {"W[0, 1]", "W[1, 1]"}


def test_a_small_fault_is_not_hidden_by_large_entries() -> None:
    """Each entry has its own scale: a 5 % error counts next to an entry a billion times larger."""
    x = np.array([1.0, 1.0])
    weights = np.array([1e6, 1e-3])
    wrong = weights * [1.0, 1.05] * np.cos(x)
    report = gradlab.check_gradients(lambda x: (weights * np.sin(x)).sum(), x, gradient=wrong)
    assert [entry.index for entry in report.mismatches] == [(1,)]


@pytest.mark.parametrize("claimed", [1.0, 0.0, 0.3])
def test_valid_choices_at_a_kink(claimed: float) -> None:
    report = gradlab.check_gradients(lambda x: max(x, 0.0), 0.0, gradient=np.array(claimed))
    assert (report.ok, report.verdict) == (True, "kink")


@pytest.mark.parametrize("claimed", [-1e-3, 1.001, 2.0])
def test_invalid_choices_at_a_kink(claimed: float) -> None:
    report = gradlab.check_gradients(lambda x: max(x, 0.0), 0.0, gradient=np.array(claimed))
    assert report.verdict == "mismatch"
    assert "slopes 0 and 1" in report.entries[0].note


def test_two_tied_entries_are_examined_together() -> None:
    def largest(x: Any) -> Any:
        return max(x[0], x[1])

    valid = gradlab.check_gradients(largest, np.ones(2), gradient=np.array([0.25, 0.75]))
    assert valid.verdict == "kink"
    both = gradlab.check_gradients(largest, np.ones(2), gradient=np.ones(2))
    assert both.verdict == "mismatch"
    assert "not a joint subgradient" in both.entries[0].note


@pytest.mark.parametrize(("claimed", "verdict"), [((0.5, 0.5), "kink"), ((1.0, 0.0), "mismatch")])
def test_a_narrow_set_of_subgradients(claimed: tuple[float, float], verdict: str) -> None:
    """The subgradients of |x + y| are the multiples (s, s), which no box of entries describes."""
    report = gradlab.check_gradients(
        lambda x: abs(x[0] + x[1]), np.zeros(2), gradient=np.array(claimed)
    )
    assert report.verdict == verdict


def test_a_dead_unit_may_have_gradient_zero() -> None:
    """Zero is the limit of gradients nearby, although it is not between the slopes at 0."""

    def loss(p: Any) -> Any:
        return max(p[0] + p[1], 0.0) - max(p[0] - p[1], 0.0)

    assert gradlab.check_gradients(loss, np.zeros(2), gradient=np.zeros(2)).verdict == "kink"
    wrong = gradlab.check_gradients(loss, np.zeros(2), gradient=np.array([0.0, 3.0]))
    assert wrong.verdict == "mismatch"


def test_an_unresolved_gradient_does_not_agree() -> None:
    report = gradlab.check_gradients(lambda x: 1e18 + np.sin(x), 0.5, gradient=np.cos(0.5))
    assert (report.ok, report.verdict) == (False, "inconclusive")
    assert "would not be detected" in report.entries[0].note
    report.raise_for_mismatch()  # it is none


@pytest.mark.parametrize(("times", "verdict"), [(8, "inconclusive"), (12, "agree")])
def test_a_tenth_of_a_gradient_may_be_hidden_by_noise(times: float, verdict: str) -> None:
    """One entry is below the noise; the other is this many times as large as its error bar."""

    def noise(x: Any) -> Any:
        return 1 + 1e-6 * ((x * 1e13) % 1 - 0.5)

    size = times * gradlab.derivative_with_error(noise, 0.7).error
    report = gradlab.check_gradients(
        lambda x: size * x[0] + noise(x[1]), np.full(2, 0.7), gradient=np.array([size, 0.0])
    )
    assert [entry.verdict for entry in report.entries] == ["agree", "inconclusive"]
    assert report.verdict == verdict


def test_nothing_to_check() -> None:
    report = gradlab.check_gradients(lambda p: 1.0, {"w": np.zeros((0, 2))}, gradient=lambda p: p)
    assert (report.verdict, report.size) == ("inconclusive", 0)
    assert not report.ok


def test_same_seed_same_report() -> None:
    params, x, labels, grads = large_network()
    first, second = (
        gradlab.check_gradients(network.loss, params, x, labels, gradient=grads, seed=3)
        for _ in range(2)
    )
    assert first.entries == second.entries


# Bad usage


def test_a_random_loss_is_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(LossError, match="the loss is not deterministic"):
        gradlab.check_gradients(lambda x: np.sum(x**2) + rng.normal(), np.ones(2), gradient=np.ones)


def test_a_loss_that_drifts_is_named() -> None:
    """The first evaluations have the same value, and a later one has another."""
    calls = 0

    def drifting(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.sum(x**2) * (1 + 1e-3 * (calls > 10))

    with pytest.raises(LossError, match="the loss is not deterministic"):
        gradlab.check_gradients(drifting, np.ones(2), gradient=lambda x: 2 * x)


def test_a_random_gradient_is_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(LossError, match="the gradient of params is not deterministic"):
        gradlab.check_gradients(
            lambda x: np.sum(x**2), np.ones(2), gradient=lambda x: 2 * x + rng.normal(size=2)
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite(value: float) -> None:
    with pytest.raises(NonFiniteError, match="the loss is"):
        gradlab.check_gradients(lambda x: value, np.ones(2), gradient=np.ones(2))


def test_a_vector_loss() -> None:
    with pytest.raises(LossError, match=r"an array of shape \(2,\)"):
        gradlab.check_gradients(lambda x: x, np.ones(2), gradient=np.ones(2))


def test_a_loss_that_is_not_a_function() -> None:
    with pytest.raises((LossError, OptionError), match=r"3\.0"):
        gradlab.check_gradients(3.0, np.ones(2), gradient=np.ones(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        ({"W": np.ones((2, 2))}, "the gradient lacks b"),
        ({"W": np.ones((2, 2)), "b": np.ones(2), "c": 1.0}, "the gradient has c"),
        ({"W": np.ones(4), "b": np.ones(2)}, r"W has shape \(4,\) in the gradient"),
        ({"W": np.ones((2, 2)), "b": None}, "the gradient of b is None"),
        ({"W": np.ones((2, 2)), "b": ["x", "y"]}, "the gradient"),
        ({"W": np.ones((2, 2)) + 1j, "b": np.ones(2)}, "the gradient of W is"),
    ],
)
def test_a_gradient_of_another_structure(claimed: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        gradlab.check_gradients(quadratic, QUADRATIC, gradient=claimed)


def test_unknown_backends_and_modes() -> None:
    with pytest.raises(BackendError, match="did you mean 'autograd'"):
        gradlab.check_gradients(quadratic, QUADRATIC, gradient="autgrad")
    with pytest.raises(OptionError, match="mode='all': choose auto, entries or directional"):
        gradlab.check_gradients(quadratic, QUADRATIC, mode="all")  # type: ignore[arg-type]


def test_a_loss_that_writes_into_its_parameters() -> None:
    def loss(p: Any) -> Any:
        p["W"] *= 2.0
        return quadratic(p)

    with pytest.raises(ValueError, match="read-only") as caught:
        gradlab.check_gradients(loss, QUADRATIC, gradient=gradient_of_quadratic)
    assert caught.value.__notes__
    assert QUADRATIC["W"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_loss_that_empties_its_containers() -> None:
    """The loss pops leaves, so each evaluation must get new containers."""

    def loss(p: Any) -> Any:
        return (p.pop("W") ** 2).sum() + (p.pop("b") * np.array([1.0, 2.0])).sum()

    report = gradlab.check_gradients(loss, QUADRATIC, gradient=gradient_of_quadratic)
    assert report.ok
    assert set(QUADRATIC) == {"W", "b"}


def test_a_loss_or_gradient_that_raises() -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("the user's own")

    for arguments in ((broken, gradient_of_quadratic), (quadratic, broken)):
        with pytest.raises(KeyError, match="the user's own") as caught:
            gradlab.check_gradients(arguments[0], QUADRATIC, gradient=arguments[1])
        assert "raised by the" in caught.value.__notes__[0]


def test_a_loss_that_writes_into_its_data() -> None:
    def loss(w: Any, x: Any) -> Any:
        x *= 1.5
        return (w * x).sum()

    with pytest.raises(LossError, match="writes into its parameters or arguments"):
        gradlab.check_gradients(loss, np.ones(2), np.ones(2), gradient=np.ones(2))


def test_a_gradient_that_is_the_parameters_themselves() -> None:
    """The gradient of x²/2 is x: the very array that the checker perturbs."""
    x = np.array([1.0, 2.0])
    report = gradlab.check_gradients(lambda x: 0.5 * (x**2).sum(), x, gradient=x)
    assert report.verdict == "agree"
    assert x.tolist() == [1.0, 2.0]
    itself = gradlab.check_gradients(lambda x: 0.5 * (x**2).sum(), x, gradient=lambda x: x)
    assert itself.verdict == "agree"


def test_a_gradient_that_writes_into_the_parameters() -> None:
    def gradient(p: Any) -> Any:
        p["W"] *= 2
        return {"W": p["W"], "b": np.array([1.0, 2.0])}

    with pytest.raises(ValueError, match="read-only"):
        gradlab.check_gradients(quadratic, QUADRATIC, gradient=gradient)


def test_float32_parameters_and_gradients() -> None:
    params = map_leaves(lambda leaf: leaf.astype(np.float32), QUADRATIC)
    assert gradlab.check_gradients(quadratic, params).verdict == "agree"
    wrong = map_leaves(lambda g: g * np.float32(1 + 1e-5), gradlab.grad(quadratic)(params))
    assert gradlab.check_gradients(quadratic, params, gradient=wrong).verdict == "mismatch"


def test_evaluation_in_float32() -> None:
    seen = set()

    def loss(p: Any) -> Any:
        seen.add(p["W"].dtype)
        return quadratic(p)

    report = gradlab.check_gradients(
        loss, QUADRATIC, gradient=gradient_of_quadratic, dtype=np.float32
    )
    assert seen == {np.dtype(np.float32)}
    assert report.verdict == "agree"
    assert report.resolution > 1e-8
