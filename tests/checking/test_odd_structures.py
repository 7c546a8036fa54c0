"""Functions whose structures are unusual: empty outputs, and dicts in another order."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradlab

Z, H = np.array([1.0 + 2j, -0.5j]), np.array([0.5 - 1j, 2.0 + 0j])


def test_a_wrong_derivative_beside_an_empty_output_has_a_report() -> None:
    def f(p: Any) -> Any:
        return {"none": p[:0], "cubes": p**3}

    def vjp(p: Any, u: Any) -> Any:
        return 6 * p**2 * u["cubes"]

    report = gradlab.check_derivatives(f, np.array([1.0, 2.0]), vjp=vjp)
    assert report.verdict == "mismatch"
    (cause,) = (leaf.cause for leaf in report.leaves if leaf.cause)
    assert cause.startswith("2 times too large")


def test_gradients_of_complex_parameters_may_come_in_another_order() -> None:
    def f(p: Any) -> Any:
        return p["z"] * p["h"]

    def vjp(p: Any, u: Any, factor: float = 1.0) -> Any:  # JAX sorts the keys of a dict
        return {"h": u * p["z"], "z": factor * u * p["h"]}

    p = {"z": Z, "h": H}
    wrong = gradlab.check_derivatives(f, p, vjp=lambda p, u: vjp(p, u, -1.0), convention="jax")
    assert {entry.parameter.split(".")[0] for entry in wrong.entries} == {"h", "z"}
    assert {entry.parameter.split(".")[0] for entry in wrong.mismatches} == {"z"}

    def gradient(p: Any) -> Any:
        return {"h": 4 * p["h"], "z": 2 * p["z"]}

    def loss(p: Any) -> Any:
        return np.sum(np.abs(p["z"]) ** 2) + 2 * np.sum(np.abs(p["h"]) ** 2)

    assert gradlab.check_gradients(loss, p, gradient=gradient, convention="torch").ok
