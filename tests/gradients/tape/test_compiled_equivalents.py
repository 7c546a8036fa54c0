"""Functions with simpler equivalents, run by NumPy: the same values, shapes and dtypes.

None of these tests needs llvmlite.
"""

from __future__ import annotations

import operator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from expressions import given, of, program_of

from gradlab.gradients.tape import compiled
from gradlab.gradients.tape.compiled import UnsupportedError
from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.forms import form_of
from gradlab.gradients.tape.compiled.values import Values, with_copies
from gradlab.program.ir import Node

X, ROW, COLUMN = given("x", (5, 7)), given("row", (7,)), given("column", (5,))
F, K = given("f", (5, 7), np.float32), given("k", (5, 7), np.int64)
INPUTS = (X, ROW, COLUMN, F, K)
A_META, V_META = ((5, 7), 2, np.dtype(float), False), ((7,), 1, np.dtype(float), False)
U_META = ((5,), 1, np.dtype(float), False)
F64 = np.dtype(float)
T = of(np.swapaxes, X, 0, 1)


def values() -> list[Any]:
    rng = np.random.default_rng(0)
    found = [(8 * rng.normal(size=node.shape)).astype(node.dtype) for node in INPUTS]
    found[0][1, :3] = np.nan, np.inf, -np.inf
    return found


def run(node: Any) -> Any:
    (found,) = program_of(node, inputs=INPUTS).run(values())
    return np.asarray(found)


REPLACED = [
    of(np.clip, X, -0.5, 1.0),
    of(np.clip, F, None, np.float32(0.5)),
    of(np.clip, K, -2, None),
    of(np.clip, X, None, None),
    of(np.outer, ROW, COLUMN),
    of(np.outer, X, ROW),
    of(np.isnan, X),
    of(np.isposinf, X),
    of(np.isneginf, X),
    of(numpy_wrapper._array_from_scalar_or_array.fun, (), {}, X),
    of(dot_adjoint_0.fun, ROW, COLUMN, A_META, V_META),
    of(dot_adjoint_1.fun, X, COLUMN, A_META, V_META),
    of(dot_adjoint_0.fun, X, ROW, U_META, A_META),
    of(dot_adjoint_1.fun, COLUMN, ROW, U_META, A_META),
]


@pytest.mark.parametrize("node", REPLACED)
def test_an_equivalent_has_the_same_value(node: Node) -> None:
    made = form_of(node)
    assert made is not node
    with np.errstate(all="ignore"):
        found, wanted = run(made), run(node)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    exact = node.primitive not in (dot_adjoint_0.fun, dot_adjoint_1.fun)
    if exact:
        assert np.array_equal(found, wanted, equal_nan=wanted.dtype.kind == "f")
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


@pytest.mark.parametrize(
    "node",
    [
        Node(np.clip, (X, -0.5), {}, (5, 7), F64),
        Node(np.clip, (X, -0.5, 1.0), {"out": None}, (5, 7), F64),
        Node(np.outer, (X, ROW, None), {}, (35, 7), F64),
        Node(dot_adjoint_0.fun, (F, ROW, U_META, A_META), {}, (5,), F64),
        Node(dot_adjoint_0.fun, (X, X, A_META, A_META), {}, (5, 5), F64),
        of(np.add, X, ROW),
    ],
)
def test_other_calls_stay_as_they_are(node: Node) -> None:
    assert form_of(node) is node


@pytest.mark.parametrize(("a", "b"), [(F, T), (X, of(np.swapaxes, F, 0, 1)), (F, ROW)])
def test_a_product_has_operands_of_its_own_dtype(a: Node, b: Node) -> None:
    node = of(np.dot, a, b)
    with np.errstate(all="ignore"):
        found, wanted = run(form_of(node)), run(node)
    assert found.dtype == wanted.dtype == F64
    finite = np.isfinite(wanted)
    np.testing.assert_allclose(found[finite], wanted[finite], rtol=1e-12)


# Views


