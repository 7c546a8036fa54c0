"""A numerical gradient taken by several workers, and taken up again after an interruption.

The slopes of two entries have nothing to do with each other, so that a gradient falls into chunks:
some entries of one leaf. A worker holds the loss, the parameters and the data, is told a chunk,
and answers with its slopes::

    problem  ──►  worker, worker, ...          once, or with each chunk
    chunks   ──►  slopes(problem, chunk)  ──►  the gradient, chunk by chunk

The same code computes each slope from the same numbers, whoever does it. So neither the number of
workers nor the chunks change a bit of it. A chunk lasts long enough that sending takes a small
share of the time, and is short enough that all workers end together. An evaluation of the loss that
raises is repeated once; the second exception counts.
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
    """The loss evaluated by several workers, and what is done kept in a file.

    The slopes are those of the plain loop, to the bit, for any number of workers. It pays for a
    loss of some milliseconds.

    Parameters
    ----------
    workers : int, callable or distributed.Client, optional
        A number of processes (-1: one a processor) that share one copy of the data and end with
        the call. Or a function like `map`: ``executor.map`` of `concurrent.futures` or
        `mpi4py.futures`, whose processes stay. Or a Dask client. By default this process.
    timeout : float, optional
        Seconds after which a worker process that still evaluates the loss at one place is taken to
        hang, and killed; it is replaced once, and then an error names the place.
    resume : str or path, optional
        A file for what is done of a gradient, from which the same one is taken up again after an
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
        """Return the function that takes the slopes of a loss; see `Evaluation`."""
        from gradlab.gradients.workers.gradient import slopes

        return partial(slopes, workers=self.workers, timeout=self.timeout, resume=self.resume)
