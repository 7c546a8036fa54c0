"""A loss named by text: ``module:function``, or ``path/to/file.py:function``.

Other names in the module give the parameters, the arguments and the gradient of the check::

    def loss(w, x, y): ...              # any name

    params = np.zeros(3)                # or a function params() that returns them
    args = (x, y)                       # or a function; optional
    def gradient(w, x, y): ...          # or its values; optional

Every failure is due to a name or to the user's code; the error names the place in one line.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gradlab import files
from gradlab.errors import GradlabError, OptionError, unknown

MAX_SOURCE_BYTES = 2**24
"""Largest size of a source file, in bytes: 16 MiB, far above any file written by hand."""


@dataclass(frozen=True)
class Target:
    """A loss, and the parameters, arguments and gradient from its module."""

    name: str  # the text that names it
    loss: Callable[..., Any]  # ``loss(params, *args)``
    params: Any  # the point of the check
    args: tuple[Any, ...]  # the other arguments of the loss
    gradient: Any  # a function or values; None if the module has none


def load(
    name: str, *, params: str = "params", args: str | None = None, gradient: str | None = None
) -> Target:
    """Find a loss, its parameters, arguments and gradient in a module, by their names in it.

    Modules are also searched in the current folder. By default, `args` and `gradient` are used if
    the module has them. Raise an OptionError if a name is missing, an object has the wrong type, or
    the user's code raises an error.
    """
    place, colon, function = name.rpartition(":")
    if not (place and colon and function):
        raise OptionError(
            f"{name!r} does not name a loss: give module:function or file.py:function"
        )
    module = _import(place)
    loss = _find(module, place, function, "function")
    if not callable(loss):
        raise OptionError(f"{name} is {type(loss).__name__}, not a function")
    if not hasattr(module, params):
        hint = "define an attribute or a function of that name, or name another by --params"
        raise OptionError(f"{place} has no {params!r} to check {function} at: {hint}")
    wanted = args or "args"
    given = _called(module, place, wanted) if args or hasattr(module, "args") else ()
    if not isinstance(given, tuple | list):
        raise OptionError(
            f"{place}: {wanted} is {type(given).__name__}; give a tuple of {function}'s arguments"
        )
    claimed = gradient or "gradient"
    return Target(
        name,
        loss,
        _called(module, place, params),
        tuple(given),
        _find(module, place, claimed, "gradient") if gradient or hasattr(module, claimed) else None,
    )


@contextmanager
def one_line_error(name: str) -> Iterator[None]:
    """Turn an exception of the user's code into one line that names it and the place.

    Raise an OptionError for every exception except gradlab's own errors.

    Examples
    --------
    >>> with one_line_error("loss"):
    ...     [][0]
    Traceback (most recent call last):
    gradlab.errors.OptionError: loss: IndexError: list index out of range (<doctest ..., line 2)
    """
    try:
        yield
    except GradlabError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        # The last line of the user's code; the error itself may be deep in another library.
        places = [(f.filename, f.lineno) for f in frames if not _is_foreign(f.filename)]
        text = " ".join(str(error).split())
        if isinstance(error, SyntaxError):
            places, text = [(error.filename or "", error.lineno)], error.msg
        remarks = [f"{Path(file).name}, line {line}" for file, line in places[-1:]]
        remarks += getattr(error, "__notes__", ())
        what = type(error).__name__ + (f": {text}" if text else "")
        where = f" ({'; '.join(remarks)})" if remarks else ""
        raise OptionError(f"{name}: {what}{where}") from error


def _is_foreign(filename: str) -> bool:
    path = Path(filename)
    return (
        "site-packages" in path.parts
        or filename.startswith("<frozen")
        or path.is_relative_to(Path(__file__).parent)
    )


def _import(place: str) -> ModuleType:
    path = Path(place)
    is_file = path.suffix == ".py"
    source = (
        files.read(path, MAX_SOURCE_BYTES, files.refusing(place, OptionError)) if is_file else b""
    )
    folder = str((path.parent if is_file else Path()).resolve())
    with _first_on_path(folder), one_line_error(place):
        if not is_file:
            try:
                return importlib.import_module(place)
            except ModuleNotFoundError as error:
                if error.name and (place == error.name or place.startswith(f"{error.name}.")):
                    file = Path(f"{place}.py")
                    hint = f"; for the file, give {file}:function" if file.exists() else ""
                    raise OptionError(f"{place}: there is no such module{hint}") from None
                raise
        # A unique name: the file may have the name of an imported module.
        spec = importlib.util.spec_from_file_location(f"_gradlab_target_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise OptionError(f"{place}: is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        # Run the content that was checked; the loader would open the file again.
        exec(compile(source, spec.origin or place, "exec"), vars(module))
        return module


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _find(module: ModuleType, place: str, name: str, kind: str) -> Any:
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise OptionError(f"{place}: {unknown(kind, name, own) if own else f'has no {name!r}'}")
    return getattr(module, name)


def _called(module: ModuleType, place: str, name: str) -> Any:
    """Return the value of a name in the module, or the result of its function of that name."""
    found = _find(module, place, name, "name")
    if not callable(found):
        return found
    with one_line_error(f"{place}: {name}()"):
        return found()
