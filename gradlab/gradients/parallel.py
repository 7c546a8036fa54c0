"""A numerical gradient taken by several workers, and taken up again after an interruption.

The slopes of two entries have nothing to do with each other, so that a gradient falls into chunks:
some entries of one leaf. A worker holds the loss, the parameters and the data, is told a chunk,
and answers with its slopes::

    problem  ──►  worker, worker, ...          once, or with each chunk
    chunks   ──►  slopes(problem, chunk)  ──►  the gradient, chunk by chunk

Each slope is computed by the same code from the same numbers whoever does it, so that neither the
number of workers nor the chunks change a bit of it. A chunk lasts long enough that sending is
lost in it, and is short enough that all workers end together. What an evaluation of the loss
raises, it may raise once: it is repeated, and counts the second time.

Who works is up to `workers`: processes of our own (see `processes`), the `map` of an executor, or
a Dask cluster.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import reprlib
import sys
import traceback
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gradlab import files, options
from gradlab.errors import GradlabError, OptionError, WorkerError, reason_of
from gradlab.gradients import processes
from gradlab.gradients.finite_differences import Difference, given_steps
from gradlab.gradients.probing import Probe
from gradlab.gradients.protocol import Loss
from gradlab.gradients.resuming import Record, identity
from gradlab.interrupts import allowed, held
from gradlab.locks import locked
from gradlab.params import Array

SENDING = 0.05
"""The most of a worker's time that may go into sending."""

ROUND_TRIP = 1e-3
"""Seconds in which a chunk and its answer surely travel, with a problem that is there already."""

BANDWIDTH = 200e6
"""Bytes of a problem that are pickled, sent and unpickled in a second, where it is sent along."""

WHOLE = 0.1
"""Seconds after which a chunk need not be longer to be worth its sending."""

SHARES = 4
"""Chunks that each worker should get at least, so that all of them end together."""


class Chunk(NamedTuple):
    """Entries `start` to `stop`, in C order, of one leaf."""

    leaf: int
    start: int
    stop: int


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

    method: Difference
    loss: Loss
    params: Any
    args: tuple[Any, ...]
    value: Any
    precision: float
    closely: bool = False

    def probe(self) -> Probe:
        """Return a fresh probe of the loss, with what is known of it."""
        probe = Probe(self.loss, self.params, self.args, self.method.dtype)
        probe.value, probe.precision, probe.closely = self.value, self.precision, self.closely
        if self.method.step is not None:
            probe.given_steps = given_steps(self.method.step, self.params, probe.leaves)
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
        self._whole, self._chunk, self._mark = whole, chunk, mark
        part = slice(chunk.start, chunk.stop)
        self.leaves = [whole.leaves[chunk.leaf].reshape(-1)[part].copy()]
        if whole.given_steps is not None:
            self.given_steps = [whole.given_steps[chunk.leaf].reshape(-1)[part]]
        self.value, self.precision, self.closely = whole.value, whole.precision, whole.closely

    def at(self, leaf: int, i: int, x: Any) -> Any:
        """Evaluate the loss where entry `i` of the part is `x`, once more if that fails."""
        place = (self._chunk.leaf, self._chunk.start + i)
        self._mark(*place)
        try:
            return self._whole.at(*place, x)
        except Exception:
            pass
        try:
            return self._whole.at(*place, x)
        except Exception as error:
            error.add_note("it was evaluated twice, and failed both times")
            raise

    def look_into(self) -> None:
        """Look into the loss as the whole does, whatever the part: so all parts find the same."""
        self._whole.look_into()

    def require_steady(self) -> None:
        """Raise a LossError if the loss is not deterministic."""
        self._whole.require_steady()

    def name(self, leaf: int, i: int) -> str:
        """Name an entry as the whole does."""
        return self._whole.name(self._chunk.leaf, self._chunk.start + i)


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


def slopes(
    method: Difference,
    probe: Probe,
    loss: Loss,
    params: Any,
    args: tuple[Any, ...],
    seconds: float,
) -> list[Array]:
    """Return the slopes of all leaves, as `method` takes them, by its workers.

    Parameters
    ----------
    method : Difference
        Its `workers` and `resume` say who, and where what is done already is kept.
    probe : Probe
        The loss at the parameters.
    loss, params, args
        What the probe was made of, and workers make their own of.
    seconds : float
        How long an evaluation of the loss took.

    Raises
    ------
    WorkerError
        If a worker died or hung twice at the same chunk, or `workers` gave no answer.
    OptionError
        If the problem cannot be sent, or the file belongs to another one.
    """
    probe.looped = True
    plain = replace(method, workers=None, timeout=None, resume=None)
    problem = Problem(plain, loss, params, args, probe.value, probe.precision, probe.closely)
    team = find_team(method.workers, method.timeout)
    known = None if method.resume is None else identity(plain, probe, loss, args)
    with (
        held(),
        _alone(method.resume),
        Record.open(method.resume, known, probe) as record,
        _progress(record) as show,
    ):
        sending = team.round_trip + (problem.bytes / BANDWIDTH if team.carries else 0)
        size = chunk_size(record.pending, team.count, seconds, sending)
        pieces = chunks(record.missing, size)
        if sample := record.sample():
            pieces.insert(0, sample)
        for chunk, found in _successes(team.work(problem, pieces, probe)):
            if chunk == sample:
                record.confirm(sample, found)
            else:
                record.put(chunk, found)
            show()
        if record.pending:
            raise WorkerError(
                f"workers={method.workers!r} left {record.pending} entries without an answer: give "
                "a function that calls another on each of some values, as map does"
            )
    return record.slopes


