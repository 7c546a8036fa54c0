"""Products of arrays with lanes, by whichever way is fastest: each is that of `numpy.einsum`."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.gradients.perturb.contraction import LANES, align, drop_unit_lanes, multiply

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
    sizes = SIZES | dict(zip(LANES, lanes, strict=True))
    a = rng.normal(size=[sizes[k] for k in of_a + LANES])
    letters = of_b + (LANES if of_both else "")
    b = rng.normal(size=[sizes[k] if k in of_b + of_both else 1 for k in letters])
    full = np.broadcast_to(b, [sizes[k] for k in letters])
    expected = np.einsum(f"{of_a}JMR,{letters}->{out}JMR", a, full)
    found = multiply(a, of_a + LANES, b, letters, out + LANES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_lanes_of_length_one_are_left_out_and_axes_put_in_order() -> None:
    array, letters = drop_unit_lanes(np.ones((1, 2, 6, 1)), "aJMR")
    assert (array.shape, letters) == ((1, 2, 6), "aJM")
    assert align(np.ones((2, 3)), "ba", "acb").shape == (3, 1, 2)
