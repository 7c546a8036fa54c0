"""Structures of arrays: flattening and rebuilding them, and the names of their leaves."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optional import EXACT, each_backend

import gradlab
from gradlab import params
from gradlab.errors import GradlabError, NonFiniteError, ParameterError
from gradlab.params import (
    BARE,
    as_array,
    entry,
    first,
    flatten,
    floating,
    leaves_like,
    map_leaves,
    named_leaves,
    size,
)
from gradlab.testing import parameters

Layer = namedtuple("Layer", "W b")

NESTED = {
    "encoder": {"W1": np.ones((2, 3)), "b1": np.zeros(3)},
    "layers": [Layer(np.eye(2), np.zeros(2)), (np.array(1.5), 2)],
    "learning rate": 0.5,
    0: np.arange(3),
}
PATHS = (
    "encoder.W1",
    "encoder.b1",
    "layers[0][0]",
    "layers[0][1]",
    "layers[1][0]",
    "layers[1][1]",
    "['learning rate']",
    "[0]",
)


def same(a: Any, b: Any) -> bool:
    """Require the same containers, keys, dtypes and bits."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


# Flatten and unflatten


@given(parameters())
def test_round_trip(params: Any) -> None:
    leaves, structure = flatten(params)
    assert same(params, structure.unflatten(leaves))
    assert len(leaves) == len(structure.paths) == len(set(structure.paths))


@given(parameters())
def test_structure_is_fixed_by_a_round_trip(params: Any) -> None:
    leaves, structure = flatten(params)
    again, structure_again = flatten(structure.unflatten(leaves))
    assert structure_again == structure
    assert all(same(a, b) for a, b in zip(leaves, again, strict=True))


@given(parameters())
def test_arrays_are_neither_copied_nor_written(params: Any) -> None:
    originals, _ = flatten(params, lambda leaf, path: leaf)
    before = [np.asarray(leaf).tobytes() for leaf in originals]
    leaves, structure = flatten(params)
    for original, leaf in zip(originals, leaves, strict=True):
        assert leaf is original or not isinstance(original, np.ndarray)
    structure.unflatten([leaf + 1 for leaf in leaves])
    assert [np.asarray(leaf).tobytes() for leaf in originals] == before


def test_paths() -> None:
    leaves, structure = flatten(NESTED)
    assert structure.paths == PATHS
    assert [leaf.shape for leaf in leaves] == [(2, 3), (3,), (2, 2), (2,), (), (), (), (3,)]
    assert structure.scalars == {5, 6}


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        (np.ones(2), (BARE,)),
        (3.0, (BARE,)),
        ([], ()),
        ({}, ()),
        ([[np.ones(1)], ()], ("[0][0]",)),
        ({"a": {"b": {"c": 1}}}, ("a.b.c",)),
        ({"a-b": 1, "1a": 2, (1, 2): 3}, ("['a-b']", "['1a']", "[(1, 2)]")),
        ({"가중치": np.ones(1)}, ("가중치",)),
    ],
)
def test_paths_of_small_structures(params: Any, paths: tuple[str, ...]) -> None:
    assert flatten(params)[1].paths == paths


def test_containers_are_restored() -> None:
    leaves, structure = flatten(NESTED)
    again = structure.unflatten(leaves)
    assert isinstance(again["layers"][0], Layer)
    assert type(again["layers"][1]) is tuple
    assert list(again) == list(NESTED)
    assert isinstance(flatten(OrderedDict(b=1.0, a=2.0))[1].unflatten([1, 2]), dict)
    assert flatten(OrderedDict(b=1.0, a=2.0))[1].paths == ("b", "a")


def test_numbers_are_restored_as_numbers() -> None:
    leaves, structure = flatten({"a": 1.5, "b": np.float32(2), "c": np.array(3.0)})
    doubled = structure.unflatten([2 * np.asarray(leaf) for leaf in leaves])
    again = structure.unflatten([np.asarray(leaf) for leaf in leaves])
    assert type(again["a"]) is np.float64
    assert type(again["b"]) is np.float32
    assert type(again["c"]) is np.ndarray
    assert doubled == {"a": 3.0, "b": 4.0, "c": 6.0}


def test_leaves_may_be_anything() -> None:
    _, structure = flatten({"w": np.ones(2), "b": [1.0]})
    assert structure.unflatten(["one", None]) == {"w": "one", "b": [None]}
    assert flatten({"w": "text"}, lambda leaf, path: (path, leaf))[0] == [("w", "text")]


# Leaves


