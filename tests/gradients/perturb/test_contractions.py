"""Products of arrays with lanes agree with `numpy.einsum`, whichever way is fastest."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

import numpy as np
import pytest

from gradlab.gradients.perturb.contraction import (
    LANE_LETTERS,
    align,
    contraction,
    flops,
    multiply,
)
from gradlab.gradients.perturb.operations import NoRule
from gradlab.program.ir import Node

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5}


@pytest.mark.parametrize("lanes", [(1, 6, 1), (2, 6, 1), (1, 6, 3), (2, 1, 3), (2, 6, 3)])
@pytest.mark.parametrize(
    ("of_a", "of_b", "out"),
    [
        ("a", "a", "a"), ("a", "ab", "b"), ("a", "a", ""), ("ab", "bc", "ac"), ("ab", "ab", "ab"),
        ("ab", "cb", "ca"), ("abc", "cd", "abd"), ("a", "b", "ab"), ("ab", "b", "a"),
        ("ba", "bc", "ca"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of_both", ["", "JMR", "JR", "M"])
def test_a_product_is_that_of_einsum(
    of_a: str, of_b: str, out: str, lanes: tuple[int, ...], of_both: str
) -> None:
    rng = np.random.default_rng(0)
    sizes = SIZES | dict(zip(LANE_LETTERS, lanes, strict=True))
    a = rng.normal(size=[sizes[k] for k in of_a + LANE_LETTERS])
    letters = of_b + (LANE_LETTERS if of_both else "")
    b = rng.normal(size=[sizes[k] if k in of_b + of_both else 1 for k in letters])
    full = np.broadcast_to(b, [sizes[k] for k in letters])
    expected = np.einsum(f"{of_a}JMR,{letters}->{out}JMR", a, full)
    found = multiply(a, of_a + LANE_LETTERS, b, letters, out + LANE_LETTERS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_axes_are_put_in_order() -> None:
    assert align(np.ones((2, 3)), "ba", "acb").shape == (3, 1, 2)


def product(*shapes: tuple[int, ...], spec: str | None = None, **keywords: Any) -> Node:
    operands = [Node(None, shape=shape) for shape in shapes]
    if spec is None:
        return Node(np.matmul, tuple(operands), keywords)
    return Node(np.einsum, (spec, *operands), keywords)


@pytest.mark.parametrize(
    ("shapes", "letters"),
    [
        (((3,), (3, 4)), ("a", "ab", "b")),
        (((3,), (3,)), ("a", "a", "")),
        (((2, 3), (3,)), ("ab", "b", "a")),
        (((5, 2, 3), (3, 4)), ("abc", "cd", "abd")),
    ],
)
def test_the_subscripts_of_a_product_are_those_of_einsum(shapes: Any, letters: Any) -> None:
    assert contraction(product(*shapes)) == letters
    sizes = dict(zip("".join(letters[:2]), [n for shape in shapes for n in shape], strict=True))
    assert flops(product(*shapes)) == np.prod(list(sizes.values())) / 8


def test_subscripts_of_einsum_are_written_in_small_letters() -> None:
    """Capital letters are for lanes; there are 26 of them."""
    assert contraction(product((2, 3), (3, 4), spec="iJ, Jk -> ik")) == ("ab", "bc", "ac")
    assert contraction(product((2,), (2,), spec="i,i->", optimize=True)) == ("a", "a", "")
    a, b = ascii_letters[:20], ascii_letters[20:26]
    assert contraction(product((1,) * 20, (1,) * 6, spec=f"{a},{b}->{a}"))[0] == a


@pytest.mark.parametrize(
    "node",
    [
        product((), (3,)),
        product((2, 3), (5, 3, 4)),
        product((2, 3), ()),
        product((2, 3), (3,), dtype=float),
        product((2, 3), (3, 4), spec="ij,jk"),
        product((2, 3), (3, 4), spec="...j,jk->...k"),
        product((2, 2), (2,), spec="ii,i->i"),
        product((2, 2), spec="ij->ji"),
        product((2, 3), (3,), (3,), spec="ij,j,j->i"),
        product((2, 3), (3,), spec="ij,j->i", dtype=float),
        product((1,) * 20, (1,) * 7, spec=f"{ascii_letters[:20]},{ascii_letters[20:27]}->a"),
        Node(np.kron, (Node(None, shape=(2,)), Node(None, shape=(2,)))),
    ],
)
def test_other_products_have_no_rule(node: Node) -> None:
    with pytest.raises(NoRule):
        contraction(node)
    assert flops(node) == 0.0
