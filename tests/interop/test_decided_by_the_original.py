"""Drop-ins: rounding is accepted, and the original check decides inconclusive cases."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive
from optional import is_installed

import gradlab
from gradlab.interop.autograd import check_grads
from gradlab.interop.shared import (
    MAX_ROUNDOFF,
    InconclusiveError,
    accepted,
    decided_by,
    require_right,
)


def inconclusive():
    """Compute a function that has no slope, at a jump."""
    return gradlab.check_derivatives(lambda x: 1.0 * (x == 1.0), 1.0, vjp=lambda x, u: 0 * u)


def test_a_jump_is_left_to_the_original():
    calls = []
    with decided_by("Somebody", lambda: calls.append(1)):
        require_right(inconclusive())
    assert calls == [1]
    with decided_by("Somebody", lambda: calls.append(1)):  # not called if the slopes decide
        require_right(gradlab.check_derivatives(np.sin, 1.0, vjp=lambda x, u: u * np.cos(x)))
    assert calls == [1]


def test_an_original_that_fails_is_named():
    def fails():
        raise AssertionError("0 is not 1")

    with (
        pytest.raises(InconclusiveError, match="Somebody's own check fails as well: 0 is not 1"),
        decided_by("Somebody", fails),
    ):
        require_right(inconclusive())


def test_a_mismatch_is_not_left_to_the_original():
    with (
        pytest.raises(gradlab.errors.GradientMismatchError),
        decided_by("Somebody", lambda: None),
    ):
        require_right(gradlab.check_derivatives(np.sin, 1.0, vjp=lambda x, u: u))


def scaled(by):
    """Return the sine with a relative error in its derivative."""

    @primitive
    def sine(x):
        return np.sin(x)

    defvjp(sine, lambda ans, x: lambda g: g * anp.cos(x) * (1 + by))
    return sine


def test_round_off_passes_but_larger_errors_do_not():
    check_grads(scaled(MAX_ROUNDOFF / 2), modes=["rev"], order=1)(np.array([0.5, 1.0]))
    with pytest.raises(gradlab.errors.GradientMismatchError):
        check_grads(scaled(1e-9), modes=["rev"], order=1)(np.array([0.5, 1.0]))
    assert accepted(1e-3) == 1e-3


def test_autograds_own_check_decides_at_a_jump():
    def step(x):
        return anp.where(x == 1.0, 2.0, x)

    state = np.random.get_state()[1].copy()  # noqa: NPY002
    check_grads(step, modes=["rev"], order=1)(np.array([0.5, 2.0]))
    with pytest.raises((InconclusiveError, gradlab.errors.GradientMismatchError)):
        check_grads(step, modes=["rev"], order=1)(np.array([0.5, 1.0]))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.skipif(not is_installed("torch"), reason="PyTorch is not installed")
def test_pytorchs_own_check_decides_at_a_jump():
    import torch

    from gradlab.interop.torch import GradcheckError, gradcheck

    def of_labels(label):  # hinge_embedding_loss has a value of its own at label 1
        return torch.where(label == 1, 0.0, 3.0) + 0 * label

    ones = torch.ones(2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(of_labels, ones)

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, label):
            return torch.where(label == 1, 0.0, 3.0) + 0 * label

        @staticmethod
        def backward(ctx, above):
            return above

    with pytest.raises(GradcheckError):
        gradcheck(Wrong.apply, ones)


@pytest.mark.slow
@pytest.mark.skipif(not is_installed("jax"), reason="JAX is not installed")
def test_jaxs_own_check_decides_at_a_jump():
    import jax

    from gradlab.interop.jax import check_grads

    def of_labels(label):
        return jax.numpy.where(label == 1, 0.0, 3.0) + 0 * label

    check_grads(of_labels, (jax.numpy.ones(2),), order=1)
