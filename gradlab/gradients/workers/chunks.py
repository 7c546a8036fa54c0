"""A gradient in chunks: entries of one leaf each, enough of them to make sending worthwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradlab.gradients.probing import Probe
from gradlab.params import Array

MAX_SENDING_SHARE = 0.05
"""Largest share of a worker's time to spend on sending."""

MAX_CHUNK_SECONDS = 0.1
"""Seconds of work beyond which a chunk grows only to make sending worthwhile."""

MIN_CHUNKS_PER_WORKER = 4
"""Smallest number of chunks per worker, so that all workers end at about the same time."""


class Chunk(NamedTuple):
    """Entries `start` to `stop`, in C order, of one leaf."""

    leaf: int
    start: int
    stop: int


def chunk_size(entries: int, workers: int, evaluation: float, sending: float) -> int:
    """Return how many entries a chunk should have.

    `evaluation` is the time of one evaluation of the loss in seconds, of which an entry takes at
    least one; `sending`, the time to send a chunk and its answer.

    Examples
    --------
    >>> chunk_size(2000, 2, evaluation=20e-3, sending=1e-3)
    5
    >>> chunk_size(45_360, 2, evaluation=1e-4, sending=1e-3)  # a tenth of a second
    1000
    >>> chunk_size(12, 4, evaluation=1e-4, sending=1e-3)  # not worth dividing
    200
    """
    evaluation = max(evaluation, 1e-7)
    worth = math.ceil(sending / MAX_SENDING_SHARE / evaluation)
    return max(
        1,
        worth,
        min(
            math.ceil(MAX_CHUNK_SECONDS / evaluation), entries // (MIN_CHUNKS_PER_WORKER * workers)
        ),
    )


def chunks(missing: Sequence[Array], size: int) -> list[Chunk]:
    """Divide the missing entries into chunks of at most `size`.

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


def span(probe: Probe, chunk: Chunk) -> str:
    """Name the entries of a chunk, for errors."""
    first, last = (probe.name(chunk.leaf, i) for i in (chunk.start, chunk.stop - 1))
    return first if first == last else f"{first} to {last}"