@contextmanager
def _alone(resume: Any) -> Iterator[None]:
    """Be the only one who writes the file of `resume`, if there is one."""
    if resume is None:
        yield
        return
    with locked("resume", Path(resume)):
        files.sweep(Path(resume))
        yield


def _successes(answers: Generator[Answer]) -> Iterator[tuple[Chunk, Array]]:
    """Yield answers until one is a failure, which is raised; then nobody works any more."""
    with closing(answers):
        for chunk, found in answers:
            if isinstance(found, Failure):
                raise found.error
            yield chunk, found


def chunk_size(entries: int, workers: int, evaluation: float, sending: float) -> int:
    """Return how many entries a chunk should have.

    Parameters
    ----------
    entries : int
        All that there are.
    workers : int
        Who share them.
    evaluation : float
        Seconds of one evaluation of the loss; an entry takes at least one.
    sending : float
        Seconds that a chunk and its answer travel.

    Examples
    --------
    >>> chunk_size(2000, 2, evaluation=20e-3, sending=1e-3)
    5
    >>> chunk_size(45_360, 2, evaluation=1e-4, sending=1e-3)  # a tenth of a second
    1000
    >>> chunk_size(12, 4, evaluation=1e-4, sending=1e-3)  # not worth being divided
    200
    """
    evaluation = max(evaluation, 1e-7)
    worth = math.ceil(sending / SENDING / evaluation)
    return max(1, worth, min(math.ceil(WHOLE / evaluation), entries // (SHARES * workers)))


def chunks(missing: Sequence[Array], size: int) -> list[Chunk]:
    """Divide the entries that are missing into chunks of at most `size`.

    Examples
    --------
    >>> chunks([np.array([True, True, True, False, True]), np.array([True])], size=2)
    [Chunk(leaf=0, start=0, stop=2), Chunk(leaf=0, start=2, stop=3),
     Chunk(leaf=0, start=4, stop=5), Chunk(leaf=1, start=0, stop=1)]
    """
    found = []
    for leaf, mask in enumerate(missing):
        edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
        for begin, end in edges.reshape(-1, 2).tolist():
            found += [Chunk(leaf, i, min(i + size, end)) for i in range(begin, end, size)]
    return found


# Who works


@dataclass(frozen=True)
class Team:
    """Workers and what is to be known of them.

    Attributes
    ----------
    count : int
        How many they are, as far as is known.
    round_trip : float
        Seconds in which a chunk and its answer travel.
    carries : bool
        Whether each chunk carries the problem with it.
    work : callable
        Yields the answers to chunks, in any order; the probe names entries in errors.
    """

    count: int
    round_trip: float
    carries: bool
    work: Callable[[Problem, list[Chunk], Probe], Generator[Answer]]


def find_team(workers: Any, timeout: float | None = None) -> Team:
    """Return who works, from what a user gave as `workers`; and after which time they hang.

    Raises
    ------
    OptionError
        If it is neither an integer nor a function nor a Dask client; or others than processes of
        our own are to be timed.

    Examples
    --------
    >>> find_team(3).count
    3
    >>> find_team("all")
    Traceback (most recent call last):
    gradlab.errors.OptionError: workers='all': give a number of processes, a function like map
    (an executor's, for example), or a Dask client
    """
    if timeout is not None:
        options.number("timeout", timeout, "give a positive number of seconds")
        if isinstance(workers, bool) or not isinstance(workers, int | np.integer):
            raise options.refusal("timeout", timeout, "it takes workers= that are a number")
    if workers is None or workers is map:
        return Team(1, 0.0, False, partial(_by_map, map))
    if hasattr(workers, "scatter") and hasattr(workers, "submit"):
        with _asking_dask(workers):
            count = max(1, sum(workers.nthreads().values()))
        return Team(count, ROUND_TRIP, False, partial(_by_dask, workers))
    if callable(workers):
        return Team(_cores(), ROUND_TRIP, True, partial(_by_map, workers))
    advice = (
        "give a number of processes, a function like map (an executor's, for example), "
        "or a Dask client"
    )
    given = options.integer("workers", workers, advice, least=-1)
    if given == 0:
        raise options.refusal("workers", workers, advice)
    count = _cores() if given == -1 else given
    return Team(count, ROUND_TRIP, False, partial(processes.work, count, timeout))


def _by_map(
    mapping: Callable[..., Any], problem: Problem, pieces: list[Chunk], probe: Probe
) -> Generator[Answer]:
    """Have a function like `map` do the work; in which order it answers does not matter."""
    left = dict.fromkeys(pieces)
    answers: Any = ()
    try:
        with allowed():
            answers = iter(mapping(partial(answer, problem), pieces))
        for found in _allowing_ctrl_c(answers):
            if not _is_answer(found, left):
                raise TypeError(f"it returned {reprlib.repr(found)}")
            del left[found[0]]
            yield found
    except GradlabError:
        raise
    except Exception as error:
        place = _span(probe, next(iter(left))) if left else "the end"
        raise WorkerError(
            f"workers={mapping!r} failed before {place} was answered: "
            f"{type(error).__name__}: {reason_of(error)}"
        ) from error
    finally:
        if hasattr(answers, "close"):
            answers.close()  # an executor forgets what it has not begun


def _allowing_ctrl_c(answers: Iterator[Any]) -> Iterator[Any]:
    """Yield what there is, interrupted while it is computed or waited for."""
    end = object()
    while True:
        with allowed():
            found = next(answers, end)
        if found is end:
            return
        yield found


def _is_answer(found: Any, left: Container[Chunk]) -> bool:
    """Tell whether something is what `answer` returns of a chunk that is left."""
    if not (isinstance(found, tuple) and len(found) == 2 and found[0] in left):
        return False
    chunk, slopes = found
    return isinstance(slopes, Failure) or (
        isinstance(slopes, np.ndarray)
        and slopes.shape == (chunk.stop - chunk.start,)
        and np.issubdtype(slopes.dtype, np.floating)
    )


def _by_dask(client: Any, problem: Problem, pieces: list[Chunk], probe: Probe) -> Generator[Answer]:
    """Scatter the problem to all workers of a Dask cluster once, and then chunks alone.

    Dask itself gives a dead worker's chunk to another one. If the problem, too, died with its
    workers, or Dask has given up, all that is missing is tried once more.
    """
    # The client comes from there, so that it is installed.
    from distributed import as_completed

    left = dict.fromkeys(pieces)
    for attempt in range(2):
        failed: dict[Chunk, Exception] = {}
        sent: list[Any] = []
        try:
            with allowed(), _asking_dask(client):
                if not (attempt or client.nthreads()):  # for which a scatter waits in vain
                    raise WorkerError(
                        f"workers={client!r}: the cluster has no workers; start some, and "
                        "client.wait_for_workers(1)"
                    )
                sent.append(client.scatter(problem, broadcast=True, hash=False))
                futures = {client.submit(answer, *sent, piece, pure=False): piece for piece in left}
                sent += futures
            waiting = as_completed(list(futures))  # type: ignore[no-untyped-call,unused-ignore]
            for future in _allowing_ctrl_c(waiting):
                try:
                    found = future.result()
                except Exception as error:
                    failed[futures[future]] = error
                    continue
                del left[futures[future]]
                yield found
        finally:
            with allowed(), suppress(Exception):  # it may be closed, or its scheduler gone
                client.cancel(sent)
        if not left:
            return
    chunk, reason = next(iter(failed.items()))
    raise WorkerError(
        f"Dask twice left {len(left)} of {len(pieces)} chunks unanswered, "
        f"{_span(probe, chunk)} among them, as when its workers die: "
        f"{type(reason).__name__}: {reason}"
    ) from reason


@contextmanager
def _asking_dask(client: Any) -> Iterator[None]:
    """Say that a client does not work where it raises an error of its own."""
    try:
        yield
    except GradlabError:
        raise
    except Exception as error:
        raise WorkerError(
            f"workers={client!r} does not answer ({type(error).__name__}: {reason_of(error)}): "
            "give a client that is connected to a cluster"
        ) from error


def _span(probe: Probe, chunk: Chunk) -> str:
    """Name the entries of a chunk."""
    first, last = (probe.name(chunk.leaf, i) for i in (chunk.start, chunk.stop - 1))
    return first if first == last else f"{first} to {last}"


def _cores() -> int:
    """Return how many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


@contextmanager
def _progress(record: Record) -> Iterator[Callable[[], None]]:
    """Show how many entries are done and the time left, where somebody is there to look."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("slopes"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=record.size, completed=record.size - record.pending)
        yield lambda: bar.update(task, completed=record.size - record.pending)
