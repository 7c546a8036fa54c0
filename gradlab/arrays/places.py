"""Where in the user's code something happened."""

from __future__ import annotations

import linecache
import os
import sys
from importlib.util import find_spec
from types import FrameType, TracebackType

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = ("numpy", "autograd", "array_api_compat", "jax", "jaxlib", "torch", "scipy")


def _folder_of(library: str) -> str | None:
    spec = find_spec(library)
    return os.path.dirname(spec.origin) + os.sep if spec and spec.origin else None


_NOT_THE_USERS = (
    _HERE + os.sep,
    os.path.join(os.path.dirname(_HERE), "gradients") + os.sep,
    "<frozen",
    "<__array_function__",
    *filter(None, map(_folder_of, _LIBRARIES)),
)


def place_of(origin: FrameType | TracebackType | None = None) -> str:
    """Return file, line number and text of the innermost line that is the user's own.

    Parameters
    ----------
    origin : frame or traceback, optional
        Where to look; by default the stack of the caller. Lines of NumPy, of the libraries that
        differentiate, and of gradlab's own backends are passed over.

    Returns
    -------
    str
        ``'file.py, line 3: y = float(x)'``; ``'the loss'`` where no line is the user's.

    Examples
    --------
    >>> place_of(None).split(", ")[-1].startswith("line 1")
    True
    """
    for file, line in _lines(sys._getframe(1) if origin is None else origin):
        if not file.startswith(_NOT_THE_USERS):
            text = linecache.getline(file, line).strip()
            return f"{file}, line {line}" + (f": {text}" if text else "")
    return "the loss"


def _lines(origin: FrameType | TracebackType) -> list[tuple[str, int]]:
    """Return file and line of each frame, the innermost first."""
    found: list[tuple[str, int]] = []
    if isinstance(origin, TracebackType):
        step: TracebackType | None = origin
        while step is not None:
            found.insert(0, (step.tb_frame.f_code.co_filename, step.tb_lineno))
            step = step.tb_next
        return found
    frame: FrameType | None = origin
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return found
