"""Traced values that a loss keeps: batch normalisation's running mean, a recurrent layer's state.

A traced value is valid for one trace. If an attribute or a list of the user's keeps it longer,
later calls fail, or the graph of each call silently grows by that of the call before. After each
trace, a `Watch` therefore checks, at almost no cost, whether any of its values is still alive. If
so, it finds the place that holds the value, puts the plain number there, and warns. `detach` is the
way to keep a number on purpose.
"""

from __future__ import annotations

import gc
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from gradlab.arrays.collecting import Collector
from gradlab.arrays.dispatch import Holder, Traced, held
from gradlab.arrays.places import all_code, place_of
from gradlab.containers import rebuilt
from gradlab.errors import LossError, StatefulLossWarning

_detached = Collector[str]()

MAX_SEARCH_DEPTH = 6
"""Largest depth of attributes and items below the loss that is searched."""


def detach(x: Any) -> Any:
    """Return the plain numbers of a value, without its derivative.

    A loss that keeps state, such as a running mean, keeps it detached: a traced value has no
    meaning after the trace. In what the loss returns, a detached value is a constant.

    Parameters
    ----------
    x : array or structure of arrays
        Traced or plain arrays and numbers, in dicts, lists and tuples.

    Returns
    -------
    array or structure of arrays
        Copies as NumPy's arrays and numbers, in the same structure.

    Raises
    ------
    UntraceableError
        If the loss is recorded or compiled. Its numbers are not known then, and a loss that keeps
        state has an effect that a replay would not repeat. The tape then evaluates the loss anew.

    Examples
    --------
    >>> from gradlab import grad
    >>> import numpy as np
    >>> grad(lambda x: np.sum(x * detach(x)))(np.array([1.0, 2.0]))
    array([1., 2.])
    """
    x = held(x)
    if _is_live(x):
        if _detached.found is not None:
            _detached.note(place_of())
        return detach(x.detached())
    if isinstance(x, dict):
        return {key: detach(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return rebuilt(x, list(map(detach, x)))
    return x.copy() if isinstance(x, np.ndarray) else x


def detachments() -> AbstractContextManager[list[str]]:
    """Collect the lines in which a loss calls `detach` for a traced value in this thread."""
    return _detached.collecting()


class Watch:
    """Check whether something of a trace outlives it.

    Every traced value of the trace keeps all `roots` alive, directly or indirectly.
    """

    def __init__(self, roots: Sequence[Any]) -> None:
        self._roots = [weakref.ref(root) for root in roots]

    def clean_up(self, loss: Any, args: Sequence[Any] = (), *, quiet: bool = False) -> None:
        """Replace what the loss keeps by plain numbers, and warn of it; see `replace`."""
        names = self.replace(loss, args)
        if names and not quiet:
            warnings.warn(
                f"the loss is not pure: it keeps a traced value in {', '.join(names)}, where its "
                "plain number is put now; keep gradlab.detach(value) there, but not of parameters "
                "that it uses later, which would have no gradient",
                StatefulLossWarning,
                stacklevel=5,
            )

    def replace(self, loss: Any, args: Sequence[Any] = ()) -> list[str]:
        """Replace what the loss keeps by plain numbers, and return where.

        Call this when only the loss can still hold values of the trace. A place that cannot be
        found or changed is an error.
        """
        if not self._is_alive():
            return []
        if names := list(release(loss, args)):
            return names
        gc.collect()  # a cycle, such as that of a function that calls itself
        if self._is_alive():
            raise LossError(
                "the loss keeps a traced value beyond its end, in a place that is not found: "
                "keep gradlab.detach(value), which is a plain number"
            )
        return []

    def _is_alive(self) -> bool:
        return any(root() is not None for root in self._roots)


def release(loss: Any, args: Sequence[Any] = ()) -> Iterator[str]:
    """Replace the traced values below a loss and its arguments, and yield where they were."""
    for path, value, put in _kept(loss, args):
        put(_plain(value))
        yield path


def keeps_traced(loss: Any, args: Sequence[Any] = ()) -> bool:
    """Tell whether a loss or its arguments hold a traced value."""
    return next(_kept(loss, args), None) is not None


def _kept(loss: Any, args: Sequence[Any]) -> Iterator[tuple[str, Any, Callable[[Any], None]]]:
    """Yield path, value, and a function that replaces the value, of each traced value."""
    seen: set[int] = set()
    queue: list[tuple[str, Any, int]] = [("", loss, 0), *[("an argument", a, 0) for a in args]]
    while queue:
        name, owner, depth = queue.pop(0)
        if id(owner) in seen or depth > MAX_SEARCH_DEPTH or len(seen) > 100_000:
            continue
        seen.add(id(owner))
        for path, value, put in _places(name, owner):
            if _holds_traced(value):
                yield path, value, put
            elif not isinstance(value, (str, bytes, int, float, type, types.ModuleType)):
                queue.append((path, value, depth + 1))


def _plain(value: Any) -> Any:
    """Return the plain numbers of a kept value; in a recording, the recorded numbers."""
    value = held(value)
    while _is_live(value):
        value = value.kept_value()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return rebuilt(value, list(map(_plain, value)))
    return value


def _is_live(value: Any) -> bool:
    """Tell whether a value carries more than its numbers: a trace, or a complex step."""
    return isinstance(value, Traced) or hasattr(type(value), "kept_value")


def _holds_traced(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_traced, value))
    if type(value) is dict:
        return any(map(_holds_traced, value.values()))
    return _is_live(value) or (isinstance(value, Holder) and value is not held(value))


def _places(name: str, owner: Any) -> Iterator[tuple[str, Any, Callable[[Any], None]]]:
    """Yield each place below an object: its name, its value, and a function that replaces it."""
    if isinstance(owner, partial):
        yield from ((name, part, _refuse_to_replace) for part in (owner.func, *owner.args))
    elif isinstance(owner, types.MethodType):
        yield from ((name, part, _refuse_to_replace) for part in (owner.__self__, owner.__func__))
    elif isinstance(owner, types.FunctionType):
        code = owner.__code__
        for variable, cell in zip(code.co_freevars, owner.__closure__ or (), strict=True):
            if cell != types.CellType():
                yield variable, cell.cell_contents, partial(setattr, cell, "cell_contents")
        space = owner.__globals__
        for variable in {name for part in all_code(code) for name in part.co_names}:
            if variable in space:
                yield variable, space[variable], partial(space.__setitem__, variable)
        for default in owner.__defaults__ or ():
            yield f"a default of {owner.__name__}", default, _refuse_to_replace
    elif isinstance(owner, (dict, list)):
        keys = list(owner) if isinstance(owner, dict) else range(len(owner))
        for key in keys:
            yield f"{name}[{key!r}]", owner[key], partial(owner.__setitem__, key)
    elif isinstance(owner, (np.ndarray, Traced)):
        return
    else:
        prefix = name or type(owner).__name__
        for attribute, value in list(getattr(owner, "__dict__", {}).items()):
            put = partial(object.__setattr__, owner, attribute)  # of a frozen dataclass, too
            yield f"{prefix}.{attribute}", value, put
        if not isinstance(owner, type):
            yield f"{prefix}", type(owner), _refuse_to_replace


def _refuse_to_replace(value: Any) -> None:
    raise LossError(
        "the loss keeps a traced value where it cannot be replaced: keep gradlab.detach(value)"
    )
