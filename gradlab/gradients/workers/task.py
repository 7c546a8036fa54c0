"""What a worker receives (a task once, then chunks) and returns (slopes, or an error)."""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeAlias

from gradlab.errors import GradlabError, OptionError, WorkerError
from gradlab.gradients.probing import Method, Probe
from gradlab.gradients.protocol import Loss
from gradlab.gradients.workers.chunks import Chunk
from gradlab.params import Array


@dataclass(frozen=True)
class Failure:
    """An error that can be sent, which a worker returns instead of slopes."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Wrap an error with its traceback, or its text if the error itself cannot be sent."""
        told = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            notes = getattr(error, "__notes__", [])
            error = WorkerError(f"{type(error).__name__}: {error}")
            for note in notes:
                error.add_note(note)
        if not isinstance(error, GradlabError):
            error.add_note(f"in the worker:\n{told}")
        return cls(error)


Answer: TypeAlias = tuple[Chunk, Array | Failure]


@dataclass(frozen=True)
class Task:
    """All that a worker needs: the function to differentiate, the point, and the method."""

    method: Method
    loss: Loss
    params: Any
    args: tuple[Any, ...]
    value: Any
    precision: float  # the relative error of an evaluation, as far as it is known
    closely: bool = False  # whether every entry is measured again with smaller steps

    @classmethod
    def of(cls, method: Method, probe: Probe) -> Task:
        """Return the task of a probe, with what is known of its loss."""
        known = probe.value, probe.precision, probe.closely
        return cls(method.plain(), *probe.call, *known)

    def probe(self) -> Probe:
        """Return a fresh probe of the loss, with what is known of it."""
        probe = self.method.probe(self.loss, self.params, self.args)
        probe.value, probe.precision, probe.closely = self.value, self.precision, self.closely
        return probe

    def pickle(self, buffers: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
        """Return the task as bytes, its arrays apart if `buffers` takes them."""
        values = tuple(getattr(self, field.name) for field in fields(self))
        file, module = io.BytesIO(), _pickling_module()
        try:
            module.Pickler(file, protocol=5, buffer_callback=buffers).dump(values)
        except Exception as error:
            advice = ", or pip install cloudpickle" if module is pickle else ""
            raise OptionError(
                f"the loss or its arguments cannot be sent to a worker ({error}): define the loss "
                f"at the top level of a module{advice}"
            ) from error
        return file.getvalue()

    @cached_property
    def _pickled(self) -> bytes:
        return self.pickle()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the task once, however often it is sent."""
        return load, (self._pickled,)

    @cached_property
    def bytes(self) -> int:
        """The number of bytes to send, found without copying; 0 if the task cannot be sent."""
        sizes: list[int] = []
        try:
            stream = self.pickle(lambda buffer: sizes.append(buffer.raw().nbytes))
        except OptionError:
            return 0
        return len(stream) + sum(sizes)


def load(pickled: bytes, buffers: Sequence[Any] = ()) -> Task:
    """Return the task that was pickled."""
    return Task(*pickle.loads(pickled, buffers=buffers))


class Part(Probe):
    """Some entries of one leaf, as the only leaf of a probe, for `slopes`."""

    def __init__(self, whole: Probe, chunk: Chunk, mark: Callable[[int, int], object]) -> None:
        self.whole, self.chunk, self.mark = whole, chunk, mark
        part = slice(chunk.start, chunk.stop)
        self.leaves = [whole.leaves[chunk.leaf].reshape(-1)[part].copy()]
        if whole.given_steps is not None:
            self.given_steps = [whole.given_steps[chunk.leaf].reshape(-1)[part]]
        self.value, self.precision, self.closely = whole.value, whole.precision, whole.closely

    def at(self, leaf: int, i: int, x: Any) -> Any:
        """Evaluate the loss with entry `i` of the part set to `x`; if that fails, once more."""
        place = (self.chunk.leaf, self.chunk.start + i)
        self.mark(*place)
        try:
            return self.whole.at(*place, x)
        except Exception:
            pass
        try:
            return self.whole.at(*place, x)
        except Exception as error:
            error.add_note("it was evaluated twice, and failed both times")
            raise

    def look_into(self) -> None:
        """Examine the loss as a whole, whatever the part, so that all parts find the same."""
        self.whole.look_into()

    def require_steady(self) -> None:
        """Raise a LossError if the loss is not deterministic."""
        self.whole.require_steady()

    def name(self, leaf: int, i: int) -> str:
        """Name an entry by its place in the whole gradient."""
        return self.whole.name(self.chunk.leaf, self.chunk.start + i)


def answer(
    task: Task,
    chunk: Chunk,
    probe: Probe | None = None,
    mark: Callable[[int, int], object] = lambda leaf, i: None,
) -> Answer:
    """Return a chunk with the slopes of its entries, or with a failure.

    The probe of the task must not be in use elsewhere; by default it is a new one. `mark` is called
    with the leaf and the entry before each evaluation, in case the process dies in it.
    """
    try:
        part = Part(probe or task.probe(), chunk, mark)
        return chunk, task.method.slopes(part, 0)
    except Exception as error:
        return chunk, Failure.of(error)


def _pickling_module() -> Any:
    """Return cloudpickle, which sends a notebook's functions, if it is installed, or pickle."""
    try:
        import cloudpickle
    except ImportError:
        return pickle
    return cloudpickle
