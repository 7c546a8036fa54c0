"""Estimators: right on average, with the noise of the theory, and the same bits for one seed.

The tests of means and variances are statistical, and state the probability of a false alarm. Their
draws follow from fixed seeds, so that they fail at every run or at none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab import SPSA, ForwardGradient, fit, network
from gradlab.errors import BackendError, NonFiniteError, OptionError
from gradlab.gradients.estimators import directions

SAMPLES = 4000
Z = 6.0
"""Standard errors of a mean: a normal variable is further away with a probability of 2e-9."""

ESTIMATORS = {
    "spsa": SPSA,
    "forward-gradient": ForwardGradient,
    "forward-gradient of signs": lambda **options: ForwardGradient(directions="signs", **options),
}
every_estimator = pytest.mark.parametrize("build", ESTIMATORS.values(), ids=ESTIMATORS)

POINT = {"w": np.array([[0.3, -1.2], [0.7, 2.0]]), "b": np.array([0.5])}


def loss(p: Any) -> Any:
    """Compute a loss that is curved in every entry, with all of them in one product."""
    return np.sin(p["w"]).sum() + 0.5 * (p["w"] ** 2).sum() * p["b"][0] + p["b"][0] ** 3


def flat(grads: Any) -> np.ndarray:
    return np.concatenate([grads["w"].ravel(), grads["b"]])


GRADIENT = flat(gradlab.grad(loss)(POINT))


def variance(build: Any) -> np.ndarray:
    """Return the variance of an estimate's entries: |∇f|² plus its square, or minus for signs."""
    sign = 1.0 if build is ForwardGradient else -1.0
    return np.sum(GRADIENT**2) + sign * GRADIENT**2


@pytest.mark.slow
@every_estimator
def test_mean_and_variance_are_those_of_theory(build: Any) -> None:
    """False alarm: 2e-8, five entries and two moments at 2e-9 each, by the central limit theorem.

    A mean with an error of a tenth of |∇f|, Z standard errors, is detected; the truncation error of
    spsa, h² times third derivatives, is 1e-10.
    """
    found = np.array([flat(gradlab.grad(loss, build(seed=i))(POINT)) for i in range(SAMPLES)])
    wanted = variance(build)
    off = np.abs(found.mean(axis=0) - GRADIENT)
    assert np.all(off <= Z * np.sqrt(wanted / SAMPLES) + 1e-8)
    squares = (found - GRADIENT) ** 2
    assert np.all(np.abs(squares.mean(axis=0) - wanted) <= Z * squares.std(axis=0) / SAMPLES**0.5)


@every_estimator
def test_draws_are_averaged(build: Any) -> None:
    """False alarm: 1e-8, five entries at 2e-9 each."""
    draws = 4000
    found = flat(gradlab.grad(loss, build(draws=draws))(POINT))
    assert np.all(np.abs(found - GRADIENT) <= Z * np.sqrt(variance(build) / draws) + 1e-8)


@pytest.mark.parametrize("kind", ["signs", "normal"])
def test_directions_are_independent_with_mean_0_and_variance_1(kind: Any) -> None:
    """False alarm: 2e-9 per moment; 8 means and 64 products: 2e-7."""
    leaves = [np.zeros((2, 3)), np.zeros(()), np.ones(1)]
    drawn = np.array(
        [
            np.concatenate([np.ravel(leaf) for leaf in v])
            for v in directions(leaves, 20_000, entropy=3, kind=kind)
        ]
    )
    n, p = drawn.shape
    assert np.all(np.abs(drawn.mean(axis=0)) <= Z / np.sqrt(n))
    products = drawn.T @ drawn / n - np.eye(p)
    deviation = np.ones((p, p)) + np.eye(p)  # of v_i v_j; of v², √2, or 0 for signs
    assert np.all(np.abs(products) <= Z * deviation / np.sqrt(n))
    assert kind == "normal" or set(np.unique(drawn)) == {-1.0, 1.0}


