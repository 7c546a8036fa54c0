"""Arguments as a loss sees them: read-only on every backend."""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import is_buffer
from gradlab.containers import rebuilt
from gradlab.errors import GradlabError, ReadOnlyError


def read_only(value: Any) -> Any:
    """Return an argument with read-only views in place of its arrays, at any depth.

    The search covers dicts, other mappings, lists, tuples, arrays of objects, dataclasses and
    `types.SimpleNamespace`. Objects of other types are returned unchanged.

    Examples
    --------
    >>> x = np.zeros(2)
    >>> view, label = read_only((x, "a"))
    >>> view.flags.writeable, x.flags.writeable, label
    (False, True, 'a')
    """
    kind = type(value)  # a traced array only pretends to be an ndarray
    if issubclass(kind, np.ndarray):
        return value if is_buffer(value) else _view(value)
    if issubclass(kind, Mapping):
        return rebuilt(value, [read_only(child) for child in value.values()])
    if issubclass(kind, (list, tuple)):
        return rebuilt(value, [read_only(child) for child in value])
    if dataclasses.is_dataclass(kind) or kind is types.SimpleNamespace:
        return _with_read_only_fields(value)
    return value


def _view(array: Any) -> Any:
    view = array.view()
    if array.dtype == object:
        view = array.copy()
        for place in np.ndindex(array.shape):
            view[place] = read_only(array[place])
    view.flags.writeable = False
    return view


def _with_read_only_fields(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    else:
        names = [*vars(value)]
    fields = {name: getattr(value, name) for name in names}
    changed = {name: read_only(field) for name, field in fields.items()}
    if all(changed[name] is field for name, field in fields.items()):
        return value
    result = copy.copy(value)
    for name, field in changed.items():
        object.__setattr__(result, name, field)  # of a frozen dataclass, too
    return result


def is_write(error: BaseException) -> bool:
    """Tell whether an error is NumPy's about a write into a read-only array."""
    is_ours = isinstance(error, GradlabError)
    return isinstance(error, ValueError) and not is_ours and "read-only" in str(error)


def write_refused(place: str) -> ReadOnlyError:
    """Return the error for a loss that writes into its arguments at the line `place`."""
    return ReadOnlyError(
        f"the loss writes into its parameters or arguments, which are read-only ({place}): "
        "write into a copy (x = x.copy())"
    )
