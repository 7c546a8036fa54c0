"""Record the array operations of a function as a program, through autograd's own tracer.

autograd runs a function on boxes. Each operation on a box calls the constructor of a node. `Record`
is such a node type: it stores the operation instead of a derivative::

    record(loss, params, args)      parameters -> recorded boxes -> loss

The computed values are NumPy's own, bit for bit. `gradients.tape.recorder` puts
autograd's boxes for reverse mode around recorded ones, and gets the backward pass as well.

An operation that cannot be recorded raises an error. A recorded box has no truth value, and does
not convert to an index, a number or a NumPy array. Only a branch that depends on data alone, such
as a check of labels, becomes a `Guard`.
"""

from __future__ import annotations

import inspect
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VSpace, sparse_add
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vjps import untake
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.tracer import Box, isbox, register_notrace
from autograd.tracer import Node as TracerNode

from gradlab.arrays.boxes import NumpyBox
from gradlab.arrays.dispatch import held, refuse_plain
from gradlab.arrays.indexing import ungather
from gradlab.arrays.places import Place, describe_place, is_users
from gradlab.arrays.refusals import refuse
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.tracing import Watch, run_traced
from gradlab.containers import rebuilt
from gradlab.errors import UntraceableError
from gradlab.params import Array, Structure, as_array, flatten, floating
from gradlab.program.closure import NO_HIGHER_DERIVATIVES, HigherDerivativeError
from gradlab.program.constants import Constants
from gradlab.program.hooks import autograd_as_recorded
from gradlab.program.ir import Guard, Node, Program
from gradlab.program.numbers import PythonFloat, PythonInt, Rules
from gradlab.program.primitives import primitive_of
from gradlab.program.reasons import reason_of_state
from gradlab.program.rewrite import inline_constants
from gradlab.program.stand_ins import accumulate, add_sparse, scatter

RECORDED_TRACE = -0.75
"""The number of the trace of recorded boxes.

autograd numbers its traces from 0, with a counter that all threads share. This number is lower, so
that no trace of another thread comes between a recorded box and a box around it."""


def record(loss: Callable[..., Any], params: Any, args: Sequence[Any] = ()) -> Program:
    """Record a loss, without derivatives.

    The inputs of the program are the leaves of `params` and the arrays in `args`, at any depth of
    dicts, lists and tuples, in their order. Everything else in `args` becomes part of the program.
    Its output is the loss. An UntraceableError is raised if the operations of the loss depend on a
    value: a branch, a number taken from an array.

    Examples
    --------
    >>> print(record(lambda w, x: np.sum(np.exp(w * x)), np.ones(3), [np.arange(3)]))
    def program(params, x):  # (3,) float64; (3,) int64
        v0 = multiply(params, x)  # (3,) float64
        v1 = exp(v0)  # (3,) float64
        v2 = sum(v1)  # () float64
        return v2
    """
    with RECORDING_LOCK:
        program, watch = following_rewrites(lambda: _record(loss, params, args))
    if kept := watch.replace(loss, args):
        raise UntraceableError(reason_of_state(kept))
    return program


def _record(loss: Callable[..., Any], params: Any, args: Sequence[Any]) -> tuple[Program, Watch]:
    recorder = Recorder(_record.__code__)
    with recording(recorder, loss, params, args) as (leaves, structure, boxed_args):
        end = run_traced(loss, structure.unflatten(leaves), boxed_args)
        return recorder.program([end]), Watch([recorder])


@contextmanager
def recording(
    recorder: Recorder, loss: Callable[..., Any], params: Any, args: Sequence[Any]
) -> Iterator[tuple[list[TracedBox], Structure, list[Any]]]:
    """Replace all arrays by recorded boxes; yield leaves, their structure, and the arguments."""
    given, structure = flatten(params, _as_leaf)
    leaves = [
        recorder.input(leaf, path, is_param=True)
        for path, leaf in zip(structure.paths, given, strict=True)
    ]
    names = argument_names(loss, len(args))
    boxed = [
        replace_arrays(arg, name, recorder.input) for name, arg in zip(names, args, strict=True)
    ]
    with _boxes_of_recorded_values(), autograd_as_recorded(TracedBox):
        yield leaves, structure, boxed


