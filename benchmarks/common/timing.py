"""Fair timing on a noisy machine.

The load of a machine changes, so two times that are measured one after the other cannot be
compared. `interleave` times the contenders in turns, A B C A B C ..., in one process. Contenders of
the same round run under the same load, and `Ratio` compares them round by round. Ratios are the
result; seconds are for orientation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Runs: TypeAlias = Mapping[str, Callable[[], object]]


MOST_CALLS = 10_000
"""Largest number of calls in a turn, for contenders that take almost no time."""


class Laps(list[float]):
    """Seconds of equal pieces of work, from a contender that measures its own time."""


def interleave(
    contenders: Runs,
    *,
    rounds: int,
    turn: float = 0.03,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time contenders in turns, A B C A B C ..., after each has been warmed up.

    A turn makes calls for `turn` seconds (at least one call), and its result is their median. The
    first calls of a turn are slower: caches are cold, and threads of the contender before may still
    spin.

    Parameters
    ----------
    contenders : mapping of str to callable
        The functions to time, without arguments. If one returns `Laps`, these are its times instead
        of the times of its calls.
    rounds : int
        The number of turns of each contender.
    turn : float
        The duration of a turn in seconds.
    clock : callable
        Returns seconds.

    Returns
    -------
    dict of str to list of float
        Seconds per call (or lap), one number per round.

    Examples
    --------
    >>> seconds = interleave({"sum": lambda: sum(range(99)), "pass": lambda: None}, rounds=3)
    >>> {name: len(values) for name, values in seconds.items()}
    {'sum': 3, 'pass': 3}
    """
    calls = {name: _warm_up(run, turn, clock) for name, run in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            laps: list[float] = []
            for _ in range(calls[name]):
                laps += _timed(run, clock)[1]
            seconds[name].append(float(np.median(laps)))
    return seconds


def _warm_up(run: Callable[[], object], turn: float, clock: Callable[[], float]) -> int:
    """Call `run` for the duration of a turn, and return the number of calls that fill a turn."""
    calls = [_timed(run, clock)[0]]
    while sum(calls) < turn and len(calls) < MOST_CALLS:
        calls.append(_timed(run, clock)[0])
    return max(1, min(MOST_CALLS, round(turn / max(float(np.median(calls)), 1e-9))))


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> tuple[float, list[float]]:
    """Return the seconds of a call, and the times that it contributes."""
    started = clock()
    outcome = run()
    call = clock() - started
    return call, outcome if isinstance(outcome, Laps) else [call]


@dataclass(frozen=True)
class Ratio:
    """The time of one contender divided by another's, from the rounds of `interleave`.

    Attributes
    ----------
    median : float
        The median of the rounds' ratios.
    low, high : float
        The quartiles: half of the rounds' ratios lie between them.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float], reference: Sequence[float]) -> Ratio:
        """Compare two contenders round by round.

        Examples
        --------
        >>> Ratio.of([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])  # load in the second round
        Ratio(median=2.0, low=2.0, high=2.0)
        """
        ratios = np.divide(seconds, reference)
        return cls(*(float(np.quantile(ratios, q)) for q in (0.5, 0.25, 0.75)))
