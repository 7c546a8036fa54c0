"""PyTorch: the loss on tensors, operation by operation, replayed, or compiled.

PyTorch records the loss operation by operation and differentiates the record in reverse mode, as
autograd does, with compiled kernels and on its devices (Paszke et al., *PyTorch: an imperative
style, high-performance deep learning library*, 2019). If a loss in plain NumPy reads nothing but
its arguments, the operations of value and gradient are recorded as a graph after some calls, and
then replayed: `torch.func.grad_and_value` makes one function of them (Horace He & Richard Zou,
*functorch*, 2021). With ``compile=True``, `torch.compile` compiles the whole once for each shape
(Ansel et al., *PyTorch 2*, ASPLOS 2024).
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from types import BuiltinFunctionType
from typing import Any

import numpy as np

from gradlab import options
from gradlab.arrays.places import place_of
from gradlab.arrays.read_only import write_refused
from gradlab.errors import LossError, ParameterError
from gradlab.gradients.array_libraries import (
    LIBRARY_ADVICE,
    MAX_COMPILED_FORMS,
    Form,
    LibraryGradient,
    Run,
    Way,
    require,
)
from gradlab.gradients.protocol import Loss
from gradlab.params import Array

UNKNOWN_NUMBERS_MESSAGE = (
    "what it does depends on the numbers in its tensors, which are unknown while it is compiled; "
    "write where, or give the backend compile=False"
)

EAGER_CALLS = 16
"""Calls with one shape before operations are recorded: recording costs about a dozen calls."""


@dataclass(frozen=True)
class Torch:
    """PyTorch's reverse mode: exact to round-off, in the dtype of the parameters.

    The loss is plain NumPy, or written with ``torch`` or the Array API. Parameters that are tensors
    stay on their device, and their gradient is made of tensors on the same device.

    Parameters
    ----------
    compile : bool
        Whether `torch.compile` compiles the loss and its gradient. It needs a C++ compiler and
        some seconds for each structure, shape and dtype, and pays off for large arrays. Values
        that the loss closes over are compiled in, as with `Jax`.

    Raises
    ------
    MissingDependencyError
        If PyTorch is not installed.
    UntraceableError
        By the returned function: if the loss does something through which no derivative passes,
        such as ``float(x)``, or, with ``compile=True``, something that depends on the numbers in
        its arrays; the message names the line.
    LossError
        By the returned function: if the loss has another value on tensors than on NumPy's arrays,
        or a native loss converts a tensor to a number, which would lose its derivative.

    Notes
    -----
    In plain NumPy, dtypes follow NumPy's rules. In native PyTorch code, matrices of different
    dtypes cannot be multiplied, and a 0-d tensor does not widen one with dimensions.

    At the first call with each shape, the loss also runs once on plain arrays, to compare its
    value.

    PyTorch's threads wait in a busy loop. If other work shares the cores,
    ``torch.set_num_threads(1)`` may be many times faster.

    Examples
    --------
    >>> import numpy as np
    >>> f = Torch().value_and_grad(lambda w, x: np.sum((w * x) ** 2))
    >>> f(np.array([1.0, 2.0]), np.array([3.0, 0.5]))
    (10.0, array([18.,  1.]))
    """

    compile: bool = False
    name = "torch"

    def __post_init__(self) -> None:
        if not isinstance(self.compile, bool):
            raise options.refusal("compile", self.compile, "give True or False")
        require("torch", "PyTorch")

    def value_and_grad(self, loss: Loss) -> LibraryGradient:
        """Return ``f(params, *args, out=None) -> (value, grads)``; see `Backend`."""
        return TorchGradient(loss, compile=self.compile)


class TorchGradient(LibraryGradient):
    """The function that the backend `Torch` returns."""

    name = "torch"
    arrays = "PyTorch's tensors"
    writeable = True

    def __init__(self, loss: Loss, *, compile: bool) -> None:
        self._xp = self._torch = import_module("torch")
        from gradlab.arrays.torch_arrays import LIBRARY

        super().__init__(loss, LIBRARY, compiles=compile, compile=compile)

    def to_native(self, array: Array, like: Any) -> Any:
        """Return NumPy's array as a tensor, on the device of `like`."""
        try:
            tensor = self._library.from_numpy(array)
        except TypeError as error:
            raise ParameterError(f"PyTorch has no tensors of dtype {array.dtype}") from error
        return tensor if like is None else tensor.to(like.device)

    def to_numpy(self, array: Any) -> Array:
        """Return a tensor as NumPy's array, in the memory of the processor."""
        return np.asarray(array.detach().cpu())

    def to_float(self, array: Any) -> Any:
        """Return integers as float64."""
        return array.to(self._torch.float64)

    def kind(self, array: Any) -> str:
        """Return the kind of a dtype."""
        if array.is_floating_point():
            return "f"
        if array.is_complex():
            return "c"
        return "b" if array.dtype == self._torch.bool else "i"

    def setting(self, native: Any) -> AbstractContextManager[Any]:
        """Create the loss's own tensors on the device of its parameters."""
        if native is None or native.device.type == "cpu":
            return nullcontext()
        device: AbstractContextManager[Any] = native.device
        return device

    def device_of(self, leaves: Sequence[Any]) -> Any:
        """Return the device of the parameters, None for the processor."""
        kinds = {leaf.device for leaf in leaves if leaf.device.type != "cpu"}
        return next(iter(kinds), None)

    def ways(self, is_native: bool, is_kept: bool) -> list[Way]:
        """Compile if `compile` is set and another call will follow."""
        compiled = self._compiles and is_kept
        plain, native = Way(True, compiled, data=compiled), Way(False, compiled)
        ways = [native, plain] if is_native else [plain, native]
        return ways if compiled else [*ways, Way(True, False)]

    def prepare(self, form: Form, way: Way) -> Run:
        """Return value and gradient; in native code, check that no derivative is lost."""
        if way.compiled:
            plain = self._functional(form, way)
            return self._compiled(plain if way.plain else self._watched(plain), form, way)
        plain = self._eager(form, way)
        if way.plain:
            return self._replayed(form, self._watched_where_mixed(plain))
        return self._watched(plain)

    def _scalar(self, form: Form, way: Way, leaves: Sequence[Any], arrays: Sequence[Any]) -> Any:
        value = self.call(form, way, leaves, arrays)
        return value if self.is_native(value) else self._torch.tensor(float(value))

    def _eager(self, form: Form, way: Way) -> Run:
        """Return value and gradient, operation by operation."""
        torch = self._torch

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            with torch.enable_grad():
                roots = [leaf.detach().requires_grad_() for leaf in leaves]
                given = [array for array in (*roots, *arrays) if self.is_native(array)]
                before = [tensor._version for tensor in given]
                value = self._scalar(form, way, roots, arrays)
                if before != [tensor._version for tensor in given]:
                    raise write_refused("in a native PyTorch function")
                if not value.requires_grad:
                    return value, [torch.zeros_like(root) for root in roots]
                found = torch.autograd.grad(value, roots, allow_unused=True)
            gradients = [
                torch.zeros_like(root) if gradient is None else gradient
                for gradient, root in zip(found, roots, strict=True)
            ]
            return value.detach(), gradients

        return run

    def _replayed(self, form: Form, eager: Run) -> Run:
        """Return the same; after some calls with a shape, replay its recorded operations.

        The loss must read no arrays but its arguments, and its operations must not depend on the
        numbers in them. The replay runs the same operations one by one, and saves the dispatch of
        each through NumPy's protocols.
        """
        calls: dict[Any, int] = {}
        graphs: dict[Any, Any] = {}

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            bindings = self._here.bindings
            key = bindings, *[(a.shape, a.dtype) for a in (*leaves, *arrays)]
            graph = graphs.get(key)
            if graph is not None:
                value, *gradients = graph(*leaves, *[self.to_library(a, None) for a in arrays])
                return value, gradients
            result = eager(leaves, arrays)
            is_fixed = bindings is not None and not bindings.has_arrays
            if is_fixed and self.is_pure and len(calls) < MAX_COMPILED_FORMS:
                calls[key] = calls.get(key, 0) + 1
                if calls[key] == EAGER_CALLS:
                    graph = self._graph(form, leaves, arrays, result)
                    self.is_pure = graph is not None
                    if graph is not None:
                        graphs[key] = graph
            return result

        return run

    def _graph(
        self, form: Form, leaves: list[Any], arrays: list[Any], wanted: tuple[Any, list[Any]]
    ) -> Any:
        """Return the operations of a loss, or None if they are not always the same."""
        given = [self.to_library(a, None) for a in arrays]
        function = self._functional(form, Way(True, compiled=True))
        try:
            graph = straightened(self._traced(function, leaves, given))
            found = graph(*leaves, *given)
        except Exception:  # it reads numbers
            return None
        pairs = zip(found, (wanted[0], *wanted[1]), strict=True)
        close = all(self._torch.allclose(a, b, rtol=1e-5, equal_nan=True) for a, b in pairs)
        return graph if close else None

    def _functional(self, form: Form, way: Way) -> Run:
        """Return value and gradient as one function, which can be recorded."""
        differentiate = self._torch.func.grad_and_value(
            lambda leaves, arrays: self._scalar(form, way, leaves, arrays)
        )

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            gradients, value = differentiate(leaves, arrays)
            return value, gradients

        return run

    def reason(self, error: Exception) -> str | None:
        """Return the reason why the loss does not run on tensors, if the error shows one."""
        message = str(error)
        if type(error).__name__ in ("GuardOnDataDependentSymNode", "DataDependentOutputException"):
            return UNKNOWN_NUMBERS_MESSAGE
        if "same dtype" in message:
            return f"{message}; give parameters and data in one dtype"
        if "in-place" in message:
            return "it writes into its parameters, which are not its own"
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        if (
            "numpy" in message
            or "'Tensor' object has no attribute" in message
            or innermost.name == "__array__"
            or "numpy" in innermost.filename
        ):
            return f"it uses {self.arrays} as NumPy's arrays ({message}); {LIBRARY_ADVICE}"
        return None

    def _compiled(self, plain: Run, form: Form, way: Way) -> Run:
        """Return the same, compiled for each shape."""
        compiled: dict[Any, Run] = {}

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            tensors = (*leaves, *arrays)
            key = tuple([(t.shape, t.stride(), t.dtype, t.device) for t in tensors])
            if key not in compiled:
                compiled[key] = self.kernels(self._traced(plain, leaves, arrays))
            try:
                return compiled[key](leaves, arrays)
            except Exception as error:
                why = str(error).strip().splitlines()[0]
                raise LossError(
                    f"torch cannot compile the loss ({why}): give the backend compile=False"
                ) from error

        return run

    def _traced(self, plain: Run, leaves: list[Any], arrays: list[Any]) -> Any:
        """Return the operations of value and gradient as a graph, recorded without numbers.

        Dynamo, which `torch.compile` uses for this, reads the source of the loss and gives up where
        it is not PyTorch code. Here it only has to read a graph of operations.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        return make_fx(plain, tracing_mode="fake")(leaves, arrays)

    def kernels(self, graph: Any) -> Run:
        """Compile a graph."""
        compiled: Run = self._torch.compile(graph, dynamic=False)
        return compiled

    def _watched_where_mixed(self, plain: Run) -> Run:
        """Return the same; if the loss also calls PyTorch, watch it from then on."""
        watched = self._watched(plain)
        is_mixed = False

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            nonlocal is_mixed
            if not is_mixed:
                result = plain(leaves, arrays)
                is_mixed = any(trace.mixed for trace in self._here.traces)
            return watched(leaves, arrays) if is_mixed else result

        return run

    def _watched(self, plain: Run) -> Run:
        """Return the same, with an error if a tensor with a derivative is converted to a number.

        While it is compiled, the loss runs on tensors without numbers; no tensor may be converted.
        """
        compiles, refused = self._compiles, threading.local()
        mode: Any = self._torch.overrides.TorchFunctionMode
        taken = ("__float__", "__int__", "__index__", "item", "tolist")

        class Observer(mode):  # type: ignore[misc]
            def __torch_function__(
                self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                name = getattr(function, "__name__", "")
                if name in taken and args[0].requires_grad:
                    refused.error = LossError(
                        f"torch: the loss converts a tensor to a number ({name.strip('_')}; "
                        f"{place_of()}), whose slope is lost: compute with the tensor, or use the "
                        "backend autograd"
                    )
                    raise refused.error
                if name in taken and compiles:
                    refused.error = LossError(
                        f"torch cannot run the loss: {UNKNOWN_NUMBERS_MESSAGE}"
                    )
                    raise refused.error
                if name == "__format__":  # a number read from a text has no derivative
                    return f"{function(*args)}~"
                return function(*args, **(kwargs or {}))

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            refused.error = None
            with Observer():
                result = plain(leaves, arrays)
            if refused.error is not None:  # the loss caught it
                raise refused.error
            return result

        return run


def straightened(recorded: Any) -> Any:
    """Return a recorded graph as a function of its arrays, without operations that do nothing.

    These are products with 1, and copies of constants that no operation writes into. The remaining
    operations are called through their functions in ``torch``, if they have one, which is faster.
    """
    import torch
    from torch.fx.graph import CodeGen

    graph = recorded.graph
    for node in list(graph.nodes):
        name = str(node.target)
        is_copy = name.startswith("aten.lift_fresh_copy")
        is_product = name == "aten.mul.Tensor" and type(node.args[1]) is int and node.args[1] == 1
        if is_copy or is_product:
            source = node.args[0]
            if is_copy or source.meta["val"].dtype == node.meta["val"].dtype:
                node.replace_all_uses_with(source)
                graph.erase_node(node)
                continue
        public = getattr(torch, name.split(".")[1], None) if name.startswith("aten.") else None
        if isinstance(public, BuiltinFunctionType) and not has_gaps(node.args):
            node.target = public
    graph.set_codegen(CodeGen())
    recorded.recompile()
    return recorded.forward


def has_gaps(args: tuple[Any, ...]) -> bool:
    """Tell whether a list among the arguments contains None, as an index does for a whole axis."""
    return any(isinstance(arg, (list, tuple)) and None in list(arg) for arg in args)
