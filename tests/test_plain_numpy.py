"""Losses in plain NumPy that nobody prepared: right, or refused in words; never wrong, never raw.

`plain_numpy` has the losses, their true gradients, and the judge. Which losses a backend may refuse
stands in one table below, so that a change is noticed, in either direction.

    PYTHONPATH=.:tests python -c "from plain_numpy.judge import summary; print(summary(['tape']))"

prints how many are right, refused, wrong and raw.
"""

from __future__ import annotations

import warnings

import numpy as np
import plain_numpy
import pytest
from optional import unless_missing
from plain_numpy import CASES, algorithms, registry
from plain_numpy.judge import NUMERICAL, TRACED, is_plain, judge, same, summary, traced_in
from plain_numpy.truth import ROUNDINGS, truth

import gradlab

UNTRACEABLE = {name for name, case in CASES.items() if case.untraceable}
"""Numbers leave NumPy on the way: a solver, text."""

REFUSED: dict[str, set[str]] = {
    "autograd": UNTRACEABLE,
    "tape": UNTRACEABLE,
    "autograd-forward": UNTRACEABLE,
    "jax": UNTRACEABLE,
    "torch": UNTRACEABLE,
    "central": set(),
    "richardson": set(),
}
"""What each backend refuses. Everything else is right."""

KEPT = {
    "BatchNormWithRunningMean": "running_mean",
    "KeepsItsHistory": "losses",
    "LayersThatStay": "last_layer",
}
"""Losses that keep what they computed from the parameters, and where."""


def marked(name: str, backend: str = "") -> list[pytest.MarkDecorator]:
    """The marks of a test of a loss; the quick tests run `algorithms` on autograd only."""
    is_of_algorithms = CASES[name].source.__module__ == algorithms.__name__
    is_slow = backend in NUMERICAL or (is_of_algorithms and backend != "autograd")
    return [pytest.mark.slow] if is_slow else []


PAIRS = [
    unless_missing(backend, (backend, name), f"{backend}-{name}", marked(name, backend))
    for backend in (*TRACED, *NUMERICAL)
    for name in CASES
]
"""Every backend with every loss."""

NAMES = [pytest.param(name, marks=marked(name)) for name in CASES]


@pytest.mark.parametrize("pair", PAIRS)
def test_right_or_refused(pair: tuple[str, str]) -> None:
    backend, name = pair
    outcome = judge(CASES[name], backend)
    expected = "refused" if name in REFUSED[backend] else "right"
    assert outcome.kind == expected, f"{outcome.kind}: {outcome.message}"
    if name in UNTRACEABLE and expected == "refused":
        assert outcome.says_where, f"the refusal does not name the line: {outcome.message}"
        assert outcome.says_what_to_do, f"nor what to write instead: {outcome.message}"


@pytest.mark.parametrize("backend", [unless_missing(backend) for backend in TRACED])
@pytest.mark.parametrize("name", KEPT)
def test_a_warning_names_the_place_of_a_kept_traced_value(name: str, backend: str) -> None:
    """The place gets the plain value, which `test_right_or_refused` checks."""
    case = CASES[name]
    params, args = case.at(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gradlab.value_and_grad(case.loss(), backend=backend)(params, *args)
    told = [str(warning.message) for warning in caught]
    assert any(KEPT[name] in message and "detach" in message for message in told), told


@pytest.mark.parametrize("name", NAMES)
def test_complex_step_is_right_or_refused(name: str) -> None:
    """It may refuse any loss, as a loss need not be analytic as it is written."""
    outcome = judge(CASES[name], "complex-step")
    assert outcome.kind in {"right", "refused"}, f"{outcome.kind}: {outcome.message}"


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_itself(name: str) -> None:
    """The loss is finite and deterministic, changes no argument, and has a known gradient."""
    case = CASES[name]
    for draw in range(3):
        params, args = case.at(draw)
        value, again = (case.loss()(params, *args) for _ in range(2))
        assert np.ndim(value) == 0
        assert np.isfinite(value)
        assert value == again
        assert same((params, args), case.at(draw))
        known = truth(case, draw)
        size = np.abs(known.gradient).max()
        assert size > 0
        # A bound must reject a wrong gradient.
        eps = float(np.finfo(np.float32 if case.single else np.float64).eps)
        assert known.error.max() <= np.sqrt(eps) * max(size, 1e-3)
        assert known.rounding <= 1000 * ROUNDINGS * eps * size
        assert max(known.truncation.max(), known.noise) <= eps**0.25 * size


def test_the_tables_name_existing_losses() -> None:
    assert set().union(*REFUSED.values()) | KEPT.keys() <= CASES.keys()


def one_case(loss: object, params: object) -> registry.Case:
    return registry.Case("one", loss, params, (), False, False, 0)  # type: ignore[arg-type]


class Doubled:
    """A backend that is wrong by a factor, or in what it returns."""

    name = "doubled"

    def __init__(self, change: object) -> None:
        self.change = change

    def value_and_grad(self, loss: object) -> object:
        def f(params: np.ndarray) -> object:
            return self.change(loss(params), 2 * params)  # type: ignore[operator]

        return f


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda value, grad: (value, grad), "right"),
        (lambda value, grad: (value, grad * (1 + 1e-9)), "wrong"),
        (lambda value, grad: (value * (1 + 1e-9), grad), "wrong"),
        (lambda value, grad: (value, grad.astype(object)), "wrong"),
        (lambda value, grad: (value, grad[:1]), "wrong"),
        (lambda value, grad: (value, [grad]), "wrong"),
        (lambda value, grad: (np.array([value]), grad), "wrong"),
    ],
)
def test_the_judge_tells_right_from_wrong(change: object, kind: str) -> None:
    case = one_case(lambda x: np.sum(x**2), np.array([1.0, -2.0, 0.5]))
    assert judge(case, Doubled(change)).kind == kind  # type: ignore[arg-type]


