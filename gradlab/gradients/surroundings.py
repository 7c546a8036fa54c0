"""What a loss reads besides its arguments, as far as that can be seen.

A recording has in it what the loss closes over. If a variable of that is bound to another value,
the recording is of another function, and the loss has to be recorded again. A `Surroundings` looks
at the variables that the loss itself names: its free variables, its globals, and for a method the
attributes of its object. Numbers and text are compared by value, all other things by identity: an
array that is written into is read anew at each replay. What the functions that the loss calls
close over is not seen, nor what is inside of containers and objects.
"""

from __future__ import annotations

import dis
import operator
import types
from functools import partial
from typing import Any

_PLAIN = (int, bool, str, bytes, type(None))


class Surroundings:
    """The variables that a loss reads.

    Examples
    --------
    >>> def loss(w):
    ...     return scale * w
    >>> scale = 2.0
    >>> loss.__globals__["scale"] = scale
    >>> surroundings = Surroundings(loss)
    >>> before = surroundings.key()
    >>> before == surroundings.key()
    True
    >>> loss.__globals__["scale"] = 3.0
    >>> before == surroundings.key()
    False
    """

    def __init__(self, loss: Any) -> None:
        self._latest: tuple[list[Any], Bindings] = [], Bindings(())
        self._cells: list[Any] = []
        self._places: list[tuple[dict[str, Any], str]] = []
        while isinstance(loss, partial):
            loss = loss.func
        if isinstance(loss, types.MethodType):
            self._attributes: dict[str, Any] = getattr(loss.__self__, "__dict__", {})
            loss = loss.__func__
        else:
            self._attributes = {}
        self._stored: set[str] = set()
        if not isinstance(loss, types.FunctionType):
            return
        code = loss.__code__
        # What it assigns to itself, such as a counter, is its own affair.
        self._stored = stored = _stored_by(code)
        self._cells = [
            cell
            for name, cell in zip(code.co_freevars, loss.__closure__ or (), strict=True)
            if name not in stored
        ]
        self._places = [
            (loss.__globals__, name)
            for name in code.co_names
            if name in loss.__globals__
            and name not in stored
            and not isinstance(loss.__globals__[name], types.ModuleType)
        ]

    def key(self) -> Bindings:
        """Return what is equal as long as no variable is bound to something else."""
        values = [_contents(cell) for cell in self._cells]
        values += [names.get(name) for names, name in self._places]
        for name, value in self._attributes.items():
            if name not in self._stored:
                values += [name, value]
        before, bindings = self._latest
        if len(values) == len(before) and all(map(operator.is_, values, before)):
            return bindings
        bindings = Bindings(tuple([_token(value) for value in values]))
        self._latest = values, bindings
        return bindings


_STORES = ("STORE_DEREF", "STORE_GLOBAL", "STORE_ATTR")


def _stored_by(code: types.CodeType) -> set[str]:
    """Return the names of variables and attributes that a function assigns to."""
    # To disassemble takes as long as a small gradient, and most losses assign to nothing.
    if not {dis.opmap[name] for name in _STORES} & {*code.co_code[::2]}:
        return set()
    return {step.argval for step in dis.get_instructions(code) if step.opname in _STORES}


class Bindings:
    """What variables are bound to, as a key, whose hash is computed once."""

    __slots__ = ("_hash", "_tokens")

    def __init__(self, tokens: tuple[Any, ...]) -> None:
        self._tokens = tokens
        self._hash = hash(tokens)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bindings) and self._tokens == other._tokens


class _Same:
    """A thing that is equal to itself alone."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing  # held, so that nothing else gets its id

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing


def _token(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)
    return _Same(value)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None
