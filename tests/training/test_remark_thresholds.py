"""The thresholds of remarks on a training.

Each test computes by hand how far a training is from a threshold, and goes a factor of two to three
to both sides of it.
"""

import warnings

import numpy as np
import pytest

from gradlab import fit
from gradlab.errors import TrainingWarning


def remarks(loss, start, data=None, **options):
    """Return the remarks on a training."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(loss, start, data, backend="autograd", **options)
    return [str(w.message) for w in caught if w.category is TrainingWarning]


def parabola(w):
    return 0.5 * w**2


@pytest.mark.parametrize(("share", "expected"), [(2e-3, []), (5e-4, ["all 100 steps together"])])
def test_a_training_is_too_slow_below_a_thousandth_of_its_loss(share, expected):
    """A step of w²/2 from w = 1 promises the learning rate, which is twice that share of 1/2."""
    said = remarks(parabola, 1.0, learning_rate=share / 200, iterations=100)
    assert [text[: len(start)] for text, start in zip(said, expected, strict=True)] == expected


def test_a_quadratic_that_diverges_has_too_large_a_learning_rate():
    """For w²/2, the promise is 2 η times the loss: 4.4 here, beyond 4, where descent diverges."""
    (said,) = remarks(parabola, 1.0, learning_rate=2.2, iterations=30)
    assert said.startswith("the learning rate (2.2) is too large")


def test_noise_of_minibatches_does_not_blame_the_learning_rate():
    """The loss (w - y)² of a single target promises 4 η of itself, 2.4 here, which is stable.

    The first loss, at the mean of the targets, is 1. The mean of the losses after it is about 2.
    """
    targets = np.random.default_rng(0).choice([-1.0, 1.0], size=200)
    result = remarks(
        lambda w, y: np.mean((w - y) ** 2), 0.0, (targets,), learning_rate=0.6, batch_size=1,
        epochs=1,
    )  # fmt: skip
    assert result == []
