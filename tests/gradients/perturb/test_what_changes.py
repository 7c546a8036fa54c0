"""The change of each value of a loss by the perturbation of one entry, and its shape.

Other tests compare the gradients with the plain loop's. An engine that follows more than the
changes, or gives up, passes those tests, but is slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradlab.gradients.perturb.engine import PerturbedLoss
from gradlab.gradients.perturb.extents import Entries, Extents, Slice
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.operations import NoRule
from gradlab.gradients.perturb.plan import Plan
from gradlab.gradients.perturb.rows import RowExtents
from gradlab.params import flatten
from gradlab.program.ir import name_of
from gradlab.program.record import record

W, V, X = np.arange(6.0).reshape(2, 3), np.ones((3, 2)), np.arange(8.0).reshape(4, 2)
B, MANY = np.ones(3), np.ones((2, 40))


class Case(NamedTuple):
    """A loss, its parameters, and the perturbed leaf."""

    loss: Callable[..., Any]
    params: Any
    args: tuple[Any, ...] = ()
    leaf: int = 0


def softmax(w: Any, x: Any) -> Any:
    scores = x @ w
    scores = scores - np.max(scores, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(scores), axis=1)))


def network(p: Any, x: Any) -> Any:
    return np.sum(np.tanh(np.tanh(x @ p[0] + p[1]) @ p[2]) ** 2)


CASES: dict[str, Case] = {
    "a layer": Case(lambda w, x: np.sum((x @ w) ** 2), W, (X,)),
    "a bias": Case(lambda b, x: np.sum(np.tanh(x @ W + b)), B, (X,)),
    "the first of two layers": Case(network, [W, B, V], (X,)),
    "the bias between two layers": Case(network, [W, B, V], (X,), 1),
    "the second of two layers": Case(network, [W, B, V], (X,), 2),
    "a wide layer": Case(network, [MANY, np.ones(40), np.ones((40, 2))], (X,)),
    "a relu": Case(lambda w, x: np.sum(np.maximum(0, x @ w) @ V), W, (X,)),
    "a wide relu": Case(lambda w, x: np.sum(np.maximum(0, x @ w) @ np.ones((40, 2))), MANY, (X,)),
    "a softmax": Case(softmax, W, (X,)),
    "the largest of each row": Case(lambda w, x: np.sum(np.max(x @ w, axis=1)), W, (X,)),
    "the mean of each column": Case(lambda w, x: np.sum(np.mean(x @ w, axis=0) ** 2), W, (X,)),
    "entry by entry": Case(lambda w: np.sum(np.exp(w) * w), B),
    "a number": Case(lambda w, x: np.sum(w * x), np.array(2.0), (X,)),
    "single entries": Case(lambda w: np.exp(w[1]) + w[0] ** 2, B),
    "in another order": Case(lambda w: np.sum(w * w[::-1]), B),
    "columns": Case(lambda w: np.sum(w[:, 0] * w[:, 1]), W),
    "a product with itself": Case(lambda w: np.sum((w @ w.T) ** 2), W),
    "transposed": Case(lambda w, x: np.sum((w.T @ x.T) ** 2), W, (X,)),
    "entries of rows": Case(lambda w, x: np.sum((x @ w)[np.arange(4), [0, 1, 2, 0]]), W, (X,)),
    "joined columns": Case(lambda w, x: np.sum(np.exp((x @ w)[:, ::-1])), W, (X,)),
    "a table of words": Case(lambda w, i: np.sum(np.tanh(w[i] @ V)), B * W, (np.array([1, 0, 1]),)),
    "an inverse": Case(lambda w: np.sum(np.linalg.inv(w)), np.eye(2)),
    "a factor of each row": Case(lambda w, x: np.sum(np.exp(w[:, None] * x)), np.ones(4), (X,)),
    "a mean behind two layers": Case(
        lambda p, x: np.sum(np.mean(np.tanh(x @ p[0]) @ p[2], axis=1) ** 2), [W, B, V], (X,)
    ),
    "a reversal behind two layers": Case(
        lambda p, x: np.sum((np.tanh(x @ p[0]) @ p[2])[:, ::-1] ** 2), [W, B, V], (X,)
    ),
    "a leaf without effect": Case(lambda p, x: np.sum(x @ p[0]), [W, B], (X,), 1),
    "a factor of each column": Case(lambda w, x: np.sum(np.exp(w * x)), np.ones(2), (X,)),
    "an axis in between": Case(lambda w, x: np.sum(np.exp((x @ w)[:, None, :])), W, (X,)),
    "axes in another order": Case(
        lambda w, x: np.sum(np.exp(np.swapaxes(np.reshape(x @ w, (2, 2, 3)), 1, 2))), W, (X,)
    ),
    "every second row": Case(lambda w, x: np.sum(np.exp((x @ w)[::2])), W, (X,)),
}


def seen(case: Case, kind: type[Extents]) -> str:
    """Return each operation with its changed part, the part's size in a lane, and its series.

    The last items are the number of entries of the widest value in a lane; whether the leaf enters
    linearly, so that x + h need not be rounded; and the product behind which columns may be idle.
    """
    inputs = [np.asarray(leaf) for leaf in flatten(case.params)[0]]
    engine = PerturbedLoss(record(case.loss, case.params, case.args), [*inputs, *case.args])
    leaf = engine.program.inputs[case.leaf]
    try:
        extents = kind(engine.program, leaf, engine._values, 2, Limits(min_series_lanes=1))
        plan = Plan(extents)
    except NoRule as error:
        return f"no rule: {str(error).split(' at ')[0]}"
    said = []
    for node in extents.nodes:
        extent = extents.of[node]
        what = type(extent).__name__.lower()
        if isinstance(extent, Slice):
            what += f" {extent.axis}" + (f" {extent.hit.tolist()}" if extent.hit.size < 9 else "")
        if isinstance(extent, Entries):
            what += f" {extent.place.tolist()}"
        if series := extents.series.get(node):
            what += f", series along {sorted(series.varying)}"
        said.append(f"{name_of(node.primitive)} {extents.shape(node)} {what}")
    end = f"{plan.widest} wide{', linear' if plan.is_linear else ''}"
    return "; ".join([*said, end + (f", narrow {plan.narrow.shape}" if plan.narrow else "")])


WITHOUT_ROWS = {
    "a layer": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; square (4,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "sum () all; 4 wide, linear"
    ),
    "a bias": (
        "add (4,) slice -1 [0, 1, 2]; tanh (4,) slice -1 [0, 1, 2]; sum () all; 4 wide, linear"
    ),
    "the first of two layers": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; add (4,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "tanh (4,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (4, 2) all, series along [-2]; "
        "tanh (4, 2) all, series along [-2]; square (4, 2) all, series along [-2]; "
        "sum () all; 32 wide, linear"
    ),
    "the bias between two layers": (
        "add (4,) slice -1 [0, 1, 2]; tanh (4,) slice -1 [0, 1, 2]; "
        "matmul (4, 2) all, series along [-2]; "
        "tanh (4, 2) all, series along [-2]; square (4, 2) all, series along [-2]; "
        "sum () all; 32 wide, linear"
    ),
    "the second of two layers": (
        "matmul (4,) slice -1 [0, 1, 0, 1, 0, 1]; tanh (4,) slice -1 [0, 1, 0, 1, 0, 1]; "
        "square (4,) slice -1 [0, 1, 0, 1, 0, 1]; sum () all; 4 wide, linear"
    ),
    "a wide layer": (
        "matmul (4,) slice -1; add (4,) slice -1; tanh (4,) slice -1; "
        "matmul (4, 2) all, series along [-2]; "
        "tanh (4, 2) all, series along [-2]; square (4, 2) all, series along [-2]; "
        "sum () all; 32 wide, linear"
    ),
    "a relu": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; maximum (4,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (4, 2) all, series along [-2]; sum () all; 32 wide, linear"
    ),
    "a wide relu": (
        "matmul (4,) slice -1; maximum (4,) slice -1; "
        "matmul (4, 2) all, series along [-2]; sum () all; 32 wide, linear"
    ),
    "a softmax": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; max (4, 1) all; subtract (4, 3) all; "
        "exp (4, 3) all; sum (4,) all; log (4,) all; sum () all; divide () all; "
        "12 wide, linear"
    ),
    "the largest of each row": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; max (4,) all; sum () all; 12 wide, linear"
    ),
    "the mean of each column": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; sum () slice -1 [0, 1, 2, 0, 1, 2]; "
        "divide () slice -1 [0, 1, 2, 0, 1, 2]; square () slice -1 [0, 1, 2, 0, 1, 2]; "
        "sum () all; 4 wide, linear"
    ),
    "entry by entry": (
        "exp () entries [0, 1, 2]; multiply () entries [0, 1, 2]; sum () all; 1 wide"
    ),
    "a number": "multiply (4, 2) all; sum () all; 8 wide",
    "single entries": (
        "getitem () entries [-1, 0, -1]; exp () entries [-1, 0, -1]; "
        "getitem () entries [0, -1, -1]; square () entries [0, -1, -1]; add () all; 1 wide"
    ),
    "in another order": ("getitem () entries [2, 1, 0]; multiply (3,) all; sum () all; 3 wide"),
    "columns": (
        "getitem () entries [0, -1, -1, 1, -1, -1]; getitem () entries [-1, 0, -1, -1, 1, -1]; "
        "multiply (2,) all; sum () all; 2 wide"
    ),
    "a product with itself": (
        "transpose () entries [0, 2, 4, 1, 3, 5]; matmul (2, 2) all; square (2, 2) all; "
        "sum () all; 6 wide, linear"
    ),
    "transposed": (
        "transpose () entries [0, 2, 4, 1, 3, 5]; matmul (4,) slice -2 [0, 1, 2, 0, 1, 2]; "
        "square (4,) slice -2 [0, 1, 2, 0, 1, 2]; sum () all; 4 wide, linear"
    ),
    "entries of rows": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; getitem (4,) all; sum () all; 12 wide, linear"
    ),
    "joined columns": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; getitem (4, 3) all; exp (4, 3) all; "
        "sum () all; 12 wide, linear"
    ),
    "a table of words": "no rule: <function gather",
    "an inverse": "no rule: <function inv",
    "a factor of each row": (
        "getitem () entries [0, 1, 2, 3]; multiply (2,) slice -2 [0, 1, 2, 3]; "
        "exp (2,) slice -2 [0, 1, 2, 3]; sum () all; 2 wide"
    ),
    "a mean behind two layers": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; tanh (4,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (4, 2) all, series along [-2]; sum (4,) all; divide (4,) all; "
        "square (4,) all; sum () all; 32 wide, linear"
    ),
    "a reversal behind two layers": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; tanh (4,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (4, 2) all, series along [-2]; getitem (4, 2) all; square (4, 2) all; "
        "sum () all; 32 wide, linear"
    ),
    "a leaf without effect": "no rule: the loss does not depend on the leaf",
    "a factor of each column": (
        "multiply (4,) slice -1 [0, 1]; exp (4,) slice -1 [0, 1]; sum () all; 4 wide"
    ),
    "an axis in between": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; getitem (4, 1) slice -1 [0, 1, 2, 0, 1, 2]; "
        "exp (4, 1) slice -1 [0, 1, 2, 0, 1, 2]; sum () all; 4 wide, linear"
    ),
    "axes in another order": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; reshape (2, 2) slice -1 [0, 1, 2, 0, 1, 2]; "
        "swapaxes (2, 2) slice -2 [0, 1, 2, 0, 1, 2]; exp (2, 2) slice -2 [0, 1, 2, 0, 1, 2]; "
        "sum () all; 4 wide, linear"
    ),
    "every second row": (
        "matmul (4,) slice -1 [0, 1, 2, 0, 1, 2]; getitem (2,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "exp (2,) slice -1 [0, 1, 2, 0, 1, 2]; sum () all; 4 wide, linear"
    ),
}

WITH_ROWS = {
    "a layer": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; square () slice -1 [0, 1, 2, 0, 1, 2]; "
        "sum () total; 1 wide, linear"
    ),
    "a bias": (
        "add () slice -1 [0, 1, 2]; tanh () slice -1 [0, 1, 2]; sum () total; 1 wide, linear"
    ),
    "the first of two layers": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; add () slice -1 [0, 1, 2, 0, 1, 2]; "
        "tanh () slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (2,) all, series along []; tanh (2,) all, series along []; "
        "square (2,) all, series along []; sum () total; 8 wide, linear, narrow (4, 2)"
    ),
    "the bias between two layers": (
        "add () slice -1 [0, 1, 2]; tanh () slice -1 [0, 1, 2]; "
        "matmul (2,) all, series along []; tanh (2,) all, series along []; "
        "square (2,) all, series along []; sum () total; 8 wide, linear, narrow (4, 2)"
    ),
    "the second of two layers": (
        "matmul () slice -1 [0, 1, 0, 1, 0, 1]; tanh () slice -1 [0, 1, 0, 1, 0, 1]; "
        "square () slice -1 [0, 1, 0, 1, 0, 1]; sum () total; 1 wide, linear"
    ),
    "a wide layer": (
        "matmul () slice -1; add () slice -1; tanh () slice -1; "
        "matmul (2,) all, series along []; tanh (2,) all, series along []; "
        "square (2,) all, series along []; sum () total; 8 wide, linear, narrow (4, 2)"
    ),
    "a relu": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; maximum () slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (2,) all, series along []; sum () total; "
        "8 wide, linear, narrow (4, 2)"
    ),
    "a wide relu": (
        "matmul () slice -1; maximum () slice -1; "
        "matmul (2,) all, series along []; sum () total; "
        "8 wide, linear, narrow (4, 2)"
    ),
    "a softmax": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; max (1,) all; subtract (3,) all; "
        "exp (3,) all; sum () all; log () all; sum () total; divide () total; 3 wide, linear"
    ),
    "the largest of each row": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; max () all; sum () total; 3 wide, linear"
    ),
    "the mean of each column": "no rule: a reduction across rows",
    "entry by entry": (
        "exp () entries [0, 1, 2]; multiply () entries [0, 1, 2]; sum () total; 1 wide"
    ),
    "a number": "no rule: a number meets an array",
    "single entries": "no rule: a number meets an array",
    "in another order": ("no rule: entries are broadcast in another way than along rows"),
    "columns": ("no rule: entries are broadcast in another way than along rows"),
    "a product with itself": "no rule: a product of another kind",
    "transposed": "no rule: a product of another kind",
    "entries of rows": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; getitem () all; sum () total; 3 wide, linear"
    ),
    "joined columns": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; getitem (3,) all; exp (3,) all; "
        "sum () total; 3 wide, linear"
    ),
    "a table of words": "no rule: <function gather",
    "an inverse": "no rule: <function inv",
    "a factor of each row": ("no rule: entries are broadcast in another way than along rows"),
    "a mean behind two layers": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; tanh () slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (2,) all, series along []; sum () all, series along []; "
        "divide () all, series along []; square () all, series along []; sum () total; "
        "8 wide, linear, narrow (4, 2)"
    ),
    "a reversal behind two layers": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; tanh () slice -1 [0, 1, 2, 0, 1, 2]; "
        "matmul (2,) all, series along []; getitem (2,) all, series along []; "
        "square (2,) all, series along []; sum () total; 8 wide, linear, narrow (4, 2)"
    ),
    "a leaf without effect": "1 wide, linear",
    "a factor of each column": (
        "multiply () slice -1 [0, 1]; exp () slice -1 [0, 1]; sum () total; 1 wide"
    ),
    "an axis in between": (
        "matmul () slice -1 [0, 1, 2, 0, 1, 2]; getitem (1,) slice -1 [0, 1, 2, 0, 1, 2]; "
        "exp (1,) slice -1 [0, 1, 2, 0, 1, 2]; sum () total; 1 wide, linear"
    ),
    "axes in another order": "no rule: rows move",
    "every second row": "no rule: rows move",
}


@pytest.mark.parametrize("name", CASES)
def test_what_changes(name: str) -> None:
    assert seen(CASES[name], Extents) == WITHOUT_ROWS[name]


@pytest.mark.parametrize("name", CASES)
def test_what_changes_in_a_row_of_the_batch(name: str) -> None:
    assert seen(CASES[name], RowExtents) == WITH_ROWS[name]


@pytest.mark.parametrize(("size", "faster"), [(100, True), (100_000, False), (1_000_000, False)])
def test_the_plain_loop_is_taken_where_a_perturbation_changes_everything(
    size: int, faster: bool
) -> None:
    """Two values of this size per lane compete with three calls that cost 2000 entries each."""
    x = np.ones(size)
    program = record(lambda w, x: np.sum(np.exp(w * x)), np.array(2.0), (x,))
    for always in (False, True):
        engine = PerturbedLoss(program, [np.array(2.0), x], limits=Limits(even_if_slower=always))
        assert (engine.plan(0, 2) is not None) is (faster or always)
    assert not Limits().even_if_slower


@pytest.mark.parametrize(
    ("rows", "block", "is_taken"),
    [(10, 16, True), (14, 16, False), (3, 4, True), (5, 4, False), (100, 2**19, True)],
)
def test_rows_are_taken_one_by_one_where_they_are_fewer_than_the_evaluations(
    rows: int, block: int, is_taken: bool
) -> None:
    """Six entries take twelve evaluations, each of one lane per row; a block of 4 holds a third.

    Without blocks of rows, all rows change with each entry.
    """
    x, w = np.ones((rows, 3)), np.ones((3, 2))
    program = record(lambda w, x: np.sum(np.tanh(x @ w)), w, (x,))
    plan = PerturbedLoss(program, [w, x], limits=Limits(block=block)).plan(0, 2)
    assert (plan is not None and isinstance(plan.extents, RowExtents)) is is_taken


def test_the_cost_of_wide_products_counts() -> None:
    """A product of 64 rows and columns for each entry costs four times the rest of the loss."""
    x, w = np.ones((64, 64)), np.array(2.0)
    for loss, is_taken in (
        (lambda w, x: np.sum((w * x) @ x), False),
        (lambda w, x: np.sum(w * (x @ x)), True),
    ):
        program = record(loss, w, (x,))
        engine = PerturbedLoss(program, [w, x], limits=Limits(block=2**19))
        assert (engine.plan(0, 2) is not None) is is_taken


def test_a_loss_that_computes_in_single_precision_has_no_rule() -> None:
    """Its changes would need the same rounding. A comparison is no number, and has a rule."""
    for loss, has_rule in (
        (lambda w: np.sum(np.exp(w.astype(np.float32))), False),
        (lambda w: np.sum(np.where(w > 0.5, w * w, 0.0)), True),
    ):
        engine = PerturbedLoss(record(loss, B), [B], limits=Limits(even_if_slower=True))
        assert (engine.plan(0, 2) is not None) is has_rule
