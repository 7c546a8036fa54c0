"""Questions of a loss about what its values are, which traced arrays answer in another way.

``type(x) is np.ndarray`` is false for a traced array, ``str(x)`` shows no numbers, and an exception
may be raised for traced arrays alone. A loss that takes a branch by the answer computes something
else while it is traced. Some questions reach the traced array, which notes them (`note`): its text,
its hash, whether it is a number. Others do not, and are found in the code that the loss can reach
(`asked_in_code`). `gradlab.gradients.tracing` evaluates such a loss on plain arrays as well.
"""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import os
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from types import CodeType, FrameType
from typing import Any

import numpy as np

from gradlab.arrays.collecting import Collector
from gradlab.arrays.dispatch import is_traced
from gradlab.arrays.places import Place, all_code, describe_place, is_users


@dataclass(frozen=True)
class Question:
    """A question, and the line that asks it."""

    place: Place  # file and line
    instead: str  # what to write instead

    def __str__(self) -> str:
        return f"{describe_place(self.place)}; {self.instead}"


TYPE_ADVICE = "write isinstance(x, np.ndarray) or np.ndim(x)"
TEXT_ADVICE = "compute with the numbers instead of their text"
HASH_ADVICE = "use no value as a key of a dict or set"
EXCEPTION_ADVICE = "write a condition instead of catching an exception"

MAX_NOTED_QUESTIONS = 3
"""Questions that are noted in one evaluation; an error names no more lines."""

_noted = Collector[Question]()


def questions() -> AbstractContextManager[list[Question]]:
    """Collect the questions of a loss in this thread."""
    return _noted.collecting()


def note(instead: str, frame: FrameType) -> None:
    """Record a question, if the frame that asks it is the user's and does more than show a text."""
    noted, code = _noted.found, frame.f_code
    if noted is None or len(noted) >= MAX_NOTED_QUESTIONS or not may_ask(code.co_filename):
        return
    if instead is not TEXT_ADVICE or not _only_prints(frame):
        noted.append(Question((code.co_filename, frame.f_lineno), instead))


_PRINTING_CALLS = frozenset("print debug info warning error critical exception log write".split())
"""Functions and methods whose call, as a statement, shows a text and computes nothing."""


def _only_prints(frame: FrameType) -> bool:
    """Tell whether a frame stands in a statement that prints or logs."""
    line, end, column, end_column = next(
        islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
    )
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    return any(
        start <= (line or 0, column or 0) and (end or 0, end_column or 0) <= stop
        for start, stop in _printing_statements(source)
    )


@functools.lru_cache(maxsize=16)
def _printing_statements(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return start and end of the statements that print or log."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # the file was edited since
        return []
    found: list[Any] = []
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            name = getattr(called, "id", getattr(called, "attr", ""))
            to_file = any(keyword.arg == "file" for keyword in node.value.keywords)
            if name in _PRINTING_CALLS and not to_file:  # a file in memory may be read again
                found.append(((node.lineno, node.col_offset), _end(node)))
    return found


def _end(node: ast.stmt) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


# Questions in code

_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@functools.cache
def may_ask(file: str) -> bool:
    """Tell whether the questions in a file matter: those of the user's code, and not gradlab's."""
    return is_users(file) and not file.startswith(_PACKAGE_FOLDER)


_TYPE_TESTING_NAMES = frozenset(
    """
    type hasattr vars dir getsizeof getrefcount
    Hashable Iterable Iterator Sequence Sized Container Collection Buffer
    SupportsAbs SupportsComplex SupportsFloat SupportsIndex SupportsInt SupportsRound
    __len__ __iter__ __getitem__ __array_interface__ __array_struct__ __dlpack__
    """.split()
)
"""Names and constants in code by which a traced array can be told from a plain one."""

_HANDLER, _WITH = (dis.opmap[name] for name in ("PUSH_EXC_INFO", "WITH_EXCEPT_START"))

MAX_SEARCHED_OBJECTS = 2000
"""Largest number of objects that are searched, which takes about a millisecond."""


def asked_in_code(loss: Any, args: Iterable[Any] = ()) -> list[Question]:
    """Return questions in the code that a loss may run, at most `MAX_NOTED_QUESTIONS`.

    The functions, classes, modules and objects that its code names are followed, and so are the
    contents of containers and the attributes of objects.

    Examples
    --------
    >>> def loss(x):
    ...     return np.sum(x**2) if type(x) is np.ndarray else x**2
    >>> len(asked_in_code(loss)), len(asked_in_code(np.sum))
    (1, 0)
    """
    found: dict[Question, None] = {}
    queue, seen = deque([loss, *args]), set[int]()
    while queue and len(seen) < MAX_SEARCHED_OBJECTS and len(found) < MAX_NOTED_QUESTIONS:
        value = queue.popleft()
        if type(value) in _UNSEARCHED_TYPES or id(value) in seen or is_traced(value):
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType) and may_ask(value.__code__.co_filename):
            found.update(dict.fromkeys(_in_code(value.__code__)))
        queue.extend(_reached_from(value))
    return list(found)[:MAX_NOTED_QUESTIONS]