class Recorder:
    """The operations on boxes so far.

    `entry` is the code that calls the loss: its frame and those above are not the loss's.
    """

    def __init__(self, entry: CodeType) -> None:
        self._entry = entry
        self.place: Place | None = None  # to name for an operation that no line of the loss does
        self.inputs: list[Node] = []
        self.nodes: list[Node] = []
        self.guards: list[Guard] = []
        self._of_params: set[Node] = set()
        self._constants = Constants()
        self._rules = Rules()

    def input(self, value: Any, name: str, *, is_param: bool = False) -> TracedBox:
        """Return a box around an input of the program."""
        node = Node(None, (), {}, np.shape(value), np.asarray(value).dtype, name)
        self.inputs.append(node)
        if isinstance(value, (PythonInt, PythonFloat)):
            value = np.asarray(value)[()]
            self._rules.input(node)
        if is_param:
            self._of_params.add(node)
        box = TracedBox(value, RECORDED_TRACE, Record.new_root(self, node))
        box._is_argument = True
        return box

    def add(
        self, value: Any, primitive: Any, operands: list[Any], keywords: Mapping[str, Any]
    ) -> Node:
        """Store that `primitive` computed `value`."""
        if any(map(_has_box, operands)) or any(map(_has_box, keywords.values())):
            refuse(
                f"a traced value is in a tuple, a list or a keyword argument of "
                f"{primitive.__name__.strip('_')}, where it cannot be followed"
            )
        place = self.current_place()
        primitive, operands = _as_pure(primitive, operands)
        self._constants.store([*operands, *keywords.values()], place)
        _require_fixed_shape(primitive, operands)
        is_array = isinstance(value, (np.ndarray, np.generic, float, int, complex))
        node = Node(
            primitive,
            tuple(operands),
            dict(keywords),
            np.shape(value) if is_array else None,
            np.asarray(value).dtype if is_array else None,
            place=place,
        )
        self.nodes.append(node)
        if not self._of_params.isdisjoint(node.sources):
            self._of_params.add(node)
        if divisor := self._rules.keep(node):
            differs = Node(np.not_equal, (divisor, 0), {}, (), np.dtype(bool))
            self.nodes.append(differs)
            self.branch(differs, taken=True)
        return node

    def branch(self, node: Node, taken: bool) -> bool:
        """Store a branch on data; refuse one that depends on the parameters."""
        if node in self._of_params:
            refuse("it branches on a value that depends on the parameters")
        self.guards.append(Guard(node, taken, describe_place(self.current_place()) or "the loss"))
        return taken

    def current_place(self) -> Place | None:
        """Return the line of the loss that is running."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self._entry:
            if is_users(frame.f_code.co_filename):
                return frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        return self.place

    def program(self, ends: Sequence[Any]) -> Program:
        """Return the program with these boxes (or constants) as its outputs."""
        self._constants.require_unchanged()
        recorded = Program(
            tuple(self.inputs),
            tuple(self.nodes),
            tuple(self.node_of(end) for end in ends),
            tuple(dict.fromkeys(self.guards)),
        )
        return inline_constants(recorded)  # here, so that no other references exist

    def node_of(self, end: Any) -> Any:
        """Return the node of a recorded box; a constant as it is."""
        if not isbox(end):
            return end
        if end._trace != RECORDED_TRACE or end._node.recorder is not self:
            raise HigherDerivativeError(NO_HIGHER_DERIVATIVES)
        return end._node.node


class Record(TracerNode):  # type: ignore[misc]
    """autograd's handle on a recorded value."""

    __slots__ = ("node", "recorder")

    recorder: Recorder
    node: Node

    def __init__(
        self,
        value: Any,
        fun: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent_argnums: tuple[int, ...],
        parents: tuple[Record, ...],
    ) -> None:
        self.recorder = parents[0].recorder
        if any(parent.recorder is not self.recorder for parent in parents):
            refuse(HigherDerivativeError(NO_HIGHER_DERIVATIVES))
        operands = list(args)
        for position, parent in zip(parent_argnums, parents, strict=True):
            operands[position] = parent.node
        self.node = self.recorder.add(value, fun.fun, operands, kwargs)

    def initialize_root(self, recorder: Recorder, node: Node) -> None:
        """Initialise a root for an input, as ``Record.new_root(recorder, node)``."""
        self.recorder = recorder
        self.node = node


for _static in (anp.size, anp.isscalar, anp.zeros_like, anp.ones_like, anp.empty_like):
    register_notrace(Record, _static)  # they read only shapes and dtypes


class TracedBox(NumpyBox):
    """A recorded array. It does not show its numbers, because they must not leave the program."""

    def __bool__(self) -> bool:
        record: Record = self._node
        return record.recorder.branch(record.node, bool(self._value))

    def detached(self) -> Any:
        """Refuse: a loss may keep the result for its next call, which a replay would not do."""
        refuse_plain("takes plain numbers out of a recording", "leave gradlab.detach out")


Box.types.add(TracedBox)
Box.type_mappings[TracedBox] = NumpyBox  # autograd's box around it

