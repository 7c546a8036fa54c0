"""The checkers of other libraries, for the derivative of a function of a vector.

Each runs with its own defaults, and returns whether it accepts the claim. The claim is attached to
the function in the way that the library intends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import common
import numpy as np


class Claim(Protocol):
    """A function of a real vector, and a claimed derivative."""

    @property
    def x(self) -> Any:
        """The parameters, shape (p,), float64."""

    @property
    def by_rows(self) -> bool:
        """Whether a VJP is claimed; otherwise a JVP."""

    def f(self, x: Any) -> Any:
        """Return the outputs, shape (q,), or one number."""

    def vjp(self, x: Any, u: Any) -> Any:
        """Return the claimed Jᵀu, shape (p,)."""

    def jvp(self, x: Any, v: Any) -> Any:
        """Return the claimed Jv, shape (q,)."""

    def matrix(self, x: Any) -> Any:
        """Return the claim as a matrix, shape (q, p), or (p,) for one number."""


def torch_gradcheck(claim: Claim, *, fast: bool = False, undefined: bool = True) -> bool:
    """Check by PyTorch: central differences with step 1e-6, rtol 1e-3, atol 1e-5.

    `fast` compares random projections. `undefined` also checks undefined cotangents.
    """
    import torch

    class Asked(torch.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return torch.tensor(claim.f(x.detach().numpy()), dtype=torch.float64)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.x = inputs[0].detach().numpy().copy()

        @staticmethod
        def backward(ctx: Any, above: Any) -> Any:
            return torch.tensor(claim.vjp(ctx.x, above.detach().numpy()))

        @staticmethod
        def jvp(ctx: Any, tangent: Any) -> Any:
            return torch.tensor(claim.jvp(ctx.x, tangent.detach().numpy()))

    torch.manual_seed(0)
    return bool(
        torch.autograd.gradcheck(
            Asked.apply,
            (torch.tensor(claim.x, requires_grad=True),),
            raise_exception=False,
            fast_mode=fast,
            check_backward_ad=claim.by_rows,
            check_forward_ad=not claim.by_rows,
            check_undefined_grad=undefined,
        )
    )


def jax_check_grads(claim: Claim) -> bool:
    """Check by JAX's ``check_grads`` in the mode of the claim, first order, in double precision."""
    import jax
    from jax.test_util import check_grads

    def value(x: Any) -> Any:  # not jitted, so x has values, and no callback can deadlock
        return jax.numpy.asarray(claim.f(np.asarray(x)))

    if claim.by_rows:
        by_rows = jax.custom_vjp(value)
        by_rows.defvjp(
            lambda x: (value(x), np.asarray(x)),
            lambda x, above: (jax.numpy.asarray(claim.vjp(x, np.asarray(above))),),
        )
        asked, mode = by_rows, "rev"
    else:
        by_columns = jax.custom_jvp(value)

        @by_columns.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            (x,), (v,) = primals, tangents
            return value(x), jax.numpy.asarray(claim.jvp(np.asarray(x), np.asarray(v)))

        asked, mode = by_columns, "fwd"
    with common.jax_in_float64():
        return _asserts(check_grads, asked, (jax.numpy.asarray(claim.x),), 1, modes=[mode])


def autograd_check_grads(claim: Claim) -> bool:
    """Check by autograd's ``check_grads`` in the mode of the claim, first order."""
    from autograd.extend import defjvp, defvjp, primitive
    from autograd.test_util import check_grads

    asked = primitive(claim.f)
    if claim.by_rows:
        defvjp(asked, lambda value, x: lambda above: claim.vjp(x, above))
    else:
        defjvp(asked, lambda tangent, value, x: claim.jvp(x, tangent))
    mode = "rev" if claim.by_rows else "fwd"
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002  # autograd draws directions from the global state
    try:
        return _asserts(check_grads(asked, modes=[mode], order=1), claim.x)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _asserts(check: Callable[..., Any], *args: Any, **options: Any) -> bool:
    try:
        check(*args, **options)
    except AssertionError:
        return False
    return True


def scipy_check_derivative(claim: Claim) -> bool:
    """Check by SciPy; its documentation calls an accuracy of "1e-6 or lower" right."""
    from scipy.optimize._numdiff import check_derivative

    return bool(check_derivative(claim.f, claim.matrix, claim.x) <= 1e-6)


def numdifftools_jacobian(claim: Claim) -> bool:
    """Check by numdifftools: the claim must lie within ten times the estimated error."""
    import numdifftools

    claimed = claim.matrix(claim.x)
    found, info = numdifftools.Jacobian(claim.f, full_output=True)(claim.x)[:2]
    estimate = getattr(info, "error_estimate", info)  # up to version 0.10, info is a record
    distance = np.abs(np.reshape(found, claimed.shape) - claimed)
    return bool(np.all(distance <= 10 * np.reshape(estimate, claimed.shape)))
