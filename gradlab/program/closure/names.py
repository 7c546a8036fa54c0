"""The names that a function's code loads, including those of nested functions."""

from __future__ import annotations

import dis
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

from gradlab.arrays.places import all_code

REFLECTIVE = frozenset({"__dict__", "__getattribute__", "format", "format_map"})
"""Attributes through which code reads other attributes without naming them."""

ALL_ATTRIBUTES = "*"
"""The name that stands for all attributes."""


@dataclass(frozen=True)
class Names:
    """The names that a function and its nested functions, lambdas and comprehensions may read."""

    variables: tuple[str, ...]  # globals and builtins
    # Attributes of any object; also pairs of a name and its attribute, such as ``"np.tanh"``; and
    # `ALL_ATTRIBUTES`, if the code reads attributes that it does not name.
    attributes: frozenset[str]
    imports: tuple[str, ...]  # modules that are imported when the function runs


@lru_cache(maxsize=4096)
def names_of(code: CodeType) -> Names:
    """Return the names that a function's code loads.

    Examples
    --------
    >>> def loss(w):
    ...     return sum(np.exp(scale * x) for x in w.parts)
    >>> names = names_of(loss.__code__)
    >>> sorted(names.variables), sorted(names.attributes)
    (['np', 'scale', 'sum'], ['exp', 'np.exp', 'parts', 'w.parts'])
    """
    variables: set[str] = set()
    attributes: set[str] = set()
    imports: set[str] = set()
    for part in all_code(code):
        before = None  # the name on top of the stack
        for step in dis.get_instructions(part):
            name = step.argval
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                variables.add(name)
            elif step.opname == "IMPORT_NAME":
                imports.add(name)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
                attributes |= {name, f"{before}.{name}"}
            elif step.opname == "MATCH_CLASS":
                attributes.add(ALL_ATTRIBUTES)
            elif not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
                # All other names, such as an attribute of a super class.
                attributes |= {name} & {*part.co_names}
                name = None
            before = str(name).rpartition(".")[2]
    if attributes & REFLECTIVE:
        attributes.add(ALL_ATTRIBUTES)
    return Names(tuple(sorted(variables)), frozenset(attributes), tuple(sorted(imports)))
