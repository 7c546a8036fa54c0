"""The search for small jumps on far rungs, next to polynomials that amplify the noise."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.gradients.slopes.far import Polynomial, search
from gradlab.gradients.slopes.jumps import NOISE_RATIO

ZERO = Polynomial(np.zeros(1), np.zeros(1))
"""A polynomial that predicts 0 everywhere."""


def test_noise_is_amplified_by_the_weights() -> None:
    """The parabola through -1, 0 and 1 has the weights 1, -3 and 3 at 2."""
    model = Polynomial(np.array([0.0, 1.0, -1.0]), np.zeros(3))
    np.testing.assert_allclose(model.weights(2.0), [-3.0, 3.0, 1.0])
    assert model.amplified(2.0) == pytest.approx(1 + 7)


@pytest.mark.parametrize("place", np.linspace(0.251, 0.499, 20))
def test_a_search_follows_the_half_that_breaks_the_trend(place: float) -> None:
    """The jump is a 25th of the change of the function, which both halves share at first."""
    asked: list[float] = []

    def line(t: float) -> tuple[float, float]:
        asked.append(t)
        return t, t + 0.01 * (t > place)

    jump = search(line, ZERO, 0.25, 0.5, 1e-16)
    assert jump is not None
    assert len(asked) == 2 + 25
    assert 0 <= jump.place - place <= 0.25 * 2.0**-25
    assert jump.height == pytest.approx(0.01, rel=1e-5)


def test_a_change_within_the_noise_is_not_a_jump() -> None:
    for share, is_seen in ((0.9, False), (1.1, True)):
        height = share * NOISE_RATIO * 1e-6
        found = search(lambda t, height=height: (t, height * (t > 0.3)), ZERO, 0.25, 0.5, 1e-6)
        assert (found is not None) is is_seen