_UNSEARCHED_TYPES = {np.ndarray, str, bytes, int, float, complex, bool, type(None), CodeType}
_MAX_SEARCHED_ITEMS = 100
"""Largest number of items of a container that are searched."""


def _reached_from(value: Any) -> Iterator[Any]:
    """Yield the objects that a value leads to."""
    if isinstance(value, types.FunctionType):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        cells = [cell for cell in value.__closure__ or () if cell != types.CellType()]
        yield from (cell.cell_contents for cell in cells)
        if may_ask(value.__code__.co_filename):
            yield from _named(value.__code__, value.__globals__)
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, (property, functools.cached_property)):
        yield getattr(value, "fget", None) or getattr(value, "func", None)
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif isinstance(value, dict):
        yield from islice(value.values(), _MAX_SEARCHED_ITEMS)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from islice(value, _MAX_SEARCHED_ITEMS)
    elif isinstance(value, type):
        for base in value.__mro__:
            yield from list(vars(base).values()) if _is_of_user(base.__module__) else ()
    elif not isinstance(value, (types.ModuleType, np.ndarray, np.generic)):
        yield type(value)
        yield from list(_attributes(value).values())
    if isinstance(value, np.vectorize):
        yield value.pyfunc
    yield _attributes(value).get("__wrapped__")


def _attributes(value: Any) -> Mapping[str, Any]:
    """Return the attributes of an object, without a call of its own code."""
    try:
        found: Mapping[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:  # a class with slots
        return {}
    return found


def _is_of_user(module: str) -> bool:
    if module == "__main__" or module not in sys.modules:
        return True
    return may_ask(getattr(sys.modules[module], "__file__", None) or "<frozen")


def _named(code: CodeType, space: dict[str, Any]) -> Iterator[Any]:
    """Yield what code names: variables, and their attributes where these are modules."""
    for part in all_code(code):
        modules = [space[name] for name in part.co_names if name in space]
        for value in modules:
            if not isinstance(value, types.ModuleType):
                yield value
            elif _is_of_user(value.__name__):
                modules += [vars(value)[name] for name in part.co_names if name in vars(value)]


@functools.lru_cache(maxsize=4096)
def _in_code(code: CodeType) -> list[Question]:
    """Return the questions in a function and in the functions that it defines."""
    found = []
    for part in all_code(code):
        texts = [constant for constant in part.co_consts if type(constant) is str]
        named = _TYPE_TESTING_NAMES.intersection([*part.co_names, *texts])
        steps = part.co_code[::2]
        catches = steps.count(_HANDLER) > steps.count(_WITH)
        if not named and not catches:
            continue
        line = part.co_firstlineno
        for step in dis.get_instructions(part):
            line = (step.positions and step.positions.lineno) or line
            if type(step.argval) is str and step.argval in named:
                found.append(Question((part.co_filename, line), TYPE_ADVICE))
            elif step.opcode == _HANDLER and catches:
                found.append(Question((part.co_filename, line), EXCEPTION_ADVICE))
    return found
