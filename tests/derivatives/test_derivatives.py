"""Functions with many outputs: every backend against closed forms, and each against the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from counting import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import unless_missing

import gradlab
from gradlab import errors
from gradlab.derivatives.maps import Differentiated
from gradlab.params import flatten

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Row:
    """A backend, and the error of its derivatives relative to their size and the function's."""

    backend: str
    error: float


ERRORS = {
    "autograd": 64 * EPS,
    "tape": 64 * EPS,
    "jax": 64 * EPS,
    "torch": 64 * EPS,
    "autograd-forward": 64 * EPS,
    "complex-step": 64 * EPS,
    # The sum of truncation, h^q times a derivative, and round-off, ε/h, at their least: the
    # functions below have derivatives of about 10 times their size.
    "forward": 100 * EPS ** (1 / 2),
    "central": 100 * EPS ** (2 / 3),
    "central4": 1000 * EPS ** (4 / 5),
    "richardson": 2000 * EPS,
}
ROWS = pytest.mark.parametrize(
    "row", [unless_missing(name, Row(name, error), name) for name, error in ERRORS.items()]
)
COLUMNS = ("forward", "central", "central4")


def slow_except(quick, *values):
    """Return the rows with additional values; all except the `quick` ones are slow."""
    for name, error in ERRORS.items():
        row = unless_missing(name, Row(name, error))
        marks = [] if name in quick else [pytest.mark.slow]
        yield pytest.param(
            *row.values, *values, marks=[*row.marks, *marks], id="-".join([name, *values[:1]])
        )


def vector(structure):
    """Return all leaves of a structure as one vector."""
    return np.concatenate([np.zeros(0), *map(np.ravel, flatten(structure)[0])])


def assert_close(found, wanted, error):
    size = np.abs(vector(wanted)).max(initial=1.0)
    assert np.abs(vector(found) - vector(wanted)).max(initial=0.0) <= error * size


# One function, with its derivative by hand


RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3))
PARAMS = {"W": RNG.normal(size=(3, 2)), "b": [np.array([0.5, -0.25]), 0.75]}
TANGENT = {"W": RNG.normal(size=(3, 2)), "b": [np.array([1.0, 0.25]), -0.5]}
COTANGENT = {"t": RNG.normal(size=(2, 2)), "both": (np.array([0.5, 2.0]), -1.5)}


def layer(params, x):
    b, scale = params["b"]
    t = np.tanh(np.dot(x, params["W"]) + b)
    return {"t": t, "both": (np.stack([scale * b[0], np.exp(scale)]), float(np.sum(t) * scale))}


def jacobian_of_layer(params, x):
    b, scale = params["b"]
    t = np.tanh(x @ params["W"] + b)
    slope = 1 - t**2
    by_b = np.einsum("ij,jk->ijk", slope, np.eye(2))
    by_w = np.einsum("ij,il,jk->ijlk", slope, x, np.eye(2))
    return {
        "t": {"W": by_w, "b": [by_b, np.zeros((2, 2))]},
        "both": (
            {
                "W": np.zeros((2, 3, 2)),
                "b": [np.array([[scale, 0.0], [0.0, 0.0]]), np.array([b[0], np.exp(scale)])],
            },
            {
                "W": scale * by_w.sum((0, 1)),
                "b": [scale * by_b.sum((0, 1)), np.sum(t)],
            },
        ),
    }


@ROWS
def test_a_jacobian_is_that_of_the_closed_form(row):
    found = gradlab.jacobian(layer, row.backend)(PARAMS, X)
    wanted = jacobian_of_layer(PARAMS, X)
    assert_close(found, wanted, row.error)
    assert [leaf.shape for leaf in flatten(found)[0]] == [leaf.shape for leaf in flatten(wanted)[0]]
    assert flatten(found)[1].paths == flatten(wanted)[1].paths
    assert type(found["both"][1]["b"][1]) is np.float64


