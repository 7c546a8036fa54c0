"""Digests of losses and backends that stay the same across processes.

What a loss computes depends on more than its name: on the arguments of a `functools.partial`, on
the object of a bound method, and on the variables that a function closes over. All of these are
hashed by content, whatever their size. A function itself is identified by its name, so its comments
may change. So are modules, and objects that cannot be copied, such as locks.

Variables that a function assigns to, such as a counter of its calls, are left out.
"""

from __future__ import annotations

import dis
import hashlib
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

_PLAIN_TYPES = (type(None), bool, int, float, complex, str, bytes)

MAX_SHOWN_CHARACTERS = 60
"""Longest text of a value, in characters, that a description shows; longer ones become a digest."""


@runtime_checkable
class Spelled(Protocol):
    """A backend with several spellings of the same settings."""

    @property
    def usual(self) -> Any:
        """The same backend in the usual spelling."""


FIELDS_WITHOUT_EFFECT = ("workers", "timeout", "resume", "threads")
"""Fields of a backend that do not affect its results: workers, and the file of partial results."""


def digest(thing: Any, without: frozenset[str] = frozenset()) -> str:
    """Return a digest of an object's content, without the attributes of these names.

    Examples
    --------
    >>> digest(np.arange(3)) == digest(np.arange(3)), digest([1.0]) == digest([1])
    (True, False)
    """
    hasher = _Hasher()
    hasher.visit(thing, without)
    return hasher.sha.hexdigest()[:16]


def described(thing: Any) -> str:
    """Describe a function or backend, with the values that it is bound to.

    For a backend, only settings that affect its results and differ from their defaults are shown.

    Examples
    --------
    >>> def scaled(scale):
    ...     return lambda w: scale * w
    >>> described(abs), described(partial(max, key=abs)), described(scaled(2.0))
    ('abs', 'max(key=abs)', 'scaled.<locals>.<lambda>[scale=2.0]')
    """
    if thing is None:
        return "None"
    if isinstance(thing, partial):
        given = [*map(shown, thing.args), *(f"{k}={shown(v)}" for k, v in thing.keywords.items())]
        return f"{described(thing.func)}({', '.join(given)})"
    if is_dataclass(thing) and not isinstance(thing, type):
        thing = thing.usual if isinstance(thing, Spelled) else thing
        given = [
            f"{field.name}={text}"
            for field in fields(thing)
            if field.name not in FIELDS_WITHOUT_EFFECT
            and (text := shown(getattr(thing, field.name))) != shown(field.default)
        ]
        settings = f"({', '.join(given)})" if given else ""
        return f"{getattr(thing, 'name', type(thing).__qualname__)}{settings}"
    name: str = getattr(thing, "__qualname__", getattr(thing, "name", type(thing).__qualname__))
    if isinstance(thing, types.FunctionType):
        given = [f"{k}={shown(v)}" for k, v in _bound(thing)]
        return f"{name}[{', '.join(given)}]" if given else name
    if isinstance(thing, types.MethodType):
        return f"{name} of {_object(thing.__self__, _assigned(thing.__func__))}"
    of_module = isinstance(getattr(thing, "__self__", None), types.ModuleType)  # as is abs
    if of_module or isinstance(thing, type) or hasattr(thing, "value_and_grad"):
        return name
    return _object(thing, frozenset())


def shown(thing: Any) -> str:
    """Return a value as text, or its digest if it is long or has no exact text.

    Examples
    --------
    >>> shown((0.1, "relu")), shown(np.zeros((2, 3)))
    ("(0.1, 'relu')", 'array (2, 3) of digest ...')
    """
    if _is_plain(thing) and len(text := repr(thing)) <= MAX_SHOWN_CHARACTERS:
        return text
    if callable(thing) or is_dataclass(thing):
        return described(thing)
    if isinstance(thing, np.ndarray):
        return f"array {thing.shape} of digest {digest(thing)}"
    return f"{type(thing).__qualname__} of digest {digest(thing)}"


def _object(thing: Any, without: frozenset[str]) -> str:
    """Describe an object by its class and content, if it has any."""
    without |= _assigned(type(thing).__call__) if callable(thing) else frozenset()
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if isinstance(thing, type | types.ModuleType) or not _state(thing, without):
        return str(name)
    return f"{name} of digest {digest(thing, without)}"


def _is_plain(thing: Any) -> bool:
    if type(thing) in (tuple, list):
        return all(map(_is_plain, thing))
    return type(thing) in _PLAIN_TYPES


