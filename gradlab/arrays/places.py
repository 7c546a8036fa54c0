"""Where in the user's code something happened."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from types import CodeType, FrameType, TracebackType
from typing import TypeAlias

_THIS_FOLDER = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = ("numpy", "autograd", "array_api_compat", "jax", "jaxlib", "torch", "scipy")


def _folder_of(library: str) -> str | None:
    try:
        spec = find_spec(library)
    except (ImportError, ValueError):  # a library removed from sys.modules
        return None
    return os.path.dirname(spec.origin) + os.sep if spec and spec.origin else None


_NOT_THE_USERS = (
    _THIS_FOLDER + os.sep,
    os.path.join(os.path.dirname(_THIS_FOLDER), "gradients") + os.sep,
    os.path.join(os.path.dirname(_THIS_FOLDER), "program") + os.sep,
    "<frozen",
    "<__array_function__",
    *filter(None, map(_folder_of, _LIBRARIES)),
)


_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
"""Folder of Python's own library; installed packages may lie below it."""

Place: TypeAlias = tuple[str, int]
"""A file and a line."""


@cache
def is_users(file: str) -> bool:
    """Tell whether a file is the user's code."""
    is_pythons = file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file
    return not is_pythons and not file.startswith(_NOT_THE_USERS)


_ARRAY_PACKAGE_FOLDERS = tuple(filter(None, map(_folder_of, ("numpy", "scipy"))))


@cache
def is_librarys(file: str) -> bool:
    """Tell whether a file is NumPy's or SciPy's."""
    return file.startswith(_ARRAY_PACKAGE_FOLDERS)


def all_code(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function or file, then that of the functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_code(constant)


def place_of(origin: FrameType | TracebackType | None = None) -> str:
    """Return the innermost line that is the user's own, as ``'file.py, line 3: y = float(x)'``.

    It is searched in the stack of the caller, or in a traceback. Lines of NumPy, of the libraries
    that differentiate, and of gradlab are passed over. ``'the loss'`` if no line is the user's.

    Examples
    --------
    >>> ", line 1" in place_of()
    True
    """
    return describe_place(innermost(sys._getframe(1) if origin is None else origin)) or "the loss"


def innermost(origin: FrameType | TracebackType | None) -> Place | None:
    """Return the innermost line that is the user's own, from a frame outwards or in a traceback."""
    lines = _in_traceback(origin) if isinstance(origin, TracebackType) else _in_frames(origin)
    return next((line for line in lines if is_users(line[0])), None)


def describe_place(place: Place | None) -> str:
    """Format a place as file, line and source text; return "" for no place."""
    if place is None:
        return ""
    file, line = place
    text = linecache.getline(file, line).strip()
    return f"{file}, line {line}" + (f": {text}" if text else "")


_ENTRY_FUNCTIONS = ("run_traced", "pull_back")
"""Functions of gradlab that call the loss, or the derivative of a line of it."""


def _in_frames(frame: FrameType | None) -> Iterator[Place]:
    """Yield the lines from a frame outwards, as far as the loss."""
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_code.co_name in _ENTRY_FUNCTIONS and not is_users(file):
            return
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def _in_traceback(traceback: TracebackType) -> Iterator[Place]:
    places = [(step.tb_frame.f_code.co_filename, step.tb_lineno) for step in steps_of(traceback)]
    return reversed(places)


def steps_of(traceback: TracebackType | None) -> Iterator[TracebackType]:
    """Yield the steps of a traceback, from the outermost inwards."""
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