def test_spsa_is_spalls_quotient() -> None:
    """The bits are those of (f(x + c Δ) - f(x - c Δ)) / (2 c Δ_i), as the step is a power of 2."""
    x, c = np.array([0.5, -0.25, 2.0]), 2.0**-10

    def f(x: Any) -> Any:
        return np.exp(x).sum()

    backend = SPSA(step=c, seed=4)
    [signs] = next(directions([x], 1, backend.entropy(), "signs"))
    quotient = (f(x + c * signs) - f(x - c * signs)) / (2 * c)
    assert gradlab.grad(f, backend)(x).tolist() == (quotient / signs).tolist()


def test_spsa_takes_a_loss_that_cannot_be_traced() -> None:
    found = gradlab.grad(lambda x: float(str(float(x[0]))) ** 2, SPSA())(np.array([3.0]))
    assert found[0] == pytest.approx(6.0)


@every_estimator
def test_the_seed_decides_the_bits(build: Any) -> None:
    def estimate(seed: Any) -> Any:
        return gradlab.grad(loss, build(seed=seed, draws=9))(POINT)["w"]

    first, again, other = map(estimate, (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert (first != other).any()
    generators = [np.random.default_rng(1), np.random.default_rng(1)]
    one, two = map(estimate, generators)
    assert one.tobytes() == two.tobytes()
    assert (estimate(generators[0]) != one).any()  # a generator moves on


@every_estimator
def test_other_parameters_have_other_directions(build: Any) -> None:
    """Otherwise, a training would evaluate the loss along one line only."""
    gradient = gradlab.grad(lambda p: p.sum(), build())
    signs = {tuple(np.sign(gradient(np.full(20, 0.1 * k)))) for k in range(10)}
    assert len({max(s, tuple(-x for x in s)) for s in signs}) == 10


@every_estimator
def test_a_network_is_trained_by_estimates(build: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(60, 2))
    x = x[abs(x @ [1.0, -2.0]) > 0.2]
    labels = (x @ [1.0, -2.0] > 0).astype(int)
    start = network.init((2, 4, 2), 0)
    result = fit(
        network.loss, start, (x, labels), backend=build(draws=4), learning_rate=0.1, momentum=0.9,
        batch_size=len(x), epochs=200,
    )  # fmt: skip
    assert network.accuracy(result.params, x, labels) > 0.9


@every_estimator
def test_a_check_of_an_estimator_is_refused(build: Any) -> None:
    with pytest.raises(BackendError, match="right only on average"):
        gradlab.check_gradients(loss, POINT, gradient=build())


@every_estimator
@pytest.mark.parametrize("options", [{"draws": 0}, {"draws": 1.5}, {"seed": -1}, {"seed": "x"}])
def test_useless_options_are_refused(build: Any, options: Any) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name}="):
        build(**options)


@pytest.mark.parametrize("step", [0.0, -1e-4, np.nan, np.inf, True, "small"])
def test_useless_steps_are_refused(step: Any) -> None:
    with pytest.raises(OptionError, match="step="):
        SPSA(step=step)


def test_useless_directions_are_refused() -> None:
    with pytest.raises(OptionError, match="directions='uniform': choose normal or signs"):
        ForwardGradient(directions="uniform")  # type: ignore[arg-type]


def test_a_step_that_vanishes_is_named() -> None:
    with pytest.raises(OptionError, match=r"w\[1\] = 100000000.0: give a larger step"):
        gradlab.grad(lambda p: p["w"].sum(), SPSA(step=1e-9))({"w": np.array([1.0, 1e8])})


def test_a_loss_without_values_beside_the_point() -> None:
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(NonFiniteError, match=r"moved by .* along a direction"),
    ):
        gradlab.grad(lambda x: np.sqrt(x).sum(), SPSA())(np.array([0.0, 1.0]))


def test_a_slope_that_is_infinite() -> None:
    with (
        np.errstate(divide="ignore"),
        pytest.raises(NonFiniteError, match=r"the slope along a random direction is -?inf"),
    ):
        gradlab.grad(lambda x: np.sqrt(x).sum(), ForwardGradient())(np.array([0.0, 1.0]))
