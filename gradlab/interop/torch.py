"""PyTorch's `gradcheck` and `gradgradcheck` by measured slopes.

The inputs that require a gradient are the parameters of the check, and the outputs of the function
that require one are its outputs. The claimed derivatives are the results of `torch.autograd.grad`
for a cotangent, and with ``check_forward_ad`` those of forward mode for a tangent. Both functions
have the signatures of the installed version of PyTorch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from typing import Any

import numpy as np
import torch

from gradlab.checking.native_torch import TorchLoss, to_numpy
from gradlab.checking.native_way import NativeWay, first_that_works
from gradlab.checking.report import DerivativeReport
from gradlab.errors import GradientMismatchError, GradlabError, LossError, ParameterError
from gradlab.interop.shared import InconclusiveError, check_native, decided_by, random_like
from gradlab.params import Array, flatten

__tracebackhide__ = True
"""Pytest shows the test's own line, and the report, instead of the functions of this module."""

ORIGINAL: Any = import_module("torch.autograd.gradcheck")
"""The module of PyTorch's own check, which a function of the same name hides in
``torch.autograd``."""

FORWARD_AD: Any = import_module("torch.autograd.forward_ad")


class GradcheckError(GradlabError, ORIGINAL.GradcheckError):  # type: ignore[misc]
    """A derivative is wrong, or could not be checked; also PyTorch's error of this name.

    Attributes
    ----------
    report : DerivativeReport or None
        The result of the check.
    """

    def __init__(self, message: str, report: DerivativeReport | None = None) -> None:
        super().__init__(message)
        self.report = report


@wraps(ORIGINAL.gradcheck, assigned=(), updated=())  # for its signature
def gradcheck(func: Callable[..., Any], inputs: Any, **options: Any) -> bool:
    """Check PyTorch's derivatives of a function of tensors.

    Parameters
    ----------
    func : callable
        ``func(*inputs)`` returns a tensor or a tuple of tensors.
    inputs : tensor or tuple
        The tensors that require a gradient are checked, in float64 if `func` allows it.
    **options
        Those of PyTorch.

    Other Parameters
    ----------------
    rtol : float, optional
        An accepted relative error; by default 1.5e-11, which passes as round-off.
    fast_mode : bool
        Measure along random directions, also for few entries.
    check_forward_ad, check_backward_ad : bool
        Whether to check these modes.
    raise_exception : bool
        Whether to raise an error instead of returning False.
    check_undefined_grad, check_batched_grad, check_batched_forward_grad, check_grad_dtypes : bool
        PyTorch's own checks of these run afterwards.
    eps, atol, nondet_tol : float
        No effect if slopes can be measured, since steps and noise are measured, too.
    masked : bool
        For sparse inputs. PyTorch's own check decides, with all options, if an input is sparse, or
        requires a gradient and has entries that are not finite; or if measured slopes are
        inconclusive, for example at a jump.

    Returns
    -------
    bool
        True if the derivatives are right.

    Raises
    ------
    GradcheckError
        If they are wrong, or the check is inconclusive; the message is the report.
    ParameterError
        If no input requires a gradient.

    Examples
    --------
    >>> x = torch.tensor([0.5, 2.0], requires_grad=True)
    >>> gradcheck(torch.sin, x), gradcheck(lambda x: x.detach() * x, x, raise_exception=False)
    (True, False)
    """
    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    chosen = _options(ORIGINAL.gradcheck, func, inputs, **options)
    raises = chosen["raise_exception"]
    original = partial(ORIGINAL.gradcheck, func, inputs, **options | {"raise_exception": True})
    try:
        if any(isinstance(x, torch.Tensor) and not _is_usual(x) for x in given):
            return bool(original())
        with decided_by("PyTorch", original):
            _check(func, given, options.get("rtol"), chosen)
        _check_batches(func, given, chosen)
    except (GradientMismatchError, InconclusiveError, LossError) as error:
        if raises:
            raise GradcheckError(str(error), getattr(error, "report", None)) from error
        return False
    except ORIGINAL.GradcheckError:
        if raises:
            raise
        return False
    return True


