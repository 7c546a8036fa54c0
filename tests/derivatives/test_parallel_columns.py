"""Columns of a Jacobian by several workers have the bits of those by one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from processes import PATIENCE

import gradlab
from gradlab import errors


def simulate(p, scale):
    """Return outputs that are smooth, kinked, rounded to float32, and of another size."""
    w, b = p["w"], p["b"]
    return {
        "smooth": scale * np.tanh(w @ np.arange(1.0, 4.0) + b),
        "kink": np.abs(w).sum(axis=0),
        "single": np.float32(1e-3) * np.asarray(w, np.float32)[0] ** 2,
        "large": 1e8 * np.exp(b),
    }


def point():
    rng = np.random.default_rng(0)
    return {"w": rng.normal(size=(2, 3)), "b": np.array([0.0, 0.3])}


def assert_same(found, wanted):
    for name in wanted:
        for leaf in wanted[name]:
            np.testing.assert_array_equal(found[name][leaf], wanted[name][leaf])


BACKENDS = {
    "forward": gradlab.ForwardDifference,
    "central": gradlab.CentralDifference,
    "central4": gradlab.CentralDifference4,
    "richardson": gradlab.Richardson,
}


@pytest.mark.parametrize("name", BACKENDS)
def test_threads_give_the_same_bits(name):
    wanted = gradlab.jacobian(simulate, BACKENDS[name]())(point(), 2.0)
    with ThreadPoolExecutor(3) as executor:
        shared = BACKENDS[name](workers=executor.map)
        assert_same(gradlab.jacobian(simulate, shared)(point(), 2.0), wanted)


@pytest.mark.slow
def test_processes_give_the_same_bits():
    wanted = gradlab.jacobian(simulate, "central")(point(), 2.0)
    backend = gradlab.CentralDifference(evaluation=gradlab.Workers(2))
    assert_same(gradlab.jacobian(simulate, backend)(point(), 2.0), wanted)


def test_noise_seen_by_one_worker_widens_the_steps_of_all():
    def f(x):  # computes in float32, and returns float64
        return np.asarray(np.sin(x * np.arange(1.0, 9.0)).astype(np.float32), float) + 0.0 * x[0]

    x = np.linspace(0.3, 1.0, 8)
    wanted = gradlab.jacobian(f, "central")(x)
    with ThreadPoolExecutor(2) as executor:
        found = gradlab.jacobian(f, gradlab.CentralDifference(workers=executor.map))(x)
    np.testing.assert_array_equal(found, wanted)
    k = np.arange(1.0, 9.0)
    bound = k**3 * float(np.finfo(np.float32).eps) ** (2 / 3)  # h² times the third derivative
    assert (np.abs(np.diag(found) - k * np.cos(k * x)) <= bound).all()


def test_columns_are_evaluated_at_the_same_time():
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def f(x):
        if x[0] != 0.5 or x[1] != 0.5:  # two perturbed evaluations wait for each other
            barrier.wait()
        time.sleep(0.02)  # long enough that a chunk is one column
        return x**2

    with ThreadPoolExecutor(2) as executor:
        backend = gradlab.ForwardDifference(step=0.25, workers=executor.map)
        found = gradlab.jacobian(f, backend)(np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, np.diag([1.25, 1.25]))


def test_a_sparsity_goes_with_workers():
    pytest.importorskip("scipy", reason="SciPy is not installed")
    pattern = np.eye(6) + np.eye(6, k=1)

    def f(x):
        return x**2 + np.append(np.sin(x[1:]), 0.0)

    x = np.linspace(0.5, 1.5, 6)
    wanted = gradlab.jacobian(f, "central", sparsity=pattern)(x)
    with ThreadPoolExecutor(2) as executor:
        shared = gradlab.CentralDifference(workers=executor.map)
        found = gradlab.jacobian(f, shared, sparsity=pattern)(x)
    np.testing.assert_array_equal(found, wanted)


def test_a_hessian_of_values_takes_workers_for_the_outer_differences():
    def loss(x):
        return np.sum(np.exp(x)) * x[0]

    x = np.array([0.5, -0.2, 0.1])
    wanted = gradlab.hessian(loss, "central")(x)
    with ThreadPoolExecutor(2) as executor:
        found = gradlab.hessian(loss, gradlab.CentralDifference(workers=executor.map))(x)
    np.testing.assert_array_equal(found, wanted)


def test_a_failure_is_that_of_the_first_column():
    def f(x):
        if x[1] != 1.0:
            raise ValueError("second")
        if x[3] != 1.0:
            raise ValueError("fourth")
        return x**2

    with ThreadPoolExecutor(2) as executor, pytest.raises(ValueError, match="second"):
        gradlab.jacobian(f, gradlab.CentralDifference(workers=executor.map))(np.ones(5))


def test_a_column_that_fails_is_computed_again_once():
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) == 2:  # the first perturbed evaluation
            raise OSError("the licence server is busy")
        return x**2

    found = gradlab.jacobian(f, gradlab.CentralDifference(workers=map))(np.ones(2))
    np.testing.assert_allclose(found, 2 * np.eye(2), rtol=1e-9)
    with pytest.raises(OSError, match="busy") as caught:
        gradlab.jacobian(busy, gradlab.CentralDifference(workers=map))(np.ones(2))
    assert "it was evaluated twice, and failed both times" in caught.value.__notes__


def busy(x):
    if x[0] != 1.0:
        raise OSError("the licence server is busy")
    return x**2


def test_workers_without_an_answer_are_named():
    def lazy(function, *values):
        return []

    with pytest.raises(errors.WorkerError, match="without an answer"):
        gradlab.jacobian(np.sin, gradlab.CentralDifference(workers=lazy))(np.ones(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": "part"}, "resume= stores the slopes of a loss, one number"),
        ({"evaluation": gradlab.Recorded()}, "is for the gradient of a loss: give Loop"),
    ],
)
def test_options_only_for_gradients_are_refused(options, message):
    with pytest.raises(errors.OptionError, match=message):
        gradlab.jacobian(np.sin, gradlab.CentralDifference(**options))
