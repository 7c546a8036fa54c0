"""The checkers of other libraries, each asked about the derivative of a function of a vector.

Each has its own natural defaults, and returns whether it passes what is claimed. The claim is
attached to the function as the library provides for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import common
import numpy as np


class Claim(Protocol):
    """A function of real numbers, and a derivative that is claimed for it."""

    @property
    def x(self) -> Any:
        """The parameters, shape (p,), float64."""

    @property
    def by_rows(self) -> bool:
        """Whether a VJP is claimed, or a JVP."""

    def f(self, x: Any) -> Any:
        """Return the outputs, shape (q,), or one number."""

    def vjp(self, x: Any, u: Any) -> Any:
        """Return the claimed Jᵀu, shape (p,)."""

    def jvp(self, x: Any, v: Any) -> Any:
        """Return the claimed Jv, shape (q,)."""

    def matrix(self, x: Any) -> Any:
        """Return all that is claimed, shape (q, p), or (p,) for one number."""


def torch_gradcheck(claim: Claim, *, fast: bool = False, undefined: bool = True) -> bool:
    """PyTorch: central differences of step 1e-6, rtol 1e-3, atol 1e-5; fast: random projections.

    `undefined` also asks for the gradient where none arrives from above.
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
    """JAX: its ``check_grads`` in the mode of the claim, first order, in double precision."""
    import jax
    from jax.test_util import check_grads

    def value(x: Any) -> Any:  # not jitted: x has its numbers, and a callback could deadlock
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
    """autograd: its ``check_grads`` in the mode of the claim, first order."""
    from autograd.extend import defjvp, defvjp, primitive
    from autograd.test_util import check_grads

    asked = primitive(claim.f)
    if claim.by_rows:
        defvjp(asked, lambda value, x: lambda above: claim.vjp(x, above))
    else:
        defjvp(asked, lambda tangent, value, x: claim.jvp(x, tangent))
    mode = "rev" if claim.by_rows else "fwd"
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002  # where autograd draws its directions from
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
    """SciPy: right if, in its documentation's words, the accuracy is "1e-6 or lower"."""
    from scipy.optimize._numdiff import check_derivative

    return bool(check_derivative(claim.f, claim.matrix, claim.x) <= 1e-6)


def numdifftools_jacobian(claim: Claim) -> bool:
    """numdifftools: within ten times the error that it estimates of its own extrapolation."""
    import numdifftools

    claimed = claim.matrix(claim.x)
    found, info = numdifftools.Jacobian(claim.f, full_output=True)(claim.x)[:2]
    estimate = getattr(info, "error_estimate", info)  # a record until 0.10
    distance = np.abs(np.reshape(found, claimed.shape) - claimed)
    return bool(np.all(distance <= 10 * np.reshape(estimate, claimed.shape)))
