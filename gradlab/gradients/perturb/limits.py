"""The thresholds of the perturbation engine, in one place so that tests can set them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Thresholds that select how the engine computes; the defaults were measured."""

    # Entries of the widest value of a block. 2**19 of them (4 MB) stay in a cache of usual size.
    block: int = 2**19
    # Entries of a block from which threads are used. Below, starting them costs more than it saves.
    worth_a_thread: int = 2**18
    # Lanes that share a coefficient of a power series, below which the series costs more than the
    # lanes.
    min_series_lanes: int = 32
    # Coefficients of the widest value that are computed together where the whole loss is a power
    # series. 2**17 of them (1 MB) were the fastest of 2**13 to 2**18.
    series: int = 2**17
    # Rows of the batch in a block; with fewer, each row is a block, because loops over a short
    # innermost axis are slow.
    rows_side_by_side: int = 8
    lanes_side_by_side: int = 16  # the same bound for the number of lanes if rows are not lanes
    # Largest number of different perturbation sizes for which equal lanes are merged.
    sizes: int = 8
    call_cost: int = 2000  # cost of one NumPy call, in entries that are computed in the same time
    rows: bool = True  # whether to look for a separable batch axis
    even_if_slower: bool = False  # whether to use the engine even where the plain loop is faster


DEFAULT_LIMITS = Limits()
