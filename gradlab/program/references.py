"""Whether an array has other references, by CPython's reference counts.

Two decisions need the reference count. First, an array of ones that autograd made can be treated as
the number 1, but the same array in a user's closure cannot, because its owner may write into it.
Second, an array that was returned to a caller can be reused only after the caller has dropped it
and all views of it.

The counting itself holds a number of references that depends on the version of Python. Each
function measures this number once, on an array without other references.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def holders(box: list[Any]) -> int:
    """Take an array out of a box, and count its other references.

    Examples
    --------
    >>> array = np.zeros(2)
    >>> holders([array]), holders([np.zeros(2)]), holders([array[:1]])
    (1, 0, 0)
    """
    array = box.pop()
    return sys.getrefcount(array) - _OWN_HOLDERS


_OWN_HOLDERS = 0
_OWN_HOLDERS = holders([np.zeros(())])


def are_unheld(arrays: list[Any]) -> bool:
    """Tell whether the arrays of a list, and views of them, have no other references.

    Examples
    --------
    >>> arrays = [np.zeros(2), np.zeros(3)]
    >>> view = arrays[1][:1]
    >>> are_unheld(arrays)
    False
    >>> del view
    >>> are_unheld(arrays)
    True
    """
    return all(count <= _HELD_BY_A_LIST for count in map(sys.getrefcount, arrays))


(_HELD_BY_A_LIST,) = map(sys.getrefcount, [np.zeros(())])