@wraps(ORIGINAL.gradgradcheck, assigned=(), updated=())
def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **options: Any
) -> bool:
    """Check PyTorch's second derivatives of a function of tensors.

    These are the derivatives of the function's VJP by the inputs and the cotangents.

    Parameters
    ----------
    func, inputs
        See `gradcheck`.
    grad_outputs : tensor or tuple, optional
        The cotangents, one for each output that requires a gradient; by default random ones.
    **options
        Those of PyTorch.

    Other Parameters
    ----------------
    eps, atol, rtol, nondet_tol : float
        See `gradcheck`.
    raise_exception, fast_mode, masked : bool
        See `gradcheck`.
    gen_non_contig_grad_outputs : bool
        Whether random cotangents are not contiguous.
    check_rev_over_rev, check_fwd_over_rev : bool
        Whether to check these modes, over reverse mode.
    check_undefined_grad, check_grad_dtypes, check_batched_grad : bool
        See `gradcheck`.

    Returns
    -------
    bool
        True if the second derivatives are right.

    Raises
    ------
    GradcheckError, ParameterError
        See `gradcheck`.

    Examples
    --------
    >>> x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    >>> gradgradcheck(lambda x: x**3, x)
    True
    """
    _options(ORIGINAL.gradgradcheck, func, inputs, grad_outputs, **options)  # raises a TypeError
    spread = options.pop("gen_non_contig_grad_outputs", False)
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    if grad_outputs is None:
        drawn = _random_like(_differentiable(func(*given)), spread)
    else:
        drawn = tuple(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
    count = len(given)
    wanted = _where_differentiable(given)

    def pulled_back(*args: Any) -> tuple[Any, ...]:
        own = [x.requires_grad_() if i in wanted else x for i, x in enumerate(args[:count])]
        found = torch.autograd.grad(
            _differentiable(func(*own)),
            [own[i] for i in wanted],
            args[count:],
            create_graph=True,
            allow_unused=True,
        )
        return tuple(gradient for gradient in found if gradient is not None)

    modes = {
        "check_forward_ad": options.pop("check_fwd_over_rev", False),
        "check_backward_ad": options.pop("check_rev_over_rev", True),
    }
    return gradcheck(pulled_back, (*given, *drawn), **options, **modes)


def _options(original: Callable[..., Any], *args: Any, **options: Any) -> dict[str, Any]:
    """Return the options of a call of PyTorch's, with its defaults for those that are not given."""
    call = inspect.signature(original).bind(*args, **options)
    call.apply_defaults()
    return call.arguments


def _check(
    func: Callable[..., Any], given: Sequence[Any], rtol: float | None, options: dict[str, Any]
) -> None:
    """Check the requested modes."""
    function = TorchFunction(func, given, leaves_out=options["check_undefined_grad"])
    way = function.way()
    modes = {"vjp": options["check_backward_ad"], "jvp": options["check_forward_ad"]}
    claims = {kind: getattr(function, kind) for kind, asked in modes.items() if asked}
    if not claims:
        raise ParameterError(
            "check_forward_ad and check_backward_ad are both False: set one of them to True"
        )
    mode = "directional" if options["fast_mode"] else "auto"
    check_native(function, way, claims, rtol, mode=mode)


def _check_batches(func: Callable[..., Any], given: Sequence[Any], options: dict[str, Any]) -> None:
    """Run PyTorch's own checks of batched gradients, and of the gradients' dtypes."""
    if options["check_batched_forward_grad"]:
        ORIGINAL._test_batched_grad_forward_ad(func, tuple(given))
    outputs = _differentiable(func(*given)) if options["check_backward_ad"] else ()
    for number, output in enumerate(outputs):
        if options["check_batched_grad"]:
            ORIGINAL._test_batched_grad(tuple(given), output, number)
        if options["check_grad_dtypes"]:
            inputs = _differentiable(given)
            found = torch.autograd.grad(
                output, inputs, torch.ones_like(output), retain_graph=True, allow_unused=True
            )
            for gradient, x in zip(found, inputs, strict=True):
                if gradient is not None and gradient.dtype != x.dtype:
                    raise GradcheckError(f"a gradient has {gradient.dtype}; expected {x.dtype}")


class TorchFunction(TorchLoss):
    """A function of tensors; those that require a gradient are its parameters.

    If it `leaves_out`, a VJP omits outputs whose cotangent is zero, so that the function's backward
    pass gets no cotangent for them.
    """

    def __init__(self, func: Callable[..., Any], given: Sequence[Any], leaves_out: bool) -> None:
        values, structure = flatten(tuple(given), lambda value, path: value)
        where = _where_differentiable(values)
        if not where:
            raise ParameterError("no input requires a gradient: set requires_grad=True on one")

        def call(params: list[Any], rest: list[Any]) -> Any:
            merged = list(rest)
            for i, tensor in zip(where, params, strict=True):
                merged[i] = tensor
            return func(*structure.unflatten(merged))

        rest = [None if i in where else value for i, value in enumerate(values)]
        super().__init__(call, [values[i] for i in where], (rest,))
        self.names = [f"inputs{structure.paths[i]}" for i in where]
        self._leaves_out = leaves_out
        self._which: list[int] = []
        self.like: list[Array] = []

    def way(self) -> NativeWay:
        """Return the first way of evaluation that works; store which outputs count."""

        def differentiated(way: NativeWay) -> None:
            roots, params = self._native(way, self.leaves)
            found = _tensors(self._call(way, params))
            counted = [i for i, x in enumerate(found) if x.requires_grad]
            self._which = counted or [i for i, x in enumerate(found) if _is_float(x)]
            self.like = [to_numpy(found[i]) for i in self._which]
            self._pulled_back(way, roots, [found[i] for i in counted], [None] * len(counted))

        return first_that_works(self.ways, differentiated)[0]

    def outputs(self, way: NativeWay, leaves: list[Array]) -> list[Array]:
        """Return the outputs that count."""
        return [to_numpy(x) for x in self._counted(way, self._native(way, leaves)[1])]

    def vjp(self, way: NativeWay, leaves: list[Array], cotangents: list[Array]) -> list[Array]:
        """Return the result of `torch.autograd.grad` for cotangents."""
        roots, native = self._native(way, leaves)
        return self._pulled_back(way, roots, self._counted(way, native), cotangents)

    def _pulled_back(
        self, way: NativeWay, roots: list[Any], found: list[Any], cotangents: Sequence[Array | None]
    ) -> list[Array]:
        pairs = [
            (x, torch.ones_like(x) if u is None else torch.tensor(u).to(x))
            for x, u in zip(found, cotangents, strict=True)
            if x.requires_grad and not (self._leaves_out and u is not None and not u.any())
        ]
        if not pairs:
            return [np.zeros_like(leaf) for leaf in self.leaves]
        with self._mode(way):
            gradients = torch.autograd.grad(
                [x for x, _ in pairs], roots, [u for _, u in pairs], allow_unused=True
            )
        return _or_zeros(gradients, self.leaves)

    def jvp(self, way: NativeWay, leaves: list[Array], tangents: list[Array]) -> list[Array]:
        """Return the JVP of forward mode for tangents."""
        roots, _ = self._native(way, leaves)
        with FORWARD_AD.dual_level(), self._mode(way):
            duals = [
                FORWARD_AD.make_dual(root.detach(), torch.tensor(v).to(root))
                for root, v in zip(roots, tangents, strict=True)
            ]
            found = [FORWARD_AD.unpack_dual(x).tangent for x in self._counted(way, duals)]
        return _or_zeros(found, self.like)

    def _counted(self, way: NativeWay, params: list[Any]) -> list[Any]:
        found = _tensors(self._call(way, params))
        return [found[i] for i in self._which]


def _is_usual(tensor: Any) -> bool:
    """Tell whether slopes can be measured at a tensor: it is dense and finite."""
    if tensor.layout is not torch.strided:
        return False
    return not tensor.requires_grad or bool(torch.isfinite(tensor.detach()).all())


def _or_zeros(found: Sequence[Any], like: Sequence[Array]) -> list[Array]:
    """Return tensors as arrays; one that is None as zeros."""
    pairs = zip(found, like, strict=True)
    return [np.zeros_like(array) if x is None else to_numpy(x) for x, array in pairs]


def _where_differentiable(values: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(values) if isinstance(x, torch.Tensor) and x.requires_grad]


def _tensors(outputs: Any) -> list[Any]:
    found = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return [x for x in found if isinstance(x, torch.Tensor)]


def _differentiable(outputs: Any) -> tuple[Any, ...]:
    return tuple(x for x in _tensors(outputs) if x.requires_grad)


def _is_float(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _random_like(outputs: Sequence[Any], is_spread: bool) -> tuple[Any, ...]:
    """Return random tensors, which require gradients."""
    rng, drawn = np.random.default_rng(0), []
    for x in outputs:
        shape = (*x.shape, 2) if is_spread else tuple(x.shape)
        like = np.empty(shape, complex if x.is_complex() else float)
        numbers = torch.from_numpy(random_like(like, rng)).to(x)
        drawn.append((numbers[..., 0] if is_spread else numbers).detach().requires_grad_())
    return tuple(drawn)