def products():
    """Return the products of the closed form with the tangent and with the cotangent."""
    matrix = np.concatenate(
        [
            np.concatenate([np.reshape(leaf, (m, -1)) for leaf in flatten(block)[0]], axis=1)
            for block, m in zip(
                [jacobian_of_layer(PARAMS, X)["t"], *jacobian_of_layer(PARAMS, X)["both"]],
                (4, 2, 1),
                strict=True,
            )
        ]
    )
    return matrix @ vector(TANGENT), vector(COTANGENT) @ matrix


@ROWS
def test_a_jvp_is_the_product_with_a_column(row):
    found = gradlab.jvp(layer, row.backend)(PARAMS, X, TANGENT)
    assert found["t"].shape == (2, 2)
    assert_close(found, products()[0], 4 * row.error)


@ROWS
def test_a_vjp_is_the_product_with_a_row(row):
    found = gradlab.vjp(layer, row.backend)(PARAMS, X, COTANGENT)
    assert found["W"].shape == (3, 2)
    assert_close(found, products()[1], 4 * row.error)


# Functions as others write them


def filled(x):
    out = np.zeros((len(x), 2))
    for i in range(len(x)):
        out[i, 0] = x[i] ** 2
        out[i, 1] = x[i] * x[0]
    return out


PLAIN = {
    "stack": (lambda x: np.stack([x**2, np.sin(x)]), lambda x: np.stack([2 * x, np.cos(x)])),
    "concatenate": (lambda x: np.concatenate([x, x**3]), None),
    "array": (lambda x: np.array([x[0] * x[1], x[2] / x[0]]), None),
    "entry by entry": (filled, None),
    "one entry": (lambda x: np.sum(x**2, keepdims=True), None),
    "constant": (lambda x: np.ones(2), None),
    "partly constant": (lambda x: {"a": x * 2, "b": np.arange(3.0)}, None),
    "outer": (lambda x: np.outer(x, x), None),
    "solve": (lambda x: np.linalg.solve(np.diag(x) + 0.1, np.ones(3)), None),
    "cumulative": (lambda x: np.cumsum(np.exp(x)), None),
    "chosen": (lambda x: np.where(x > 1, x**2, -x), None),
    "sorted": (lambda x: np.sort(x)[::-1], None),
    "numbers": (lambda x: [float(x[0] * x[1]), float(np.max(x))], None),
}
HERE = np.array([1.5, -0.5, 0.75])


def slow_for_libraries():
    """Return backends and functions; those that compile for a second are slow."""
    for name in PLAIN:
        for backend, error in ERRORS.items():
            marks = [pytest.mark.slow] if backend in ("jax", "torch") else []
            row = unless_missing(backend, Row(backend, error))
            yield pytest.param(
                *row.values, name, marks=[*row.marks, *marks], id=f"{backend}-{name}"
            )


@pytest.mark.parametrize(("row", "name"), list(slow_for_libraries()))
def test_plain_numpy_has_the_same_jacobian_on_every_backend(row, name):
    function = PLAIN[name][0]
    wanted = gradlab.jacobian(function, "central4")(HERE)  # independent of every derivative rule
    allowed = row.error + ERRORS["central4"]
    if row.backend == "central4":
        wanted, allowed = gradlab.jacobian(function, "autograd")(HERE), row.error
    assert_close(gradlab.jacobian(function, row.backend)(HERE), wanted, 10 * allowed)


# Arguments


@pytest.mark.parametrize("row", list(slow_except(set(ERRORS) - {"jax"})))
def test_any_arguments_are_differentiated(row):
    def f(x, y, *, power):
        return np.stack([x * y**power, x + y])

    by_y, by_x = gradlab.jacobian(f, row.backend, argnums=(1, 0))(2.0, 3.0, power=2)
    assert_close([by_y, by_x], [np.array([12.0, 1.0]), np.array([9.0, 1.0])], row.error)
    by_y = gradlab.jacobian(f, row.backend, argnums=1)(2.0, 3.0, power=2)
    assert_close(by_y, np.array([12.0, 1.0]), row.error)
    slope = gradlab.jvp(f, row.backend, argnums=(1, 0))(2.0, 3.0, (1.0, 10.0), power=2)
    assert_close(slope, np.array([102.0, 11.0]), row.error)


