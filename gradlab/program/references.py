"""Whether anybody else holds an array, told by CPython's reference counts.

Two questions cannot be answered otherwise. A constant of ones that autograd made may be taken for
the number 1; the same array in a closure of the user's may not, as its owner may write into it. And
an array that was returned to a caller can be written into again only when the caller, and whoever
has a view of it, has let it go. Nothing but the reference count knows.

How many references belong to the counting itself depends on the version of Python. Each function
here measures it once, by a call with an array that nobody else holds.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def holders(box: list[Any]) -> int:
    """Take an array out of a box, and count who else holds it.

    Examples
    --------
    >>> array = np.zeros(2)
    >>> holders([array]), holders([np.zeros(2)]), holders([array[:1]])
    (1, 0, 0)
    """
    array = box.pop()
    return sys.getrefcount(array) - _OWN


_OWN = 0
_OWN = holders([np.zeros(1)])


def are_unheld(arrays: list[Any]) -> bool:
    """Tell whether nobody but a list holds its arrays, or a view of one.

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
    return max(map(sys.getrefcount, arrays), default=0) <= _HELD_BY_A_LIST


_HELD_BY_A_LIST = 0
_HELD_BY_A_LIST = max(map(sys.getrefcount, [np.zeros(1)]))
