"""Record a loss together with its gradient in reverse mode.

`program.record` records the operations of a loss on recorded boxes. Here, autograd's own boxes for
reverse mode are around these::

    record_gradient(loss, params, args)   boxes of autograd around recorded ones

autograd differentiates as usual, but the values inside its boxes are recorded. Its vector-Jacobian
products consist of the same primitives, so the forward and the backward pass become one flat
program, and autograd remains the only source of derivative rules. The computed values have the bits
of eager autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from autograd.core import VJPNode
from autograd.tracer import isbox, notrace_primitives, toposort

from gradlab.arrays.boxes import NumpyBox, settled
from gradlab.arrays.places import describe_place
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.tracing import Watch, run_traced
from gradlab.errors import UntraceableError
from gradlab.gradients.autograd import pull_back
from gradlab.gradients.protocol import Loss
from gradlab.gradients.tape.invariance import cancelling
from gradlab.params import Array, Structure
from gradlab.program.closure import HigherDerivativeError
from gradlab.program.ir import Node, Program
from gradlab.program.primitives import FULL
from gradlab.program.reasons import reason_of_state, refusal_of
from gradlab.program.record import (
    RECORDED_TRACE,
    RECORDING_LOCK,
    Record,
    Recorder,
    TracedBox,
    plain,
    recording,
)
from gradlab.program.stand_ins import cancelled

REVERSE_TRACE = -0.5
"""The number of the trace of reverse mode, whose boxes are around recorded ones; see
`RECORDED_TRACE`."""


@dataclass(frozen=True)
class Recording:
    """A program, and its results at the point at which it was recorded."""

    program: Program  # its outputs are the loss and the gradient's leaves
    value: Any
    gradients: list[Any]
    leaves: list[Array]
    structure: Structure
    kept: str = ""  # state that the loss keeps between calls, so that it cannot be replayed; or ""


def record_gradient(loss: Loss, params: Any, args: Sequence[Any] = ()) -> Recording:
    """Record a loss and its gradient; see `record`.

    Examples
    --------
    >>> recording = record_gradient(lambda w, x: (w * x).sum(), np.ones(3), [np.arange(3)])
    >>> recording.program.run([np.ones(3), np.array([5, 6, 7])])
    [np.float64(18.0), array([5., 6., 7.])]
    """
    with RECORDING_LOCK:
        found, watch = following_rewrites(lambda: _record_gradient(loss, params, args))
    if kept := watch.replace(loss, args):
        return replace(found, kept=reason_of_state(kept))
    return found


def _record_gradient(loss: Loss, params: Any, args: Sequence[Any]) -> tuple[Recording, Watch]:
    recorder = GradientRecorder(_record_gradient.__code__)
    with recording(recorder, loss, params, args) as (leaves, structure, boxed_args):
        roots = [NumpyBox(leaf, REVERSE_TRACE, Pullback.new_root()) for leaf in leaves]
        for root in roots:
            root._is_argument = True
        end = run_traced(loss, structure.unflatten(roots), boxed_args)
        if isbox(end) and end._trace == REVERSE_TRACE:
            value = end._value
            recorder.mark_what_cancels(end)
            gradients = pull_back(end, roots, recorder.unit_box(plain(value)), recorder.pull_back)
        else:
            value, gradients = end, [0.0 * leaf._value for leaf in leaves]
        program = recorder.program([value, *gradients])
        found = Recording(
            program,
            plain(value),
            [plain(gradient) for gradient in gradients],
            [plain(leaf) for leaf in leaves],
            structure,
        )
        return found, Watch([recorder])


class GradientRecorder(Recorder):
    """A recorder of the backward pass, too."""

    def unit_box(self, like: Any) -> TracedBox:
        """Return a box around 1, with which the backward pass begins.

        With a plain number, the first operations would be computed immediately and become constants
        of the program, although their operands, such as a captured array, may change later.
        """
        value = np.ones(np.shape(like), np.result_type(like))
        node = Node(FULL, (value.shape, value.flat[0]), {}, value.shape, value.dtype)
        self.nodes.append(node)
        return TracedBox(value, RECORDED_TRACE, Record.new_root(self, node))

    def pull_back(self, pullback: Pullback, cotangent: Any) -> tuple[Any, ...]:
        """Compute the derivatives of an operation; if that fails, add its name to the error."""
        self.place = pullback.made.place if pullback.made else None
        try:
            return tuple(pullback.vjp(cotangent))
        except HigherDerivativeError:
            raise
        except Exception as error:
            place = describe_place(self.current_place())
            where = f" (in the derivative of {place})" if place else ""
            raise UntraceableError(f"{refusal_of(error)}{where}") from error
        finally:
            self.place = None

    def mark_what_cancels(self, end: Any) -> None:
        """Record derivatives that are zero as such, without computing them."""
        maxima = cancelling(self.nodes, self.node_of(end._value))
        for pullback in toposort(end._node) if maxima else ():
            if pullback.made in maxima:
                pullback.vjp = partial(self._pull_back_nothing, pullback.vjp)

    def _pull_back_nothing(self, vjp: Any, cotangent: Any) -> Any:
        return tuple(
            TracedBox(share._value, RECORDED_TRACE, Record.new_root(self, self._cancelled(share)))
            if isbox(share)
            else share
            for share in vjp(cotangent)
        )

    def _cancelled(self, share: TracedBox) -> Node:
        return self.add(share._value, cancelled, [self.node_of(share)], {})


class Pullback(VJPNode):  # type: ignore[misc]
    """autograd's node for reverse mode, with the recorded operation."""

    __slots__ = ("made",)

    made: Node | None

    def __init__(
        self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any
    ) -> None:
        super().__init__(value, fun, settled(fun, args, argnums), kwargs, argnums, parents)
        is_recorded = isbox(value) and type(value._node) is Record
        self.made = value._node.node if is_recorded else None

    def initialize_root(self) -> None:
        """Represent a leaf."""
        super().initialize_root()
        self.made = None


notrace_primitives[Pullback] = notrace_primitives[VJPNode]  # the same set, not a copy