@pytest.mark.parametrize(
    ("row", "name", "direction"),
    [
        *slow_except({"autograd", "jax", "complex-step"}, "jacobian", ()),
        *slow_except({"autograd-forward", "central"}, "jvp", (np.ones(2),)),
        *slow_except({"tape"}, "vjp", ([np.ones(2), 1.0],)),
    ],
)
def test_auxiliary_data_are_returned_unchanged(row, name, direction):
    def f(x):
        return [x**2, float(np.sum(0 * x))], {"seen": x + 1, "n": float(np.max(x))}

    derivative = getattr(gradlab, name)(f, row.backend, has_aux=True)
    found, aux = derivative(np.array([1.0, 2.0]), *direction)
    assert np.abs(vector(found)).sum() == pytest.approx(6, rel=row.error * 10)
    assert type(aux["seen"]) is np.ndarray
    assert aux["n"] == 2.0
    np.testing.assert_array_equal(aux["seen"], [2.0, 3.0])


def test_dtypes_are_those_of_the_parameters():
    found = gradlab.jacobian(lambda p: p[0] * p[1])((np.float32(2.0), 3))
    assert [leaf.dtype for leaf in flatten(found)[0]] == [np.float32, np.float64]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradlab.jacobian(3), errors.LossError, "3 is not a function"),
        (lambda: gradlab.jacobian(abs, argnums=-1), errors.OptionError, "argnums=-1"),
        (lambda: gradlab.jacobian(abs, argnums=(0, 0)), errors.OptionError, "each position once"),
        (lambda: gradlab.jacobian(abs, argnums=2)(1.0), errors.OptionError, "1 positional"),
        (lambda: gradlab.jacobian(abs, has_aux=1), errors.OptionError, "has_aux=1"),
        (lambda: gradlab.jacobian(abs, has_aux=True)(1.0), errors.LossError, "return a pair"),
        (lambda: gradlab.jacobian(lambda x: "a")(1.0), errors.LossError, "output is of dtype <U1"),
        (lambda: gradlab.jacobian(lambda x: 1j * x)(1.0), errors.LossError, "output is complex"),
        (
            lambda: gradlab.jacobian(lambda x: {"a": np.log(x)}, "central")(np.zeros(2)),
            errors.NonFiniteError,
            r"a\[0\] is -inf",
        ),
        (lambda: gradlab.jvp(np.sin)(1.0), errors.OptionError, "give the tangent as the last"),
        (lambda: gradlab.jvp(np.sin)(1.0, np.ones(2)), errors.ParameterError, "in the tangent"),
        (lambda: gradlab.vjp(np.sin)(1.0, np.ones(2)), errors.ParameterError, "in the cotangent"),
        (
            lambda: gradlab.jacobian(np.sqrt)(np.array([1.0, 0.0])),
            errors.NonFiniteError,
            r"derivative of output\[1\] by params\[1\] is inf",
        ),
        (
            lambda: gradlab.jacobian(np.sin, "autograd", bounds=(0, 1)),
            errors.OptionError,
            "bounds= is for the backends forward, central, central4 and richardson",
        ),
    ],
)
def test_mistakes_are_named(call, error, message):
    with np.errstate(divide="ignore"), pytest.raises(error, match=message):
        call()


def test_parameters_are_not_written_into():
    def writes(x):
        x += 1
        return x

    for backend in ("autograd", "tape", "central"):
        x = np.zeros(2)
        with pytest.raises(errors.ReadOnlyError):
            gradlab.jacobian(writes, backend)(x)
        np.testing.assert_array_equal(x, 0)


# What each backend does once


def test_reverse_mode_runs_the_function_once_for_all_rows():
    def function(x):
        return np.sin(np.outer(x, x))

    with calls_of(function) as calls:
        gradlab.jacobian(function)(HERE)
    assert len(calls) == 2  # on plain numbers, and traced


