"""A numerical gradient computed by several workers, and resumed after an interruption.

The slopes of different entries are independent, so a gradient divides into chunks of entries of one
leaf. A worker holds the loss, the parameters and the data, receives a chunk, and returns its
slopes::

    task     ──►  worker, worker, ...          once, or with each chunk
    chunks   ──►  slopes(task, chunk)  ──►  the gradient, chunk by chunk

Every worker runs the same code on the same numbers, so neither the number of workers nor the chunks
change a bit of the result. A chunk is long enough for sending to take a small share of the time,
and short enough for all workers to end together. An evaluation of the loss that raises is repeated
once; a second exception is the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

from gradlab import options
from gradlab.gradients.probing import Slopes
from gradlab.gradients.protocol import Loss


@dataclass(frozen=True)
class Workers:
    """The loss evaluated by several workers, with finished slopes kept in a file.

    The slopes are those of the plain loop, to the bit, for any number of workers. Workers pay off
    for a loss that takes some milliseconds.

    Parameters
    ----------
    workers : int, callable or distributed.Client, optional
        A number of processes (-1: one a processor) that share one copy of the data and end with
        the call. Or a function like `map`: ``executor.map`` of `concurrent.futures` or
        `mpi4py.futures`, whose processes stay. Or a Dask client. By default this process.
    timeout : float, optional
        Seconds after which a worker process that still evaluates the loss at one place counts as
        hung and is killed. It is replaced once; a second time is an error that names the place.
    resume : str or path, optional
        A file for the finished part of a gradient, from which the same gradient resumes after an
        interruption. It is removed when the gradient is complete.

    Raises
    ------
    WorkerError
        By the gradient: if a worker died or hung twice at the same chunk, or `workers` gave no
        answer.
    OptionError
        By the gradient: if the loss cannot be sent, or the file belongs to another gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     backend = gradlab.CentralDifference(evaluation=Workers(executor.map))
    ...     gradlab.grad(lambda x: np.sum(x**2), backend)(np.ones(2)).round(6)
    array([2., 2.])
    """

    workers: Any = None
    timeout: float | None = None
    resume: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        from gradlab.gradients.workers.teams import find_team

        find_team(self.workers, self.timeout)
        if self.resume is not None and not isinstance(self.resume, str | PathLike):
            raise options.refusal("resume", self.resume, "give the path of a file")

    def of(self, loss: Loss) -> Slopes:
        """Return the function that computes the slopes of a loss; see `Evaluation`."""
        from gradlab.gradients.workers.gradient import slopes

        return partial(slopes, workers=self.workers, timeout=self.timeout, resume=self.resume)
