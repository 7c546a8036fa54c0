"""What a worker is told, and what it answers: a problem once, then chunks; slopes, or an error."""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, TypeAlias

from gradlab.errors import GradlabError, OptionError, WorkerError
from gradlab.gradients.probing import Method, Probe
from gradlab.gradients.protocol import Loss
from gradlab.gradients.workers.chunks import Chunk
from gradlab.params import Array


@dataclass(frozen=True)
class Failure:
    """What a worker answers instead of slopes: an error that can be sent."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Take an error along with its traceback, or its text if it cannot be sent itself."""
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
class Problem:
    """All that a worker has to know: whose derivative is asked for, where, and by which method.

    Attributes
    ----------
    value : float
        The loss at the parameters.
    precision : float
        The relative error of an evaluation, as far as is known.
    closely : bool
        Whether every entry is looked at again with smaller steps.
    """

    method: Method
    loss: Loss
    params: Any
    args: tuple[Any, ...]
    value: Any
    precision: float
    closely: bool = False

    @classmethod
    def of(cls, method: Method, probe: Probe) -> Problem:
        """Return the problem of a probe, with what has been found out about its loss."""
        known = probe.value, probe.precision, probe.closely
        return cls(method.plain(), *probe.call, *known)

    def probe(self) -> Probe:
        """Return a fresh probe of the loss, with what is known of it."""
        probe = self.method.probe(self.loss, self.params, self.args)
        probe.value, probe.precision, probe.closely = self.value, self.precision, self.closely
        return probe

    def pickle(self, buffers: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
        """Return the problem as bytes, its arrays apart if `buffers` takes them.

        Raises
        ------
        OptionError
            If something in it cannot be sent to another process.
        """
        fields = (
            self.method,
            self.loss,
            self.params,
            self.args,
            self.value,
            self.precision,
            self.closely,
        )
        file = io.BytesIO()
        try:
            _pickler().Pickler(file, protocol=5, buffer_callback=buffers).dump(fields)
        except Exception as error:
            advice = "" if _cloudpickle() else ", or pip install cloudpickle"
            raise OptionError(
                f"the loss or its arguments cannot be sent to a worker ({error}): define the loss "
                f"at the top level of a module{advice}"
            ) from error
        return file.getvalue()

    @cached_property
    def _pickled(self) -> bytes:
        return self.pickle()

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled once, however often it is sent."""
        return load, (self._pickled,)

    @cached_property
    def bytes(self) -> int:
        """How much it is to send, without copying it; 0 where it cannot be sent."""
        sizes: list[int] = []
        try:
            stream = self.pickle(lambda buffer: sizes.append(buffer.raw().nbytes))
        except OptionError:
            return 0
        return len(stream) + sum(sizes)


def load(pickled: bytes, buffers: Sequence[Any] = ()) -> Problem:
    """Return the problem that was pickled."""
    return Problem(*pickle.loads(pickled, buffers=buffers))


class Part(Probe):
    """Some entries of one leaf, as the only leaf of a probe: it is all that `slopes` looks at."""

    def __init__(self, whole: Probe, chunk: Chunk, mark: Callable[[int, int], object]) -> None:
        self.whole, self.chunk, self.mark = whole, chunk, mark
        part = slice(chunk.start, chunk.stop)
        self.leaves = [whole.leaves[chunk.leaf].reshape(-1)[part].copy()]
        if whole.given_steps is not None:
            self.given_steps = [whole.given_steps[chunk.leaf].reshape(-1)[part]]
        self.value, self.precision, self.closely = whole.value, whole.precision, whole.closely

    def at(self, leaf: int, i: int, x: Any) -> Any:
        """Evaluate the loss where entry `i` of the part is `x`, once more if that fails."""
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
        """Look into the loss as the whole does, whatever the part: so all parts find the same."""
        self.whole.look_into()

    def require_steady(self) -> None:
        """Raise a LossError if the loss is not deterministic."""
        self.whole.require_steady()

    def name(self, leaf: int, i: int) -> str:
        """Name an entry as the whole does."""
        return self.whole.name(self.chunk.leaf, self.chunk.start + i)


def answer(
    problem: Problem,
    chunk: Chunk,
    probe: Probe | None = None,
    mark: Callable[[int, int], object] = lambda leaf, i: None,
) -> Answer:
    """Return a chunk with the slopes of its entries, or with what went wrong.

    Parameters
    ----------
    problem : Problem
        What to differentiate.
    chunk : Chunk
        By which entries.
    probe : Probe, optional
        A probe of the problem that nobody else uses, to be spared making one.
    mark : callable
        Told the leaf and the entry before each evaluation, which may be the last.
    """
    try:
        part = Part(probe or problem.probe(), chunk, mark)
        return chunk, problem.method.slopes(part, 0)
    except Exception as error:
        return chunk, Failure.of(error)


def _cloudpickle() -> ModuleType | None:
    try:
        import cloudpickle
    except ImportError:
        return None
    module: ModuleType = cloudpickle
    return module


def _pickler() -> Any:
    """Return the module that pickles: one that takes functions of a notebook along, if it can."""
    return _cloudpickle() or pickle
