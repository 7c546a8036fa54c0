"""The thresholds of the perturbation engine, in one place so that tests can set them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Thresholds that select how the engine computes. The defaults were measured on the benchmarks.

    Attributes
    ----------
    block : int
        Entries of the widest value of a block. 2**19 of them (4 MB) stay in a cache of usual size.
    worth_a_thread : int
        Entries of a block from which threads are used. Below, starting them costs more than it
        saves.
    few : int
        Lanes that share a coefficient of a power series, below which the series costs more than
        the lanes.
    series : int
        Coefficients of the widest value that are computed together where the whole loss is a power
        series. 2**17 of them (1 MB) were the fastest of 2**13 to 2**18.
    rows_side_by_side : int
        Rows of the batch in a block; with fewer, each row is a block, because loops over a short
        innermost axis are slow.
    lanes_side_by_side : int
        The same bound for the number of lanes if rows are not lanes.
    sizes : int
        Largest number of different perturbation sizes for which equal lanes are merged.
    call : int
        Cost of one NumPy call, in entries that are computed in the same time.
    rows : bool
        Whether to look for a separable batch axis.
    always : bool
        Whether to use the engine even where the plain loop is faster.
    """

    block: int = 2**19
    worth_a_thread: int = 2**18
    few: int = 32
    series: int = 2**17
    rows_side_by_side: int = 8
    lanes_side_by_side: int = 16
    sizes: int = 8
    call: int = 2000
    rows: bool = True
    always: bool = False


DEFAULT = Limits()
