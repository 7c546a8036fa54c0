"""Run a loss on traced parameters, with NumPy's functions adapted to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradlab.arrays import boxes as boxes  # autograd's boxes answer NumPy from here on
from gradlab.arrays import replacements as replacements  # registers itself
from gradlab.arrays.conversions import conversions, returned
from gradlab.arrays.creation import tracing
from gradlab.arrays.dispatch import held
from gradlab.arrays.leaks import Watch as Watch
from gradlab.arrays.read_only import is_write, read_only
from gradlab.arrays.refusals import PlainWriteError, refusals
from gradlab.arrays.rewriting import RewriteError, raise_for_copies, raise_for_scipy


def run_traced(loss: Callable[..., Any], params: Any, args: Sequence[Any]) -> Any:
    """Return what a loss returns for traced parameters, with NumPy's functions adapted to them."""
    with tracing(), refusals() as refused, conversions() as noted:
        try:
            value = returned(held(loss(params, *map(read_only, args))), noted)
        except Exception as error:
            if refused and isinstance(refused[-1], RewriteError):  # NumPy raises its own instead
                raise refused[-1] from error
            if is_write(error) or isinstance(error, PlainWriteError):
                raise_for_copies(error)
            raise_for_scipy(error)
            raise
        if refused:  # the loss caught the error and took another branch than on plain arrays
            raise refused[0]
        return value
