"""Second derivatives at extreme numbers: where tanh saturates, and of abs where x² overflows."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import gradlab

BACKENDS = pytest.mark.parametrize("backend", ["autograd", "tape", "autograd-forward"])


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_hessian_of_a_saturated_tanh_is_zero(backend, dtype):
    x = np.array([800.0, -1000.0, 360.0, 0.5], dtype)
    found = gradlab.hessian(lambda x: np.sum(np.tanh(x)), backend)(x)
    t = np.tanh(0.5)
    wanted = np.diag([0.0, 0.0, 0.0, -2 * t * (1 - t * t)])
    # At 360 the curvature is -8 e^-720, a subnormal number that a backend may round to 0.
    info = np.finfo(dtype)
    np.testing.assert_allclose(found, wanted, rtol=8 * float(info.eps), atol=float(info.tiny))


@BACKENDS
@pytest.mark.parametrize("x", [0.0, 1e-8, 5.0, 30.0, 176.0, 178.0, 230.0])
def test_second_derivatives_of_tanh_keep_their_digits(backend, x):
    """Beyond x = 236, cosh³ overflows. A rounding of x changes cosh by x roundings."""
    found = gradlab.hessian(np.tanh, backend)(x)
    with mpmath.workdps(60):
        wanted = float(-2 * mpmath.tanh(x) * mpmath.sech(x) ** 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-14 * max(x, 1.0), atol=0)


@BACKENDS
def test_a_cosh_that_overflows_behind_a_zero_has_no_slope(backend):
    with np.errstate(over="ignore"):
        found = gradlab.grad(lambda x: np.sum(1 / np.cosh(x)), backend)(np.array([800.0, 1.0]))
    np.testing.assert_allclose(found, [0.0, -np.tanh(1.0) / np.cosh(1.0)], rtol=1e-15)


@BACKENDS
@pytest.mark.parametrize("x", [0.0, 2.5, -1e-200, 1e160, -1e200])
def test_the_absolute_value_has_no_curvature(backend, x):
    found = gradlab.hessian(lambda x: np.sum(np.abs(x)), backend)(np.array([x, 1.0]))
    np.testing.assert_array_equal(found, np.zeros((2, 2)))
    assert gradlab.grad(np.abs, backend)(x) == np.sign(x)


@BACKENDS
def test_the_absolute_value_of_a_complex_number_bends(backend):
    def length(p):
        return np.abs(p[0] + 1j * p[1])

    found = gradlab.hessian(length, backend)(np.array([3.0, 4.0]))
    wanted = np.array([[16.0, -12.0], [-12.0, 9.0]]) / 125  # (I - u uᵀ) / r
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * 2.0**-52)