class _Hasher:
    """Feeds content to SHA-256, each part with its kind and length, so that parts stay distinct."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self._path: list[int] = []

    def add(self, kind: str, data: Any = b"") -> None:
        """Add bytes of a kind."""
        view = memoryview(data).cast("B")
        self.sha.update(f"{kind} {view.nbytes} ".encode())
        self.sha.update(view)

    def visit(self, thing: Any, without: frozenset[str] = frozenset()) -> None:
        """Add an object and everything in it."""
        if type(thing) in _PLAIN_TYPES:
            self.add(type(thing).__name__, repr(thing).encode("utf-8", "surrogatepass"))
        elif (array := _numbers(thing)) is not None:
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else b""
            self.add(f"array {array.dtype.descr} {array.shape}", data)
        elif id(thing) in self._path:  # it contains itself
            self.add(f"again {len(self._path) - self._path.index(id(thing))}")
        else:
            self._path.append(id(thing))
            self._parts(thing, without)
            self._path.pop()

    def _parts(self, thing: Any, without: frozenset[str]) -> None:
        if isinstance(thing, types.FunctionType):
            self._add_all("function", [thing.__qualname__, *_bound(thing)])
        elif isinstance(thing, types.MethodType):
            self.add("method")
            self.visit(thing.__self__, _assigned(thing.__func__))
            self.visit(thing.__func__)
        elif isinstance(thing, type | types.ModuleType):
            self.add("name", str(getattr(thing, "__qualname__", thing.__name__)).encode())
        elif type(thing) in (tuple, list):
            self._add_all(type(thing).__name__, thing)
        elif type(thing) is dict:
            self._add_all("dict", thing.items())
        elif isinstance(thing, set | frozenset):
            self._add_all("set", sorted(map(digest, thing)))
        elif isinstance(thing, np.ndarray) and type(thing) is np.ndarray:  # of objects
            self._add_all(f"objects {thing.shape}", thing.reshape(-1).tolist())
        else:
            name = type(thing).__qualname__
            self._add_all(f"object {name}", _state(thing, without))

    def _add_all(self, kind: str, things: Any) -> None:
        things = [*things]
        self.add(f"{kind} {len(things)}")
        for thing in things:
            self.visit(thing)


def _numbers(thing: Any) -> NDArray[Any] | None:
    """Return an array of any library as a NumPy array, or None if `thing` is not an array."""
    if isinstance(thing, type) or not hasattr(thing, "__array__"):
        return None
    if isinstance(thing, np.ndarray) and type(thing) not in (np.ndarray, np.memmap):
        return None  # a mask belongs to it, or a unit
    try:
        array = np.asarray(thing.detach() if hasattr(thing, "detach") else thing)
    except Exception:
        return None
    return None if array.dtype.hasobject else array


def _state(thing: Any, without: frozenset[str]) -> list[Any]:
    """Return the parts that a copy would be made from; none if it is empty or not copyable."""
    try:
        parts = thing.__reduce_ex__(4)
        if isinstance(parts, str):
            return [parts]
        _, arguments, state, items, pairs = (*parts, None, None, None, None)[:5]
        content = [
            [argument for argument in arguments if argument is not type(thing)],
            _without(state, without),
            [*(items or ())],  # of a subclass of list
            [*(pairs or ())],  # of a subclass of dict
        ]
    except Exception:
        return []
    is_empty = all(part is None or (isinstance(part, list | dict) and not part) for part in content)
    return [] if is_empty else content


def _without(state: Any, without: frozenset[str]) -> Any:
    """Return a state without some attributes; with slots, the state is a pair of dicts."""
    if isinstance(state, tuple):
        return tuple(_without(part, without) for part in state)
    if not isinstance(state, dict):
        return state
    return {name: value for name, value in state.items() if name not in without}


def _bound(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield a function's closure variables and defaults by name, without those that it assigns to.

    Defaults of a module's function that are numbers or text are part of its source, and left out.
    """
    assigned = _assigned(function)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name not in assigned:
            try:
                yield name, cell.cell_contents
            except ValueError:  # not bound yet
                yield name, None
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    is_made_often = "<" in function.__qualname__  # a lambda, or a function in a function
    for name, value in (*zip(names, given, strict=True), *(function.__kwdefaults__ or {}).items()):
        if is_made_often or not _is_plain(value):
            yield name, value


def _assigned(function: Any) -> frozenset[str]:
    """Return the names of variables and attributes that a function assigns to."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if not isinstance(code, types.CodeType):
        return frozenset()
    stores = ("STORE_ATTR", "STORE_DEREF", "STORE_GLOBAL")
    return frozenset(step.argval for step in dis.get_instructions(code) if step.opname in stores)
