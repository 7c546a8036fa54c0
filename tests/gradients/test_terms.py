"""A sum of terms has the gradient of its loss, from one evaluation per group of entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradlab
from gradlab import SumOfTerms
from gradlab.errors import LossError, NonFiniteError, OptionError

DIFFERENCES = (
    gradlab.ForwardDifference(1e-6),
    gradlab.CentralDifference(1e-4),
    gradlab.CentralDifference4(1e-3),
)


class Sparse:
    """Terms sin(C x) + (C x)² of a sparse matrix C, which count their evaluations."""

    def __init__(self, pattern: Any) -> None:
        self.calls = 0
        self.matrix = np.where(pattern, np.random.default_rng(0).normal(size=pattern.shape), 0.0)

    def __call__(self, params: Any) -> Any:
        self.calls += 1
        x = np.concatenate([params["a"].reshape(-1), params["b"]])
        z = (self.matrix * x).sum(1)  # no BLAS, whose sums depend on what else is in a row
        return np.sin(z) + z * z


def params_of(p: int) -> dict[str, Any]:
    x = np.random.default_rng(1).normal(size=p)
    return {"a": x[: p - 2].reshape(1, -1), "b": x[p - 2 :]}


patterns = hnp.arrays(
    bool,
    st.tuples(st.integers(1, 8), st.integers(3, 12)),
    elements=st.integers(0, 3).map(lambda i: i == 0),
)


@pytest.mark.parametrize("backend", DIFFERENCES, ids=lambda backend: backend.name)
@given(pattern=patterns)
def test_groups_change_only_the_cost(backend: Any, pattern: Any) -> None:
    terms = Sparse(pattern)
    params = params_of(pattern.shape[1])
    loss = SumOfTerms(terms, pattern)
    value, found = gradlab.value_and_grad(loss, backend)(params)
    p = pattern.shape[1]
    groups = len(loss.groups(0, p - 2)) + len(loss.groups(p - 2, p))
    assert terms.calls == backend.extra_evaluations + backend.points * groups
    wanted_value, wanted = gradlab.value_and_grad(lambda p: terms(p).sum(), backend)(params)
    assert value == wanted_value
    for name in params:
        bound = 64 * 2.0**-52 * max(1.0, abs(value)) / backend.step
        assert np.abs(found[name] - wanted[name]).max() <= bound


@given(pattern=patterns)
def test_groups_share_no_term_and_hold_each_entry_once(pattern: Any) -> None:
    p = pattern.shape[1]
    groups = SumOfTerms(np.abs, pattern).groups(1, p)
    assert sorted(np.concatenate(groups).tolist()) == list(range(1, p))
    assert all(pattern[:, group].sum(1).max() <= 1 for group in groups)


def test_a_chain_takes_two_groups_at_any_length() -> None:
    chain = np.eye(199, 200, dtype=bool) | np.eye(199, 200, 1, dtype=bool)
    calls = []

    def terms(x: Any) -> Any:
        calls.append(1)
        return (x[1:] - x[:-1] ** 2) ** 2

    x = np.linspace(-1, 1, 200)
    found = gradlab.grad(SumOfTerms(terms, chain), gradlab.CentralDifference4())(x)
    assert len(calls) == 1 + 4 * 2
    exact = gradlab.grad(lambda x: terms(x).sum(), "autograd")(x)
    assert np.abs(found - exact).max() < 1e-10


def test_other_backends_take_a_sum_of_terms_as_a_loss() -> None:
    loss = SumOfTerms(lambda x: x**2, np.eye(3, dtype=bool))
    for backend in ("autograd", "tape", "complex-step", "richardson"):
        assert np.allclose(gradlab.grad(loss, backend)(np.arange(3.0)), [0, 2, 4], atol=1e-9)


def test_scipy_matrices_are_taken() -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    loss = SumOfTerms(lambda x: x**2, sparse.eye(3, dtype=bool))
    assert gradlab.grad(loss, gradlab.CentralDifference(0.5))(np.arange(3.0)).tolist() == [0, 2, 4]


def test_a_term_that_changes_against_the_matrix_is_named() -> None:
    pattern = np.eye(3, dtype=bool)
    pattern[2] = False
    loss = SumOfTerms(lambda x: np.exp(x), pattern)
    with pytest.raises(LossError, match=r"term 2 changes where params\[0\] and others are"):
        gradlab.grad(loss, "central")(np.zeros(3))


def test_a_term_that_is_not_finite_is_named() -> None:
    loss = SumOfTerms(lambda x: 1 / (x - 1), np.eye(3, dtype=bool))
    with (
        pytest.raises(NonFiniteError, match=r"term 1 of the loss is not finite where params\[1\]"),
        np.errstate(all="ignore"),
    ):
        gradlab.grad(loss, gradlab.CentralDifference(0.5))(np.array([0.0, 0.5, 3.0]))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SumOfTerms(np.abs, np.eye(3)), OptionError, "give truth values"),
        (lambda: SumOfTerms(np.abs, np.ones(3, bool)), OptionError, r"shape \(3,\)"),
        (lambda: SumOfTerms(7, np.eye(3, dtype=bool)), OptionError, "terms=7"),
        (lambda: wrong(np.eye(3, 4, dtype=bool)), OptionError, "4 columns; the parameters have 3"),
        (lambda: wrong(np.eye(4, 3, dtype=bool)), LossError, r"shape \(3,\) and float64; sparsity"),
        (lambda: wrong(np.eye(3, dtype=bool), workers=2), OptionError, "without them"),
    ],
)
def test_mistakes_are_named(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def wrong(sparsity: Any, **options: Any) -> Any:
    return gradlab.grad(SumOfTerms(np.abs, sparsity), gradlab.CentralDifference(**options))(
        np.ones(3)
    )
