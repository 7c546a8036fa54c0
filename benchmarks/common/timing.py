"""Fair timing on a noisy machine.

The noise comes and goes, so that two figures taken one after the other cannot be compared.
`interleave` lets the contenders take turns, A B C A B C ..., in one process; contenders of the same
round met the same neighbours, and `Ratio` compares them round by round. Seconds are for
orientation, ratios are the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Runs: TypeAlias = Mapping[str, Callable[[], object]]


MOST_CALLS = 10_000
"""In a turn, of something that takes no time."""


class Laps(list[float]):
    """Seconds of pieces of work of the same size, from a contender that holds the clock itself."""


def interleave(
    contenders: Runs,
    *,
    rounds: int,
    turn: float = 0.03,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time contenders in turns, A B C A B C ..., after each has been warmed up.

    A turn is as many calls as fill `turn` seconds (at least one), and counts as their median: the
    first calls of a turn find cold caches and the threads of the contender before still spinning.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time; called without arguments, and done when it returns. One that returns `Laps`
        is timed by these instead of by its calls.
    rounds : int
        How many turns each contender gets.
    turn : float
        Seconds a turn should last.
    clock : callable
        Returns seconds.

    Returns
    -------
    dict of str to list of float
        Seconds a call (or lap), one number a round: the i-th of all contenders are neighbours.

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
    """Call `run` for as long as a turn lasts, and return how many calls fill one."""
    calls = [_timed(run, clock)[0]]
    while sum(calls) < turn and len(calls) < MOST_CALLS:
        calls.append(_timed(run, clock)[0])
    return max(1, min(MOST_CALLS, round(turn / max(float(np.median(calls)), 1e-9))))


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> tuple[float, list[float]]:
    """Return the seconds of a call, and what it counts as."""
    started = clock()
    outcome = run()
    call = clock() - started
    return call, outcome if isinstance(outcome, Laps) else [call]


@dataclass(frozen=True)
class Ratio:
    """How many times as long one contender takes as another, from the rounds of `interleave`.

    Attributes
    ----------
    median : float
        Of the ratios of the two turns of each round.
    low, high : float
        The middle half of the rounds lies between these.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float], reference: Sequence[float]) -> Ratio:
        """Compare two contenders round by round.

        Examples
        --------
        >>> Ratio.of([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])  # a neighbour came, and hit both
        Ratio(median=2.0, low=2.0, high=2.0)
        """
        ratios = np.divide(seconds, reference)
        return cls(*(float(np.quantile(ratios, q)) for q in (0.5, 0.25, 0.75)))
