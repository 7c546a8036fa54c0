"""A loss of PyTorch, evaluated and differentiated by PyTorch.

Parameters are tensors in dicts, lists and tuples, or an ``nn.Module``. A module is copied. Before
each call, the copy gets new parameters, and its buffers, such as running statistics, are reset to
their original values.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from gradlab.checking.complex_numbers import Convention
from gradlab.checking.native_way import FLOAT64, OWN_DTYPE, Gradient, NativeWay, in_dtype, matched
from gradlab.errors import ParameterError, reason_of
from gradlab.params import Array, flatten


def is_torch(params: Any) -> bool:
    """Tell whether parameters are a module, or a structure that holds a tensor."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if isinstance(params, torch.nn.Module):
        return True
    leaves = flatten(params, lambda value, path: value)[0]
    return any(isinstance(leaf, torch.Tensor) for leaf in leaves)


class TorchLoss:
    """``loss(params, *args)`` of tensors; see `gradlab.checking.native`."""

    library = "PyTorch"
    backend = "torch"
    convention: Convention = "torch"
    ways = (FLOAT64, NativeWay(FLOAT64.dtype, widens=True), OWN_DTYPE)

    def __init__(self, loss: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> None:
        self.torch = sys.modules["torch"]
        self.loss, self._args = loss, args
        self._module = params if isinstance(params, self.torch.nn.Module) else None
        if self._module is not None:
            found = {n: p for n, p in self._module.named_parameters() if p.requires_grad}
            self.names, self._tensors = list(found), list(found.values())
            if not found:
                raise ParameterError("the module has no parameter that requires a gradient")
        else:
            given, self._structure = flatten(params, lambda value, path: value)
            self.names = list(self._structure.paths)
            self._tensors = [self._as_tensor(*row) for row in zip(given, self.names, strict=True)]
        self.leaves = [
            _checked(to_numpy(tensor), name)
            for tensor, name in zip(self._tensors, self.names, strict=True)
        ]
        self._arguments: dict[NativeWay, tuple[Any, ...]] = {}
        self._copies: dict[NativeWay, ModuleCopy] = {}

    def value(self, way: NativeWay, leaves: Sequence[Array]) -> Any:
        """Return the loss, with its operations recorded as for differentiation."""
        value = self._call(way, self._native(way, leaves)[1])
        return to_numpy(value) if isinstance(value, self.torch.Tensor) else value

    def reverse_mode(self, way: NativeWay, leaves: Sequence[Array]) -> tuple[Any, Gradient]:
        """Return the loss and its gradient by `torch.autograd.grad`."""
        roots, params = self._native(way, leaves)
        value = self._call(way, params)
        if not isinstance(value, self.torch.Tensor):
            return value, [None] * len(roots)
        if value.numel() != 1 or not value.requires_grad:
            return to_numpy(value), [None] * len(roots)
        with self._mode(way):
            found = self.torch.autograd.grad(value.sum(), roots, allow_unused=True)
        return to_numpy(value), [None if g is None else to_numpy(g) for g in found]

    def apply(
        self, way: NativeWay, gradient: Callable[..., Any], leaves: Sequence[Array]
    ) -> Gradient:
        """Return the result of a function of the native parameters and arguments."""
        params = self._native(way, leaves)[1]
        with self._mode(way), self.torch.enable_grad():
            return self.read(gradient(params, *self._given(way)))

    def read(self, gradient: Any) -> Gradient:
        """Return a gradient as arrays; that of a module is a dict by name or a sequence."""
        if self._module is None:
            given, structure = flatten(gradient, lambda value, path: value)
            found = dict(zip(structure.paths, given, strict=True))
        elif isinstance(gradient, Mapping):
            found = dict(gradient)
        else:
            found = dict(zip(self.names, gradient, strict=False))
        values = matched(self.names, found, "the gradient")
        return [to_numpy(v) if isinstance(v, self.torch.Tensor) else v for v in values]

    # Native arrays and calls

    def _as_tensor(self, value: Any, path: str) -> Any:
        try:
            return value if isinstance(value, self.torch.Tensor) else self.torch.as_tensor(value)
        except Exception as error:
            raise ParameterError(f"{path} is {value!r:.60}; expected a tensor of floats") from error

    def _native(self, way: NativeWay, leaves: Sequence[Array]) -> tuple[list[Any], Any]:
        """Return the tensors to differentiate by, and the parameters that consist of them."""
        if self._module is not None:
            if way not in self._copies:
                self._copies[way] = ModuleCopy(self._module, self.names, partial(self._to, way))
            return self._copies[way].holding(leaves)
        roots = []
        for array, like in zip(leaves, self._tensors, strict=True):
            made = self.torch.tensor(in_dtype(array, way.dtype))
            kind = like.dtype if way.dtype is None else made.dtype
            root = self.torch.empty_like(like.detach(), dtype=kind)  # with the same strides
            roots.append(root.copy_(made).requires_grad_())
        return roots, self._structure.unflatten(roots)

    def _call(self, way: NativeWay, params: Any) -> Any:
        with self._mode(way), self.torch.enable_grad():
            return self.loss(params, *self._given(way))

    def _mode(self, way: NativeWay) -> AbstractContextManager[Any]:
        return widening() if way.widens else nullcontext()

    def _given(self, way: NativeWay) -> tuple[Any, ...]:
        """Return copies of the arguments, with floats in the precision of a way."""
        if way not in self._arguments:
            values, structure = flatten(self._args, lambda value, path: value)
            made = [self._argument(value, way) for value in values]
            self._arguments[way] = replace(structure, scalars=frozenset()).unflatten(made)
        return self._arguments[way]

    def _argument(self, value: Any, way: NativeWay) -> Any:
        if isinstance(value, self.torch.nn.Module):
            return self._to(way, copy.deepcopy(value))
        if not isinstance(value, self.torch.Tensor):
            return value
        twin = value.detach().clone()
        if twin.is_floating_point() or twin.is_complex():
            twin = self._to(way, twin)
        return twin.requires_grad_(value.requires_grad)

    def _to(self, way: NativeWay, value: Any) -> Any:
        """Return a tensor or module in the precision of a way."""
        if way.dtype is None:
            return value
        real = getattr(self.torch, way.dtype.name)
        is_complex = isinstance(value, self.torch.Tensor) and value.is_complex()
        return value.to(real.to_complex() if is_complex else real)


class ModuleCopy:
    """A copy of a module with replaceable parameters."""

    def __init__(self, module: Any, names: Sequence[str], convert: Callable[[Any], Any]) -> None:
        try:
            self._module = convert(copy.deepcopy(module))
        except Exception as error:
            raise ParameterError(
                f"the module cannot be copied ({reason_of(error)}): give its parameters as a dict "
                "of tensors, and call torch.func.functional_call in the loss"
            ) from error
        found = dict(self._module.named_parameters())
        self._roots = [found[name] for name in names]
        self._buffers = [(b, b.detach().clone()) for b in self._module.buffers()]

    def holding(self, leaves: Sequence[Array]) -> tuple[list[Any], Any]:
        """Write numbers into the module; return its parameters and the module."""
        torch = sys.modules["torch"]
        with torch.no_grad():
            for root, leaf in zip(self._roots, leaves, strict=True):
                root.copy_(torch.tensor(leaf))
            for buffer, held in self._buffers:
                buffer.copy_(held)
        return self._roots, self._module


def to_numpy(tensor: Any) -> Array:
    """Return a tensor as a NumPy array; dtypes that NumPy lacks become float32.

    Sparse gradients, such as those of an embedding, become dense.
    """
    torch = sys.modules["torch"]
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    array: Array = tensor.numpy(force=True)
    return array


def widening() -> AbstractContextManager[Any]:
    """Make PyTorch convert all operands of an operation to float64 if one of them is float64.

    PyTorch refuses a product of matrices of different precisions. Without the conversion, a loss
    that closes over float32 data could not be evaluated at float64 parameters.
    """
    torch = sys.modules["torch"]
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_leaves, tree_map

    wider = {torch.float16: torch.float64, torch.bfloat16: torch.float64}
    wider |= {torch.float32: torch.float64, torch.complex64: torch.complex128}

    class Widening(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            kinds = {x.dtype for x in tensors}
            if kinds & wider.keys() and kinds & {torch.float64, torch.complex128}:
                args, kwargs = tree_map(widened, (args, kwargs))
            return function(*args, **kwargs)

    def widened(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype in wider:
            return value.to(wider[value.dtype])
        return value

    mode: AbstractContextManager[Any] = Widening()
    return mode


def _checked(leaf: Array, name: str) -> Array:
    if leaf.dtype.kind not in "fc":
        raise ParameterError(f"{name} has dtype {leaf.dtype}; expected floats or complex numbers")
    return leaf
