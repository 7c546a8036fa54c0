"""The objects that a loss is bound to are identified by content, in every process."""

import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import gradlab
from gradlab import network
from gradlab.errors import OptionError
from gradlab.identity import described, digest

BIG = np.arange(5000.0)  # of which repr() shows six


def changed(i=2500):
    other = BIG.copy()
    other[i] += 1
    return other


class Model:
    def __init__(self, data):
        self.data, self.calls, self.guard = data, 0, threading.Lock()

    def loss(self, w, x, y):
        self.calls += 1
        assert self.data is not None
        return np.mean((w * x - y) ** 2)

    def __call__(self, w, x, y):
        return self.loss(w, x, y)


class Slotted:
    __slots__ = ("data",)

    def __init__(self, data):
        self.data = data


@dataclass(frozen=True)
class Settings:
    scale: object


def over(bound):
    def loss(w, x, y):
        assert bound is not None
        return np.mean((w * x - y) ** 2)

    return loss


def calls(inner):
    def loss(w, x, y):
        return inner(w, x, y)

    return loss


def of_default(bound):
    def loss(w, x, y, bound=bound):
        assert bound is not None
        return np.mean((w * x - y) ** 2)

    return loss


def plain(w, x, y, data=None):
    return np.mean((w * x - y) ** 2)


WAYS = {
    "partial": lambda data: partial(plain, data=data),
    "bound method": lambda data: Model(data).loss,
    "callable object": Model,
    "closure": over,
    "closure of a closure": lambda data: calls(over(data)),
    "default": of_default,
    "a method of an array": lambda data: over(data.sum),
    "in a list": lambda data: over([1, {"x": (data,)}]),
    "in slots": lambda data: over(Slotted(data)),
    "in a dataclass": lambda data: over(Settings(data)),
    "of objects": lambda data: over(np.array([data, None], dtype=object)),
}


@pytest.mark.parametrize("way", WAYS)
def test_different_content_identifies_a_different_loss(way):
    make = WAYS[way]
    assert described(make(BIG)) == described(make(BIG.copy()))
    assert described(make(BIG)) != described(make(changed()))
    assert described(make(BIG)) != described(make(BIG.astype(np.float32)))
    assert described(make(BIG)) != described(make(BIG.reshape(50, 100)))


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_another_content_is_refused(way, tmp_path):
    options = {"params": 1.0, "data": (np.ones(9), np.zeros(9)), "checkpoint": tmp_path / "c"}
    gradlab.fit(WAYS[way](BIG), epochs=1, **options)
    with pytest.raises(OptionError, match=r"another training .*loss was"):
        gradlab.fit(WAYS[way](changed()), epochs=1, resume=True, **options)
    gradlab.fit(WAYS[way](BIG.copy()), epochs=1, resume=True, **options)


def test_variables_that_a_function_assigns_to_are_ignored():
    def counting():
        count = 0

        def loss(w):
            nonlocal count
            count += 1
            return w**2

        return loss

    a, model = counting(), Model(BIG)
    before = described(a), described(model.loss), digest(model, frozenset({"calls"}))
    a(1.0)
    model.loss(1.0, 1.0, 1.0)
    assert before == (described(a), described(model.loss), digest(model, frozenset({"calls"})))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True), (1, 1.0), ("1", 1), ((1,), [1]), ([[1], 2], [[1, 2]]), ("ab", b"ab"),
        (0.0, -0.0), ({"a": 1}, {"a": 2}), ({"a": 1}, OrderedDict(a=1)), (None, "None"),
        (np.float32(1), np.float64(1)), (np.zeros((0, 2)), np.zeros((2, 0))),
        (abs, max), (np.ma.array([1], mask=[0]), np.ma.array([1], mask=[1])),
        (np.random.default_rng(1), np.random.default_rng(2)),
    ],
)  # fmt: skip
def test_different_objects_have_different_digests(one, other):
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_an_object_that_contains_itself_has_a_digest():
    a, b = [1], [1]
    a.append(a)
    b.append(b)
    assert digest(a) == digest(b)
    assert digest(a) != digest([1, [1]])


def test_arrays_of_other_libraries_are_identified_by_their_numbers():
    class Foreign:
        def __init__(self, numbers):
            self.numbers = numbers

        def __array__(self, dtype=None, copy=None):
            return self.numbers

    assert digest(Foreign(BIG)) == digest(BIG) != digest(Foreign(changed()))


def test_a_plain_function_is_identified_by_its_name():
    assert described(network.loss) == "loss"
    assert described(partial(network.loss, activation="relu")) == "loss(activation='relu')"
    assert described(gradlab.CentralDifference(step=1e-3)) == "central(step=0.001)"
    assert described(gradlab.CentralDifference(workers=2)) == "central"


@pytest.mark.parametrize(
    ("spelled", "usual"),
    [
        (gradlab.CentralDifference(evaluation=gradlab.Workers(2)), "central"),
        (gradlab.CentralDifference(evaluation=gradlab.Recorded()), "central"),
        (gradlab.CentralDifference(evaluation=gradlab.Recorded(threads=1)), "central"),
        (gradlab.CentralDifference(evaluation=gradlab.Loop()), "central(incremental=False)"),
        (gradlab.CentralDifference(incremental=False), "central(incremental=False)"),
        (gradlab.Richardson(evaluation=gradlab.Loop()), "richardson"),
        (gradlab.Richardson(evaluation=gradlab.Workers(2)), "richardson"),
    ],
)
def test_two_spellings_of_a_backend_are_equal(spelled, usual):
    assert described(spelled) == usual


def test_another_process_finds_the_same_digest():
    thing = "{'x': [np.arange(3.0), {'a', 'b', 'c', 'd'}], 'f': np.sum}"
    code = f"import numpy as np; from gradlab.identity import digest; print(digest({thing}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = {"x": [np.arange(3.0), {"a", "b", "c", "d"}], "f": np.sum}
    assert done.stdout.strip() == digest(here)
