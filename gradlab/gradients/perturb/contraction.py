"""Products as subscripts of `numpy.einsum`, with the three axes of the lanes as J, M and R."""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np

from gradlab.gradients.perturb.operations import NoRule
from gradlab.gradients.perturb.scratch import into
from gradlab.params import Array
from gradlab.program.ir import Node
from gradlab.program.pieces import shape_of
from gradlab.program.primitives import DOT, EINSUMS

LANE_LETTERS = "JMR"
"""The letters of the lane axes; the axes of values have lowercase letters."""


def contraction(node: Node) -> tuple[str, str, str]:
    """Return the subscripts of a product for `numpy.einsum`: those of a, b, and the result.

    Examples
    --------
    >>> a, b = (Node(None, shape=shape) for shape in ((5, 2, 3), (3, 4)))
    >>> contraction(Node(np.matmul, (a, b)))
    ('abc', 'cd', 'abd')
    """
    if node.primitive in EINSUMS:
        return _of_einsum(node)
    if node.primitive not in (np.matmul, DOT) or node.keywords:
        raise NoRule(f"{node.primitive}")
    ndims = [len(shape_of(operand)) for operand in node.operands]
    if not (ndims[0] >= 1 and 1 <= ndims[1] <= 2):
        raise NoRule("a product of another kind")
    a = ascii_lowercase[: ndims[0]]
    b = a[-1] + ascii_lowercase[ndims[0] : ndims[0] + ndims[1] - 1]
    return a, b, a[:-1] + b[1:]


def _of_einsum(node: Node) -> tuple[str, str, str]:
    spec, *operands = node.operands
    if not isinstance(spec, str) or len(operands) != 2 or set(node.keywords) - {"optimize"}:
        raise NoRule("a product of another kind")
    inputs, arrow, out = spec.replace(" ", "").partition("->")
    a, comma, b = inputs.partition(",")
    if not arrow or not comma or not (a + b).isalpha() or len({*a, *b}) > len(ascii_lowercase):
        raise NoRule("implied subscripts")
    if any(len(set(letters)) < len(letters) for letters in (a, b, out)):
        raise NoRule("a diagonal")
    small = str.maketrans(dict(zip(dict.fromkeys(a + b), ascii_lowercase, strict=False)))
    return a.translate(small), b.translate(small), out.translate(small)


def multiply(a: Array, of_a: str, b: Array, of_b: str, out: str) -> Array:
    """Contract two arrays, given the letters of their axes and of the result's.

    Lanes come last: a has them, and b may have.

    Examples
    --------
    >>> multiply(np.ones((3, 1, 2, 1)), "aJMR", np.ones((3, 4)), "ab", "bJMR").shape
    (4, 1, 2, 1)
    """
    if set(of_a) | set(of_b) == set(out):  # nothing is summed
        return np.asarray(into(np.multiply, align(a, of_a, out), align(b, of_b, out)))
    k, c = of_a[0], out.removesuffix(LANE_LETTERS)
    if of_a == k + LANE_LETTERS and of_b == k + c and len(c) <= 1:
        # (c, k) @ (k, J M R): the lanes stay last, which saves a transposition.
        return np.asarray(np.matmul(b.T, a.reshape(len(a), -1)).reshape(b.shape[1:] + a.shape[1:]))
    return np.asarray(np.einsum(f"{of_a},{of_b}->{out}", a, b, optimize=True))


def align(array: Array, letters: str, out: str) -> Array:
    """Transpose and expand an array to broadcast against one with other letters.

    Examples
    --------
    >>> align(np.ones((2, 3)), "ca", "abc").shape
    (3, 1, 2)
    """
    array = array.transpose([letters.index(k) for k in out if k in letters])
    return array[tuple(slice(None) if k in letters else None for k in out)]


def flops(node: Node) -> float:
    """Return the approximate cost of a product, in entries of an elementwise operation."""
    try:
        letters = contraction(node)
    except NoRule:
        return 0.0
    sizes: dict[str, int] = {}
    for operand, of in zip(node.operands[-2:], letters, strict=False):
        sizes.update(zip(of, shape_of(operand), strict=True))
    return float(np.prod(list(sizes.values()), dtype=float)) / 8
