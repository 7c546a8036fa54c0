"""SciPy's special functions on tensors.

Most are functions of `torch.special`. PyTorch's trigamma function is off by up to 5e-10, and with
it the derivative of its digamma function; its normal distribution function loses all digits in the
lower tail; and its zeta function has no derivative. The rules for the first and the last are here,
by DLMF 5.15.1 and 25.11.17; the second is not taken from PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_Function: Any = torch.autograd.Function  # without types where PyTorch is missing


def with_slope(function: Callable[..., Any], pull_back: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is differentiated with respect to its last argument.

    The cotangent of that argument is ``pull_back(g, *args)``.
    """

    class WithSlope(_Function):  # type: ignore[misc]
        generate_vmap_rule = True

        @staticmethod
        def forward(*args: Any) -> Any:
            return function(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            *others, _ = ctx.needs_input_grad
            if any(others):
                raise NotImplementedError("torch has no derivative of zeta for its first argument")
            return *[None] * len(others), pull_back(g, *ctx.saved_tensors)

    apply: Callable[..., Any] = WithSlope.apply
    return apply


_zeta: Callable[..., Any] = with_slope(torch.special.zeta, lambda g, s, q: -g * s * _zeta(s + 1, q))
_digamma = with_slope(torch.digamma, lambda g, x: g * _zeta(torch.full_like(x, 2.0), x))
_log_gamma = with_slope(torch.lgamma, lambda g, x: g * _digamma(x))


_OWN_FUNCTIONS: dict[str, Callable[..., Any] | None] = {
    "_zeta": lambda *args: _zeta(*torch.broadcast_tensors(*args)),  # type: ignore[no-untyped-call,unused-ignore]
    "psi": _digamma,
    "gammaln": _log_gamma,
    "ndtr": None,
}


def special(ufunc: Any) -> Callable[..., Any] | None:
    """Return the function of tensors for a ufunc of `scipy.special`, or None."""
    name = ufunc.__name__
    return _OWN_FUNCTIONS[name] if name in _OWN_FUNCTIONS else getattr(torch.special, name, None)