_SCALARS = (float, int, bool, complex, np.bool_, *np.sctypeDict.values())
RECORDING_LOCK = threading.RLock()
"""Lock that is held during a recording."""

if hasattr(os, "register_at_fork"):
    # A child process has only the thread that forked; waiting for another thread would never end.
    os.register_at_fork(
        before=RECORDING_LOCK.acquire,
        after_in_parent=RECORDING_LOCK.release,
        after_in_child=RECORDING_LOCK.release,
    )


@contextmanager
def _boxes_of_recorded_values() -> Iterator[None]:
    """Make autograd box recorded values as `TracedBox` and all others as usual, in all threads.

    autograd has one table from types to boxes. Its entries are replaced by functions that look at
    the node first.
    """
    table = Box.type_mappings

    def chooser(usual: Any) -> Callable[..., Box]:
        def box(value: Any, trace: float, node: Any) -> Box:
            if type(node) is Record:
                return TracedBox(value, trace, node)
            if usual is None:
                raise KeyError(type(value))  # autograd's way to say that it is not differentiable
            return usual(value, trace, node)

        return box

    kinds = {np.ndarray, *_SCALARS}
    with RECORDING_LOCK:
        before = {kind: table.get(kind) for kind in kinds}
        table.update({kind: chooser(usual) for kind, usual in before.items()})
        try:
            yield
        finally:
            for kind, usual in before.items():
                if usual is None:
                    del table[kind]
                else:
                    table[kind] = usual


_GETITEM = ArrayBox.__getitem__.fun
_ADD, _MUT_ADD, _SPARSE_ADD = VSpace.add.fun, VSpace.mut_add.fun, sparse_add.fun


def _require_fixed_shape(primitive: Any, operands: list[Any]) -> None:
    """Refuse results whose number of entries depends on values."""
    if primitive is operator.getitem:
        index = operands[1]
        if isinstance(index, Node) and index.dtype == bool:
            refuse("it selects by a boolean mask that it computes: use where")
    if primitive_of(primitive).varies or (primitive is np.where and len(operands) == 1):
        refuse(f"the shape of what {primitive.__name__} returns depends on values")


def _as_pure(primitive: Any, operands: list[Any]) -> tuple[Any, list[Any]]:
    """Replace an in-place operation, or a method of autograd's, by a plain function."""
    if primitive is _GETITEM:
        return operator.getitem, operands
    if isinstance(operands[0], ArrayVSpace):
        space, *rest = operands
        if primitive is _ADD:
            return np.add, rest
        if primitive is _MUT_ADD:
            total, term = rest
            return accumulate, [space.zeros() if total is None else total, term]
        if primitive is _SPARSE_ADD and not isinstance(rest[1], Node):
            return add_sparse, [*rest, space.shape, space.dtype]
        if primitive is _SPARSE_ADD and rest[1].primitive in (untake.fun, ungather.fun):
            total, sparse = rest
            term, index, _, *arrays = sparse.operands
            return scatter, [term, index, total, space.shape, space.dtype, *arrays]
    return primitive, operands


def replace_arrays(value: Any, path: str, replace: Callable[[Any, str], Any]) -> Any:
    """Replace each array in an argument, at any depth of dicts, lists and tuples."""
    if isinstance(value, (np.ndarray, np.generic)):
        return replace(value, path) if value.dtype.kind in "biufc" else value
    if isinstance(value, Mapping):
        children = [replace_arrays(v, f"{path}_{key}", replace) for key, v in value.items()]
        return rebuilt(value, children)
    if isinstance(value, (list, tuple)):
        children = [replace_arrays(v, f"{path}_{i}", replace) for i, v in enumerate(value)]
        return rebuilt(value, children)
    return value


def _as_leaf(value: Any, path: str) -> Array:
    value = held(value)
    if isbox(value):
        raise HigherDerivativeError(NO_HIGHER_DERIVATIVES)
    return floating(as_array(value, path))


def plain(value: Any) -> Any:
    """Return the content of a box."""
    return value._value if isbox(value) else value


def _has_box(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_box, value))
    if isinstance(value, slice):
        return any(map(_has_box, (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return any(map(_has_box, value.values()))
    return bool(isbox(value))


def argument_names(loss: Callable[..., Any], count: int) -> list[str]:
    """Return the names that the loss gives its arguments after the first."""
    try:
        parameters = [*inspect.signature(loss).parameters.values()][1:]
    except (TypeError, ValueError):
        parameters = []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [parameter.name for parameter in parameters if parameter.kind in positional]
    return (names + [f"arg{i}" for i in range(len(names), count)])[:count]
