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


class _Zeta(_Function):  # type: ignore[misc]
    """The function ζ(s, q), which is differentiated with respect to q."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Any, q: Any) -> Any:
        return torch.special.zeta(s, q)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        s, q = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            raise NotImplementedError("torch has no derivative of zeta for its first argument")
        return None, -g * s * _Zeta.apply(s + 1, q)


class _Digamma(_Function):  # type: ignore[misc]
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any) -> Any:
        return torch.digamma(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * _Zeta.apply(torch.full_like(x, 2.0), x)


class _LogGamma(_Function):  # type: ignore[misc]
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any) -> Any:
        return torch.lgamma(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * _Digamma.apply(x)


def _zeta(s: Any, q: Any) -> Any:
    return _Zeta.apply(*torch.broadcast_tensors(s, q))  # type: ignore[no-untyped-call,unused-ignore]


_OWN: dict[str, Callable[..., Any] | None] = {
    "_zeta": _zeta,
    "psi": _Digamma.apply,
    "gammaln": _LogGamma.apply,
    "ndtr": None,
}


def special(ufunc: Any) -> Callable[..., Any] | None:
    """Return the function of tensors for a ufunc of `scipy.special`, or None."""
    name = ufunc.__name__
    return _OWN[name] if name in _OWN else getattr(torch.special, name, None)
