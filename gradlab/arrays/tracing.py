"""Run a loss on traced parameters; explain a failure in the user's terms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from autograd.tracer import getval

from gradlab.arrays import boxes as boxes  # autograd's boxes answer NumPy from here on
from gradlab.arrays import replacements as replacements  # registers itself
from gradlab.arrays.conversions import conversions, returned
from gradlab.arrays.creation import tracing
from gradlab.arrays.dispatch import NUMERICAL, Traced, held
from gradlab.arrays.leaks import Watch as Watch
from gradlab.arrays.leaks import release
from gradlab.arrays.places import place_of
from gradlab.arrays.read_only import is_write, read_only, write_refused
from gradlab.arrays.refusals import refusals
from gradlab.arrays.rewriting import RewriteError, following_rewrites, raise_for_scipy
from gradlab.errors import GradlabError, LossError, UntraceableError, reason_of
from gradlab.params import Structure


def trace_loss(
    loss: Callable[..., Any],
    leaves: Sequence[Any],
    traced: Sequence[Any],
    structure: Structure,
    args: Sequence[Any],
    backend: str,
) -> Any:
    """Return what a loss returns for traced parameters.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args)``.
    leaves, traced : sequence of array
        The parameters, and the traced arrays around them.
    structure : Structure
        The structure of the parameters.
    args : sequence
        The other arguments.
    backend : str
        Name of the backend, for error messages.

    Raises
    ------
    UntraceableError
        If the loss fails on traced parameters and not on plain ones.
    Exception
        An exception that the loss also raises on plain parameters, with a note.
    """
    for array in traced:
        if isinstance(array, Traced):
            array._is_argument = True
    try:
        return following_rewrites(lambda: run_traced(loss, structure.unflatten(traced), args))
    except GradlabError:
        list(release(loss, args))
        raise
    except Exception as error:
        list(release(loss, args))
        # A primitive of the user's own lacks a rule; autograd's error names it.
        is_own = isinstance(error, NotImplementedError)
        on_plain = error if is_own else _error_on_plain(loss, leaves, structure, args)
        if on_plain is not None and is_write(error) and is_write(on_plain):
            raise write_refused(place_of(error.__traceback__)) from error
        if on_plain is None:
            if is_write(error):
                raise LossError(
                    f"the loss writes into an array that it has computed with before "
                    f"({place_of(error.__traceback__)}), so that the derivative would see other "
                    "numbers than the value: write into a copy"
                ) from error
            what = f"{type(error).__name__}: {reason_of(error)}"
            raise UntraceableError(
                f"{backend} cannot trace the loss, which fails on traced arrays alone ({what}; "
                f"{place_of(error.__traceback__)}): write that line with NumPy's functions, or use "
                f"{NUMERICAL}"
            ) from error
        error.add_note(f"raised by the loss while {backend} was tracing it")
        raise


def run_traced(loss: Callable[..., Any], params: Any, args: Sequence[Any]) -> Any:
    """Return what a loss returns for traced parameters, with NumPy's functions adapted to them."""
    with tracing(), refusals() as refused, conversions() as noted:
        try:
            value = returned(held(loss(params, *map(read_only, args))), noted)
        except Exception as error:
            if refused and isinstance(refused[-1], RewriteError):  # NumPy raises its own instead
                raise refused[-1] from error
            raise_for_scipy(error)
            raise
        if refused:  # the loss caught the error and took another branch than on plain arrays
            raise refused[0]
        return value


def _error_on_plain(
    loss: Callable[..., Any], leaves: Sequence[Any], structure: Structure, args: Sequence[Any]
) -> Exception | None:
    """Return the exception that the loss raises on plain parameters, or None."""
    plain = [getval(leaf) for leaf in leaves]
    copies = [np.array(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in plain]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            loss(structure.unflatten(copies), *map(read_only, args))
    except Exception as error:
        return error
    is_nested = any(isinstance(arg, Traced) for arg in args)
    return UntraceableError("an argument is traced") if is_nested else None