@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        ("text", ParameterError, "a.b is 'text'; parameters are arrays of real numbers"),
        (b"bytes", ParameterError, "a.b is b'bytes'"),
        (None, ParameterError, "a.b is None"),
        (False, ParameterError, "a.b is False"),
        ({1, 2}, ParameterError, r"a.b is \{1, 2\}"),
        (np.array([True]), ParameterError, "a.b is an array of dtype bool"),
        (np.array([None]), ParameterError, "a.b is an array of dtype object"),
        (np.array(["2026"], "M8[Y]"), ParameterError, "a.b is an array of dtype datetime64"),
        (np.array([1j]), ParameterError, "a.b is complex; .* real and imaginary parts"),
        (np.array([[1.0], [np.nan]]), NonFiniteError, r"a\.b\[1, 0\] is nan; every entry must be"),
        (np.float32("inf"), NonFiniteError, "a.b is inf"),
        (2.0**1000 * 2.0**1000, NonFiniteError, "a.b is inf"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [flatten, size, lambda params: map_leaves(abs, params)],
    ids=["flatten", "size", "map"],
)
def test_values_that_are_not_leaves_are_named(
    function: Any, leaf: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        function({"fine": np.ones(2), "a": {"b": leaf}})
    assert isinstance(caught.value, GradlabError)


def test_bare_leaf_is_called_params() -> None:
    with pytest.raises(ParameterError, match=r"^params is None"):
        flatten(None)
    with pytest.raises(NonFiniteError, match=r"^params\[1\] is nan"):
        flatten(np.array([0.0, np.nan]))


def test_object_that_is_not_an_array_is_named() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise RuntimeError("out of memory")

    with pytest.raises(ParameterError, match="w: Broken is not an array: out of memory"):
        flatten({"w": Broken()})


@pytest.mark.parametrize(
    ("given_dtype", "wanted"),
    [("i8", "f8"), ("u1", "f8"), ("f2", "f2"), ("f4", "f4"), ("f8", "f8")],
)
def test_floating(given_dtype: str, wanted: str) -> None:
    array = np.ones(2, given_dtype)
    assert floating(array).dtype == wanted
    assert floating(array) is array or given_dtype[0] in "iu"


def test_as_array_keeps_the_array() -> None:
    array = np.ones(2)
    assert as_array(array, "w") is array
    assert as_array(2, "w").dtype.kind == "i"


@given(st.lists(st.integers(1, 4), max_size=3), st.data())
def test_first_is_the_first_true_entry(shape: list[int], data: Any) -> None:
    mask = np.zeros(shape, dtype=bool)
    positions = data.draw(st.sets(st.integers(0, mask.size - 1), min_size=1))
    mask.reshape(-1)[list(positions)] = True
    assert first(mask) == np.unravel_index(min(positions), mask.shape)
    assert all(type(i) is int for i in first(mask))


def test_entry() -> None:
    assert entry("W1", (3, 4)) == "W1[3, 4]"
    assert entry("layers[0].b", (2,)) == "layers[0].b[2]"
    assert entry("scale", ()) == "scale"


# Mapping


@given(parameters())
def test_map_leaves(params: Any) -> None:
    assert same(map_leaves(lambda leaf: leaf, params), params)
    double = map_leaves(lambda leaf: leaf * 2.0, params)
    total = map_leaves(lambda a, b: a + b, params, params)
    for (path, a), (other, b) in zip(named_leaves(double), named_leaves(total), strict=True):
        assert path == other
        assert np.array_equal(a, b)


def test_map_leaves_pairs_by_name() -> None:
    """The order of a dict has no meaning."""
    result = map_leaves(np.subtract, {"a": 5.0, "b": 7.0}, {"b": 1.0, "a": 2.0})
    assert result == {"a": 3.0, "b": 6.0}
    assert list(result) == ["a", "b"]


@given(parameters())
def test_size_counts_entries(params: Any) -> None:
    assert size(params) == sum(leaf.size for _, leaf in named_leaves(params))
    ones = map_leaves(np.ones_like, params)
    assert size(params) == sum(int(np.sum(leaf)) for _, leaf in named_leaves(ones))


def test_named_leaves() -> None:
    assert [path for path, _ in named_leaves(NESTED)] == list(PATHS)
    assert dict(named_leaves(2.0)) == {BARE: 2.0}


# Comparing structures


@given(parameters())
def test_leaves_like_itself(params: Any) -> None:
    assert all(
        same(a, b) for a, b in zip(leaves_like(params, params), flatten(params)[0], strict=True)
    )


@given(st.permutations(["W1", "b1", "W2", "b2"]))
def test_leaves_like_follows_the_first(order: list[str]) -> None:
    params = {name: np.full(2, number) for number, name in enumerate(["W1", "b1", "W2", "b2"])}
    shuffled = {name: params[name] for name in order}
    assert [int(leaf[0]) for leaf in leaves_like(params, shuffled)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"W": np.ones((2, 2))}, r"^the gradient lacks b\.c$"),
        ({}, r"^the gradient lacks W, b\.c$"),
        (
            {"W": np.ones((2, 2)), "b": {"c": np.ones(2), "d": 1}, "x": 2},
            r"^the gradient has b\.d, x, which the parameters lack$",
        ),
        (
            {"W": np.ones(4), "b": {"c": np.ones(2)}},
            r"^W has shape \(4,\) in the gradient; expected \(2, 2\)$",
        ),
        ({"W": np.ones((2, 2)), "b": {"c": 1.0}}, r"^b\.c has shape \(\) in .* expected \(2,\)$"),
        (np.ones((2, 2)), r"^the gradient lacks W, b\.c$"),
        ({"W": "text", "b": {"c": np.ones(2)}}, "^W is 'text'"),
    ],
)
def test_leaves_unlike(other: Any, message: str) -> None:
    params = {"W": np.ones((2, 2)), "b": {"c": np.ones(2)}}
    with pytest.raises(ParameterError, match=message):
        leaves_like(params, other, "the gradient")


