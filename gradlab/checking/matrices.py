"""A Jacobian as functions return it: outputs replaced by their derivatives by all parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlab.errors import ParameterError
from gradlab.layout import Layout
from gradlab.params import Array, flatten

Numbers = Callable[[Any, str], Array]
"""``numbers(value, path)`` returns a leaf as an array, or raises."""


def matrix_blocks(
    kind: str, found: Any, outputs: Layout, inputs: Layout, numbers: Numbers
) -> list[list[Array]]:
    """Return the blocks of a Jacobian as matrices: ``blocks[output leaf][parameter leaf]``.

    Raise a ParameterError if a block is missing, or its shape is not the output's followed by the
    parameter's.
    """
    if not isinstance(found, (dict, list, tuple)):
        flat = numbers(found, kind)
        if flat.shape == (outputs.size, inputs.size):
            return [[flat[rows, columns] for columns in inputs.spans] for rows in outputs.spans]
    nodes: list[Any] = []
    _descend(kind, outputs.structure.template, found, "", nodes)
    places = zip(nodes, outputs.names, outputs.shapes, strict=True)
    return [_row(kind, node, name, shape, inputs, numbers) for node, name, shape in places]


def joined(blocks: Sequence[Sequence[Array]]) -> Array:
    """Return blocks as one matrix of floats."""
    rows = [np.concatenate(row, axis=1) for row in blocks if len(row)]
    matrix = np.concatenate(rows) if rows else np.empty((0, 0))
    return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)


def _descend(kind: str, template: Any, node: Any, place: str, nodes: list[Any]) -> None:
    """Collect the nodes at the places of the outputs."""
    if not isinstance(template, (dict, list, tuple)):
        nodes.append(node)
        return
    if named := isinstance(template, dict):
        fits = isinstance(node, dict) and set(node) == set(template)
        expected = f"a dict with the outputs {', '.join(map(str, template))}"
    else:
        fits = isinstance(node, (list, tuple)) and len(node) == len(template)
        expected = f"one item for each of {len(template)} outputs"
    if not fits:
        raise ParameterError(f"the {kind} has {_described(node)}{place}; expected {expected}")
    for key in template if named else range(len(template)):
        below = f"{place} at {repr(key) if named else f'[{key}]'}"
        _descend(kind, template[key], node[key], below, nodes)


def _described(node: Any) -> str:
    if isinstance(node, dict):
        return f"a dict with {', '.join(map(str, node))}"
    if isinstance(node, (list, tuple)):
        return f"{len(node)} items"
    return f"an array of shape {np.shape(node)}"


def _row(
    kind: str, node: Any, name: str, shape: tuple[int, ...], inputs: Layout, numbers: Numbers
) -> list[Array]:
    """Return one output's derivative by each leaf of the parameters, as matrices."""
    given, structure = flatten(node, numbers)
    found = dict(zip(structure.paths, given, strict=True))
    blocks = []
    for path, own in zip(inputs.structure.paths, inputs.shapes, strict=True):
        if path not in found:
            raise ParameterError(f"the {kind} of {name} lacks {path}")
        if found[path].shape != shape + own:
            raise ParameterError(
                f"the {kind} of {name} by {path} has shape {found[path].shape}; expected "
                f"{shape + own}, the output's shape first"
            )
        blocks.append(found[path].reshape(int(np.prod(shape)), int(np.prod(own))))
    return blocks
