"""A stack machine for pickles that calls nothing.

It has only the opcodes that arrays in dicts, lists and tuples need. Where the program requests a
call, the machine records it.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

MAX_OPCODES = 2**21
"""Largest number of opcodes in a pickle. One may allocate an object of about 200 bytes. An array
takes twenty opcodes, a list two per number."""

MAX_KEY_CHARACTERS = 255
"""Largest length of a key in characters."""


class PickleError(ValueError):
    """A pickle that holds something other than arrays, or too much; the message says what."""


def run(data: bytes) -> Any:
    """Return the value of a pickle: dicts, lists, tuples, text, bytes, numbers, requested calls.

    Raise a PickleError if it names a function that arrays do not need, or exceeds a limit. A
    damaged one may raise any exception.
    """
    return _Machine().run(data)


ALLOWED_FUNCTIONS = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    # NumPy 2 moved numpy.core; pickles have the old or the new name.
    "numpy.core.multiarray._reconstruct": "_reconstruct",
    "numpy._core.multiarray._reconstruct": "_reconstruct",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "_frombuffer",
    "numpy._core.numeric._frombuffer": "_frombuffer",
    # Protocols 0 to 2 have no bytes: they are text to encode, or a call of bytes() for none.
    "_codecs.encode": "encode",
    "__builtin__.bytes": "bytes",
    "collections.OrderedDict": "OrderedDict",
}
"""Functions that a pickle of arrays may name, with our names for them."""


class GlobalName:
    """A function that a pickle names."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class RequestedCall:
    """A call that a pickle requests, and the state that it then sets."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name = name
        self.args = args
        self.state: Any = ()


def _name(dotted: str) -> GlobalName:
    if dotted not in ALLOWED_FUNCTIONS:
        raise PickleError(
            f"refused, as it names {dotted[:100]}; a pickle of arrays names only NumPy, and "
            f"others can run any code"
        )
    return GlobalName(ALLOWED_FUNCTIONS[dotted])


def _opcodes(data: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the opcodes by name, each with its argument, up to the end of the program."""
    file = io.BytesIO(data)
    for _ in range(MAX_OPCODES):
        code = file.read(1)
        opcode = _INFO.get(code)
        if opcode is None:
            raise ValueError("it has no end" if not code else f"no opcode is {code!r}")
        if opcode.name == "STRING":
            # The reader in pickletools accepts only ASCII; Python 2 put any bytes here.
            text = codecs.escape_decode(file.readline().strip()[1:-1])[0]
            yield opcode.name, text.decode("latin1")
        else:
            yield opcode.name, opcode.arg and opcode.arg.reader(file)
        if opcode.name == "STOP":
            return
    raise PickleError(f"it has more than the {MAX_OPCODES} opcodes that are read")


_INFO = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}


class _Machine:
    """The stack and the memo of a pickle; a method for each opcode that is in no table."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for name, argument in _opcodes(data):
            if name in _LITERALS:
                self._stack.append(argument)
            elif name in _VALUES:
                self._stack.append(_VALUES[name]())
            elif name in _TUPLES:
                self._stack.append(tuple(reversed([self._pop() for _ in range(_TUPLES[name])])))
            elif step := getattr(self, f"on_{name.lower()}", None):
                step(argument)
            elif name not in ("FRAME", "STOP"):
                raise PickleError(
                    f"refused, as it has the opcode {name}, which a pickle of arrays does not need"
                )
        return self._pop()

    def _pop(self) -> Any:
        if len(self._stack) == (self._marks[-1] if self._marks else 0):
            raise ValueError("it takes a value from an empty stack")
        return self._stack.pop()

    def _top(self) -> Any:
        self._stack.append(top := self._pop())
        return top

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def on_proto(self, number: int) -> None:
        if number > 5:
            raise ValueError(f"it has protocol {number}; 5 is the last known one")

    def on_mark(self, _: None) -> None:
        self._marks.append(len(self._stack))

    def on_pop(self, _: None) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def on_pop_mark(self, _: None) -> None:
        self._pop_to_mark()

    def on_dup(self, _: None) -> None:
        self._stack.append(self._top())

    def on_put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._top()

    on_binput = on_long_binput = on_memoize = on_put

    def on_get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    on_binget = on_long_binget = on_get

    def on_tuple(self, _: None) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def on_list(self, _: None) -> None:
        self._stack.append(self._pop_to_mark())

    def on_append(self, _: None) -> None:
        self._extend([self._pop()])

    def on_appends(self, _: None) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(into := self._top()) is not list:
            raise ValueError(f"it appends to a {type(into).__name__}")
        into.extend(items)

    def on_dict(self, _: None) -> None:
        items = self._pop_to_mark()
        self._stack.append({})
        self._update(items)

    def on_setitem(self, _: None) -> None:
        value = self._pop()
        self._update([self._pop(), value])

    def on_setitems(self, _: None) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        if type(into := self._top()) is not dict:
            raise ValueError(f"it sets an item of a {type(into).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str or len(key) > MAX_KEY_CHARACTERS:
                shown = repr(key) if type(key) is int and abs(key) < 2**63 else f"a {_kind(key)}"
                raise PickleError(f"{shown} cannot name an array; use a string")
            into[key] = value

    def on_global(self, named: str) -> None:
        self._stack.append(_name(named.replace(" ", ".", 1)))

    def on_stack_global(self, _: None) -> None:
        name, module = self._pop(), self._pop()
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name is not text")
        self._stack.append(_name(f"{module}.{name}"))

    def on_inst(self, named: str) -> None:
        _name(named.replace(" ", ".", 1))
        raise ValueError(f"it makes an instance of {named}")

    def on_reduce(self, _: None) -> None:
        args, function = self._pop(), self._pop()
        if type(function) is not GlobalName or type(args) is not tuple:
            raise ValueError("it calls a value that is not a function, or without arguments")
        if function.name != "OrderedDict":
            self._stack.append(RequestedCall(function.name, args))
            return
        self._stack.append({})
        for pair in args[0] if args else ():  # Python 2 passes its pairs to the call
            self._update(list(pair))

    def on_build(self, _: None) -> None:
        state, target = self._pop(), self._top()
        if type(target) is not RequestedCall:
            raise ValueError(f"it changes {getattr(target, 'name', type(target).__name__)}")
        target.state = state


def _kind(key: Any) -> str:
    return f"text of {len(key)} characters" if type(key) is str else type(key).__name__


_LITERALS = set(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    """.split()
)
_VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