def test_the_tape_records_once_for_all_rows_and_points():
    differentiated = Differentiated(lambda x: np.sin(np.outer(x, x)), "tape")
    for x in (HERE, 2 * HERE):
        way, at, _ = differentiated.at((x,), {})
        assert_close(
            way.matrix(at), gradlab.jacobian(lambda x: np.sin(np.outer(x, x)))(x), 64 * EPS
        )
        way.jvp(at, [x])
    assert way._gradient.cache_info[:2] == (17, 1)  # replays, recordings
    assert way._pushed.cache_info[:2] == (1, 1)


@pytest.mark.parametrize(("backend", "points"), [("forward", 1), ("central", 2), ("central4", 4)])
def test_a_numerical_column_is_one_perturbation_for_all_outputs(backend, points):
    def function(x):
        return np.sin(np.outer(x, np.ones(50)))

    with calls_of(function) as calls:
        gradlab.jacobian(function, backend)(np.linspace(0.5, 1.5, 20))
    assert len(calls) == 20 * points + 2  # each column; at the parameters, and to confirm


# Structures


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_structures_of_any_nesting_are_restored(data):
    shapes = st.sampled_from([(), (1,), (2,), (2, 3), (0,)])
    trees = st.recursive(
        shapes,
        lambda inner: (
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)
            | st.lists(inner, min_size=1, max_size=2).map(
                lambda items: [("list", *items)] if len(items) == 1 else items
            )
        ),
        max_leaves=4,
    )

    def build(tree, rng):
        if isinstance(tree, dict):
            return {key: build(child, rng) for key, child in tree.items()}
        if isinstance(tree, list):
            return [build(child, rng) for child in tree if child]
        if tree and tree[0] == "list":
            return (build(tree[1], rng),)
        return rng.uniform(0.5, 1.5, tree)

    rng = np.random.default_rng(0)
    params, outputs = build(data.draw(trees), rng), build(data.draw(trees), rng)
    leaves, structure = flatten(outputs)

    def function(p):
        total = sum(np.sum(leaf**2) for leaf in flatten(p, lambda v, _: v)[0])
        return structure.unflatten([leaf * total for leaf in leaves])

    found = gradlab.jacobian(function)(params)
    blocks = flatten(found)[0]
    # The structure of the outputs, with that of the parameters in place of each leaf.
    wanted = [np.multiply.outer(leaf, 2 * p) for leaf in leaves for p in flatten(params)[0]]
    assert [block.shape for block in blocks] == [block.shape for block in wanted]
    for block, expected in zip(blocks, wanted, strict=True):
        np.testing.assert_allclose(block, expected, rtol=64 * EPS)
    assert_close(gradlab.jacobian(function, "central")(params), found, ERRORS["central"])


# Functions that are written for a library


def test_a_function_of_jax_has_a_jacobian():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")

    def f(x):
        return {"a": jnp.sin(x), "b": jnp.sum(x) * x[0]}

    found = gradlab.jacobian(f, "jax")(HERE)
    assert_close(found["a"], np.diag(np.cos(HERE)), 64 * EPS)
    assert_close(found["b"], HERE[0] + np.sum(HERE) * np.eye(3)[0], 64 * EPS)


def test_a_function_of_torch_has_a_jacobian_unless_a_slope_is_lost():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def f(x):
        return {"a": torch.sin(x), "b": torch.sum(x) * x[0]}

    found = gradlab.jacobian(f, "torch")(HERE)
    assert_close(found["a"], np.diag(np.cos(HERE)), 64 * EPS)
    assert_close(found["b"], HERE[0] + np.sum(HERE) * np.eye(3)[0], 64 * EPS)

    def loses(x):
        return torch.sin(x) * x[0].item()

    for derivative, direction in ((gradlab.jacobian, ()), (gradlab.jvp, (np.ones(3),))):
        with pytest.raises(errors.LossError, match="slope is lost"):
            derivative(loses, "torch")(HERE, *direction)
