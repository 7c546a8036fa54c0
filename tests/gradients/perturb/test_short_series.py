"""The short series of the engine have as few terms as suffice, or are refused."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradlab.gradients.perturb.changes import HALF_ULP, Change, change_of, expm1, tanh_half
from gradlab.gradients.perturb.operations import NoRule, axes_of
from gradlab.gradients.perturb.powers import MAX_POWERS, Powers, _largest_scale, elementwise
from gradlab.program.ir import Node
from gradlab.program.primitives import MEAN, SUM

SIZES = 2.0 ** np.linspace(-30, 0, 241)
"""Perturbations over all lengths of the series, eight to an octave."""


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_short_series_errs_by_less_than_the_rounding_of_its_result(sign):
    """The bound is half an ulp of 1, plus the rounding of six operations on the series itself.

    The largest perturbation decides for all, so each is tried together with a smaller one.
    """
    for size in SIZES:
        d = np.array([sign * size, size / 3])
        room = HALF_ULP + 6 * np.finfo(float).eps * np.abs(d)
        assert (np.abs(expm1(d) - np.expm1(d)) <= room).all()
        assert (np.abs(tanh_half(d) - 2 * np.tanh(d / 2)) <= room).all()


EXACT = {
    np.add: lambda a, b: a + b,
    np.subtract: lambda a, b: a - b,
    np.multiply: lambda a, b: a * b,
    np.divide: lambda a, b: a / b,
    np.negative: lambda a: -a,
    np.square: lambda a: a * a,
    np.exp: mpmath.exp,
    np.tanh: mpmath.tanh,
}


@pytest.mark.parametrize("primitive", EXACT)
@pytest.mark.parametrize("moves", [(1e-20, 0.0), (0.0, -3e-20), (1e-20, -3e-20), (0.25, -0.5)])
def test_the_change_of_an_operation_is_exact_however_small(primitive, moves):
    """It is exact to a few roundings; the difference of two values would be 0."""
    bases = np.array([[1.25], [-0.75]])[: primitive.nin]
    moves = moves[: primitive.nin]
    operands = [Change(a, np.array([d])) if d else a for a, d in zip(bases, moves, strict=True)]
    if not any(moves):
        return
    with mpmath.workdps(60):
        before, after = (
            EXACT[primitive](
                *[
                    mpmath.mpf(float(a[0])) + s * mpmath.mpf(d)
                    for a, d in zip(bases, moves, strict=True)
                ]
            )
            for s in (0, 1)
        )
        expected = float(after - before)
    found = change_of(primitive, operands, primitive(*bases)).delta
    np.testing.assert_allclose(found, [expected], rtol=16 * np.finfo(float).eps)


@pytest.mark.parametrize(
    ("function", "size", "series"),
    [
        (expm1, 8.5e-6, lambda d: (d * 0.5 + 1) * d),
        (expm1, 9e-6, lambda d: ((d * (1 / 6) + 0.5) * d + 1) * d),
        (expm1, 2.2e-4, lambda d: ((d * (1 / 6) + 0.5) * d + 1) * d),
        (expm1, 2.4e-4, np.expm1),
        (tanh_half, 1.05e-5, lambda d: d),
        (tanh_half, 1.15e-5, lambda d: (d * d * (-1 / 12) + 1) * d),
        (tanh_half, 1.6e-3, lambda d: (d * d * (-1 / 12) + 1) * d),
        (tanh_half, 1.75e-3, lambda d: np.tanh(d * 0.5) * 2),
    ],
)
def test_the_shortest_series_is_taken(function, size, series):
    """Its remainder |d|ᵐ⁺¹/(m+1)! is below half an ulp; larger d use the function itself."""
    d = np.array([size, -size / 3])
    np.testing.assert_array_equal(function(d), series(d))


def exp_change(a, d):
    return np.exp(a) * np.expm1(d), np.exp(a + d)


def tanh_change(a, d):
    """Return the change and 1: tanh(x) = 2 σ(2x) - 1 is as precise as σ."""
    t, rise = np.tanh(a), np.tanh(d)
    return rise * (1 - t**2) / (1 + t * rise), 1.0


@pytest.mark.parametrize(("function", "change"), [(np.exp, exp_change), (np.tanh, tanh_change)])
@pytest.mark.parametrize("size", SIZES[::4])
def test_a_power_series_errs_by_less_than_the_rounding_of_its_result(function, change, size):
    """Beyond the largest number of terms, there is no series."""
    a, u = np.linspace(-2, 2, 9).reshape(9, 1, 1, 1), np.array([-size, size]).reshape(1, 2, 1)
    found = elementwise(function, [Powers.rank_one(a, np.ones((9, 1, 1, 1)), u)], function(a))
    if found is None:
        assert size > 2.0**-10
        return
    assert 1 <= len(found.coefficients) <= MAX_POWERS
    exact, scale = change(a, u)
    room = HALF_ULP * scale + 32 * np.finfo(float).eps * np.abs(exact)
    assert (np.abs(found.change().delta - exact) <= room).all()


@pytest.mark.parametrize(
    ("function", "size", "terms"),
    [
        (np.exp, 1e-4, 3),
        (np.exp, 2e-4, 4),
        (np.log, 6e-5, 3),
        (np.log, 9e-5, 4),
        (np.exp, 4.0, None),
    ],
)
def test_a_power_series_has_as_many_terms_as_its_remainder_needs(function, size, terms):
    """The bound is that of exp at 3, 20.1, or of -log(1 - q) at 3/4, 1.4: for n terms, it has to be
    below half an ulp times (3 / size)ⁿ⁺¹, or (3/4 / size)ⁿ⁺¹."""
    u = np.array([-size, size]).reshape(1, 2, 1)
    powers = Powers.rank_one(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), u)
    found = elementwise(function, [powers], function(np.ones((1, 1, 1, 1))))
    assert (found and len(found.coefficients)) == terms


@pytest.mark.parametrize("sizes", [[2.0], [1e-3, 5.0], [1.0, 0.0, 40.0], [0.0, 1.0]])
def test_a_series_is_scaled_to_a_radius(sizes):
    """The largest factor is right within a tenth; a single term reaches the radius itself."""
    s = _largest_scale(sizes, 3.0)
    reached = [sum(a * (x * s) ** n for n, a in enumerate(sizes, 1)) for x in (1, 1.12)]
    assert reached[0] <= 3.0 * (1 + 1e-8) < reached[1]
    if len(sizes) == 1:
        assert s == 1.5


X = Node(None, shape=(2, 3, 4))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Node(SUM, (X,)), ((0, 1, 2), False)),
        (Node(SUM, (X, None)), ((0, 1, 2), False)),
        (Node(SUM, (X, 1)), ((1,), False)),
        (Node(MEAN, (X,), {"axis": (-1, 0), "keepdims": True}), ((0, 2), True)),
    ],
)
def test_the_axes_of_a_reduction(node, expected):
    assert axes_of(node) == expected


@pytest.mark.parametrize("node", [Node(SUM, (X, 0, None)), Node(SUM, (X,), {"initial": 1.0})])
def test_a_reduction_with_other_options_has_no_rule(node):
    with pytest.raises(NoRule, match="a reduction with options"):
        axes_of(node)