@pytest.mark.parametrize(
    ("node", "copies"),
    [
        (of(np.reshape, X, (7, 5)), 0),
        (of(np.reshape, T, (5, 7)), 1),
        (of(np.reshape, of(operator.getitem, X, (slice(None), slice(2))), (10,)), 1),
        (of(operator.getitem, T, (slice(None, None, 2), 3)), 0),
        (of(np.negative, X), 0),
        (of(np.reshape, of(np.reshape, T, (35,)), (5, 7)), 1),
    ],
)
def test_an_array_that_is_not_a_view_is_copied(node: Node, copies: int) -> None:
    program = program_of(node, inputs=INPUTS)
    made = with_copies(program)
    assert sum(n.primitive is np.positive for n in made.nodes) == copies
    assert np.array_equal(made.run(values())[0], program.run(values())[0], equal_nan=True)
    for output in made.outputs:
        Values(made).access(output)
    if copies:
        with pytest.raises(UnsupportedError, match="copies its operand"):
            Values(program).access(node)


def test_a_literal_array_has_one_node_wherever_it_is_read() -> None:
    array, other = np.arange(7.0), np.arange(7.0)
    sums = [of(np.add, X, a) for a in (array, array, other)]
    found = Values(program_of(*sums))
    nodes = [found.access(a).base for a in (array, array, other)]
    assert nodes[0] is nodes[1]
    assert nodes[0] is not nodes[2]
    assert len(found.constants) == 2
    assert all(
        kept is a for (_, kept), a in zip(found.constants.values(), (array, other), strict=True)
    )


@pytest.mark.parametrize("operand", ["text", np.zeros(0), np.array(["a"]), [1.0]])
def test_only_arrays_of_numbers_are_accepted(operand: Any) -> None:
    with pytest.raises(UnsupportedError, match="an operand is a"):
        Values(program_of(X)).access(operand)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 3, 5), None), ((4, 3, 5), 0), ((4, 3, 5), 1), ((4, 3, 5), -1), ((4, 3, 5), (0, 2)),
     ((4, 1, 5), 0), ((1, 3), 1), ((6,), 0)],
)  # fmt: skip
def test_a_reduction_adds_each_entry_at_its_place(shape: tuple[int, ...], axis: Any) -> None:
    x = given("x", shape)
    node = of(np.sum, x, axis=axis)
    facts = Facts(program_of(node))
    extents = facts.extents(node)
    role = facts.role(node, extents)
    assert role is not None
    place = role.place
    assert place.base is node
    total = np.zeros(max(1, int(np.prod(node.shape or ()))))
    array = np.random.default_rng(0).integers(0, 9, shape).astype(float)
    for index, value in np.ndenumerate(array.reshape(extents)):
        total[place.offset + np.dot(index, place.strides)] += value
    assert total.tolist() == np.sum(array, axis=axis).ravel().tolist()


# Whether anything can be compiled


def hidden(name: str) -> None:
    raise ValueError(name)


@pytest.mark.parametrize(
    ("find", "missing"), [(lambda name: None, True), (hidden, True), (lambda name: "it", False)]
)
def test_llvmlite_is_looked_for(monkeypatch: pytest.MonkeyPatch, find: Any, missing: bool) -> None:
    monkeypatch.setattr(compiled, "find_spec", find)
    assert compiled.is_missing() is missing
    found = pytest.raises(UnsupportedError, match="llvmlite is not") if missing else nullcontext()
    with found:
        compiled.require_known()
    monkeypatch.setattr(compiled, "Steps", lambda *given: given)
    if missing:
        with pytest.raises(UnsupportedError, match="llvmlite is not installed"):
            compiled.compile_steps(1, 2)
    else:
        assert compiled.compile_steps(1, 2) == (1, 2)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UnsupportedError("this form"), "^this form$"),
        (MemoryError("all of it"), "^the compiler failed: MemoryError: all of it$"),
    ],
)
def test_any_failure_of_the_compiler_leaves_the_program_to_numpy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(compiled, "find_spec", lambda name: "it")
    monkeypatch.setattr(compiled, "Steps", fail)
    with pytest.raises(UnsupportedError, match=message):
        compiled.compile_steps()
