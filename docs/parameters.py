"""A griffe extension that gives each parameter on the API pages its own default and type.

A docstring in NumPy's style may describe several parameters at once, ``low, high : float``. griffe
then gives the default and the annotation of the first parameter to all of them. This extension
takes both from the signature. It must run after griffe's extension for dataclasses, which creates
their signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from griffe import Class, DocstringSectionParameters, Extension, Function, Module


class OwnDefaults(Extension):
    """Takes the default and the annotation of each parameter from the signature."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Correct all docstrings of the package."""
        for described in _described(pkg):
            for section in described.docstring.parsed if described.docstring else ():
                if isinstance(section, DocstringSectionParameters):
                    _correct(section, _signature(described))


def _described(parent: Module | Class) -> Iterator[Class | Function]:
    for member in parent.members.values():
        if member.is_alias:
            continue
        if isinstance(member, Class | Function):
            yield member
        if isinstance(member, Module | Class):
            yield from _described(member)


def _signature(described: Class | Function) -> dict[str, tuple[Any, Any]]:
    """Return annotation and default of each parameter."""
    return {p.name: (p.annotation, p.default) for p in described.parameters}


def _correct(section: DocstringSectionParameters, signature: dict[str, tuple[Any, Any]]) -> None:
    first_annotations = {str(annotation) for annotation, _ in signature.values()}
    for parameter in section.value:
        if parameter.name in signature:
            annotation, default = signature[parameter.name]
            parameter.value = None if default is None else str(default)
            if str(parameter.annotation) in first_annotations:  # the docstring has no other type
                parameter.annotation = annotation