def test_the_judge_of_errors() -> None:
    def refuse(value: float, grad: np.ndarray) -> None:
        raise gradlab.GradlabError("not this one")

    def fail(value: float, grad: np.ndarray) -> None:
        raise TypeError("must be real number, not ArrayBox")

    def noted(value: float, grad: np.ndarray) -> None:
        error = TypeError("must be real number")
        error.add_note("test_plain_numpy.py, line 3: write np.sin")
        raise error

    case = one_case(lambda x: np.sum(x**2), np.array([1.0]))
    outcomes = [judge(case, Doubled(each)) for each in (refuse, fail, noted)]  # type: ignore[arg-type]
    assert [outcome.kind for outcome in outcomes] == ["refused", "raw", "refused"]
    assert [outcome.says_where for outcome in outcomes] == [False, False, True]
    assert [outcome.says_what_to_do for outcome in outcomes] == [False, False, True]


@pytest.mark.parametrize(
    ("source", "params"),
    [
        (lambda x: np.sum(np.exp(x) * np.sin(x)), np.array([0.3, -1.0, 2.0])),
        (lambda x: np.sum(np.abs(np.exp(x) * np.sin(x)) + 0), np.array([0.3, 1.0, 2.0])),
    ],
)
def test_true_gradients_are_right(source: object, params: np.ndarray) -> None:
    """The references are closed forms, for losses that are analytic and that are not."""
    known = truth(one_case(source, params), 0)
    expected = np.exp(params) * (np.sin(params) + np.cos(params))
    assert (np.abs(known.gradient - expected) <= known.error + known.rounding).all()
    assert known.analytic == (params.min() < 0)


def test_the_truth_of_what_is_not_analytic() -> None:
    """A complex step that drops an imaginary part is off by half, and must not be used."""
    params = np.array([0.3, -1.0, 2.0])
    known = truth(one_case(lambda x: np.sum(x * np.real(x)), params), 0)
    assert not known.analytic
    assert (np.abs(known.gradient - 2 * params) <= known.error).all()


def test_the_truth_near_a_kink() -> None:
    """No error bar is small where the steps reach across a kink."""
    known = truth(one_case(lambda x: np.sum(np.abs(x)), np.array([1e-6])), 0)
    assert known.error[0] > 0.1


def test_traced_values_are_found_in_what_is_kept() -> None:
    class Keeper:
        def __init__(self, **kept: object) -> None:
            self.__dict__.update(kept)

    box = gradlab.Tape()  # any object of gradlab's
    assert not traced_in({"a": np.ones(3), "b": [1.0, None, {"c": "text"}], "k": Keeper(d=2)})
    assert traced_in({"k": Keeper(h=[np.ones(2), box])}) == ".k.h[1] is a Tape"
    assert traced_in({"a": np.array([None, box])}) == ".a"
    assert not is_plain(np.ma.ones(2))


def test_the_summary_counts() -> None:
    some = list(CASES.values())[-3:]
    assert plain_numpy.CASES is CASES
    row = summary(["central"], some).splitlines()[1].split()
    assert row == ["central", "3", "0", "0", "0"]
