"""Keys of calls: what an argument adds to a key, and when two keys are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.program.cache_key import Surroundings, key_of_argument


class Numbers(list[Any]):
    """A list with attributes."""


def test_an_argument_adds_what_may_change_inside_it() -> None:
    """A user's container adds its class and attributes, a method its function and object."""
    listed, others = Numbers([1.0]), list[Any]()
    key_of_argument(listed, [], others)
    assert others == [Numbers]
    listed.scale = 2.0  # type: ignore[attr-defined]
    others.clear()
    key_of_argument([listed], [], others)
    assert others == [Numbers, {"scale": 2.0}]
    others.clear()
    key_of_argument({"f": listed.append}, [], others)  # built in, and so the object of a call
    assert len(others) == 1
    others.clear()

    class Layer:
        def forward(self) -> None: ...

    layer = Layer()
    key_of_argument(layer.forward, [], others)
    assert others == [Layer.forward, layer]


def test_keys_are_equal_again_after_a_change_and_back() -> None:
    options = {"scale": 2.0}
    surroundings = Surroundings(lambda w: options["scale"] * w)
    before = surroundings.key()
    options["scale"] = 3.0
    changed = surroundings.key()
    options["scale"] = 2.0
    after = surroundings.key()
    assert after is not before
    assert after == before != changed
    assert after.difference(before) == ""
    assert "scale" in before.difference(changed)
    assert hash(after) == hash(before)
    assert before != "a key"


@pytest.mark.parametrize("content", [np.array([1.0, 2.0]), np.array(["a", "b"])])
def test_the_contents_of_what_a_loss_reads_count(content: Any) -> None:
    """Earlier contents are recognised when they return."""
    surroundings = Surroundings(lambda w: w * len(content), contents=True)
    before = surroundings.key()
    assert surroundings.key() is before
    first = content[0]
    content[0] = content[1]
    changed = surroundings.key()
    assert changed != before
    assert before.difference(changed)
    content[0] = first
    assert surroundings.key() == before


def test_a_key_tells_whether_contents_can_change() -> None:
    array = np.zeros(3)
    assert Surroundings(lambda w: w * array).key().has_arrays
    assert not Surroundings(lambda w: w * 2).key().has_arrays