def test_leaves_like_checks_finiteness() -> None:
    with pytest.raises(NonFiniteError, match=r"w\[0\] is nan"):
        leaves_like({"w": np.ones(1)}, {"w": np.array([np.nan])})


# Users' containers


@dataclass(frozen=True, slots=True)
class Inner:
    w: Any
    b: Any
    kind: str = field(default="tanh", metadata={"static": True})


@dataclass
class Outer:
    inner: Inner
    line: Any

    def __post_init__(self) -> None:
        self.made = "by __post_init__"


class Registered:
    def __init__(self, label: str, slope: Any) -> None:
        self.label, self.slope = label, slope


gradlab.register_container(
    Registered,
    lambda line: ({"slope": line.slope}, line.label),
    lambda label, children: Registered(label, **children),
)


def of_dataclasses() -> Outer:
    return Outer(Inner(np.array([1.0, 2.0]), 0.5), Registered("a", np.array([3.0])))


def loss_of_dataclasses(outer: Outer, x: Any) -> Any:
    squash = np.tanh if outer.inner.kind == "tanh" else np.sin
    return np.sum(squash(np.dot(x, outer.inner.w) + outer.inner.b) * outer.line.slope)


def test_dataclasses_and_registered_classes_hold_parameters() -> None:
    given = of_dataclasses()
    leaves, structure = params.flatten(given)
    assert structure.paths == ("inner.w", "inner.b", "line.slope")
    back = structure.unflatten([leaf + 1 for leaf in leaves])
    assert type(back) is Outer
    assert (back.inner.kind, back.made, back.line.label) == ("tanh", "by __post_init__", "a")
    assert (back.inner.w.tolist(), back.inner.b, back.line.slope[0]) == ([2.0, 3.0], 1.5, 4.0)
    assert given.inner.w.tolist() == [1.0, 2.0]


@each_backend(EXACT)
def test_dataclasses_are_differentiated_like_dicts(backend: str) -> None:
    given, x = of_dataclasses(), np.array([[0.1, 0.2], [0.3, -0.4]])
    gradient = gradlab.grad(loss_of_dataclasses, backend)
    wanted = gradlab.grad(loss_of_dataclasses)(given, x)
    for _ in range(2):  # recorded, and replayed
        found = gradient(given, x)
        for a, b in zip(params.flatten(found)[0], params.flatten(wanted)[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)  # of a forward difference
    # A recording depends on their constant parts.
    given.inner = Inner(given.inner.w, given.inner.b, "sin")
    assert abs(gradient(given, x).line.slope[0] - found.line.slope[0]) > 1e-3


def test_objects_that_are_not_classes_are_not_registered() -> None:
    with pytest.raises(ParameterError, match="cannot be registered"):
        gradlab.register_container(dict, lambda d: (d, None), lambda _, children: children)
    Bad = type("Bad", (), {})
    gradlab.register_container(Bad, lambda bad: (3.0, None), lambda _, children: Bad())
    with pytest.raises(ParameterError, match="returned float as children"):
        params.flatten(Bad())


# Vectors


def test_a_vector_and_its_inverse() -> None:
    given = {"W": np.arange(6.0, dtype=np.float32).reshape(2, 3), "n": 3, "rest": [0.5]}
    vector, unravel = gradlab.ravel(given)
    assert (vector.dtype, vector.tolist()) == (np.float64, [0, 1, 2, 3, 4, 5, 3, 0.5])
    back = unravel(vector)
    assert (back["W"].dtype, back["W"].tolist()) == (np.float32, given["W"].tolist())
    assert (back["n"], back["rest"]) == (3.0, [0.5])
    with pytest.raises(ParameterError, match=r"shape \(7,\); expected \(8,\)"):
        unravel(vector[1:])
    vector[0] = 9.0
    assert given["W"][0, 0] == 0.0


@each_backend(EXACT)
def test_functions_of_the_vector_are_differentiated(backend: str) -> None:
    given = {"w": np.array([1.0, 2.0]), "b": 0.5}
    vector, unravel = gradlab.ravel(given)

    def loss(x: Any) -> Any:
        p = unravel(x)
        return np.sum(p["w"] ** 2) * p["b"]

    found = gradlab.grad(loss, backend)(vector)
    np.testing.assert_allclose(found, [1.0, 2.0, 5.0], rtol=1e-6)
