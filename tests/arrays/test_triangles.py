"""Decompositions that read one triangle of a matrix: the other has the derivative 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import each_backend

import gradlab

A = np.array([[2.3, 0.4, 0.2], [0.7, 2.9, -0.3], [0.1, 0.5, 3.7]])
W = np.array([1.0, -2.0, 0.5])

LOSSES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "cholesky": (lambda a: np.sum(np.linalg.cholesky(a) @ W), True),
    "cholesky, upper": (lambda a: np.sum(np.linalg.cholesky(a, upper=True) @ W), False),
    "eigh": (lambda a: np.linalg.eigh(a)[0] @ W + np.linalg.eigh(a)[1][:, 0] ** 2 @ W, True),
    "eigh, upper": (lambda a: np.linalg.eigh(a, UPLO="U")[0] @ W, False),
    "eigvalsh": (lambda a: np.linalg.eigvalsh(a) @ W, True),
}


@each_backend(["autograd", "jax", "torch"])
@pytest.mark.parametrize("name", LOSSES)
def test_only_one_triangle_has_a_derivative(name: str, backend: str) -> None:
    loss, is_lower = LOSSES[name]
    gradient = gradlab.grad(loss, backend=backend)(A)
    measured = gradlab.grad(loss, backend="richardson")(A)
    np.testing.assert_array_equal(
        (np.triu if is_lower else np.tril)(gradient, 1 if is_lower else -1), 0
    )
    np.testing.assert_allclose(gradient, measured, rtol=1e-7, atol=1e-7)
