"""The table of NumPy's functions in the documentation is complete, and true of each function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy_table
import pytest
from test_arrays_numpy import TABLE

import gradlab
from gradlab import derivative_with_error

PAGE = Path(__file__).parents[2] / "docs" / "numpy.md"
KINDS = {name: numpy_table.kind_of(name, function) for name, function in numpy_table.functions()}
IN_TABLE = {call.function for call in TABLE if call.smooth}

V = np.array([0.7, -1.3, 2.1, 0.45])
W = np.array([1.2, 0.6])
M = np.array([[2.5, 1.2, 0.3], [0.8, 3.1, 1.7], [0.1, 0.9, 4.4]])
T = np.linspace(0.2, 1.9, 24).reshape(2, 3, 4)[:, ::-1] ** 2


def written(write: Callable[..., None]) -> Callable[..., Any]:
    """Return a copy of an array after a function has written into it."""

    def function(v: Any) -> Any:
        a = v * 1.0
        write(a, v * v)
        return a

    return function


EXAMPLES: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "apply_over_axes": (lambda a: np.apply_over_axes(np.sum, a * a, [0]), M),
    "astype": (lambda a: np.astype(a, np.complex128) * 1j, M),
    "copyto": (
        written(lambda a, b: np.copyto(a, b, where=np.array([True, False, True, False]))),
        V,
    ),
    "cumulative_prod": (lambda a: np.cumulative_prod(a, axis=1, include_initial=True), M),
    "cumulative_sum": (lambda a: np.cumulative_sum(a, axis=0, include_initial=True), M),
    "divmod": (lambda a: np.divmod(a, 0.8)[1], V),
    "dsplit": (lambda a: np.dsplit(a * a, 2), T),
    "fill_diagonal": (written(lambda a, b: np.fill_diagonal(a, b[0, :2])), M),
    "geomspace": (lambda a: np.geomspace(a[0], a[1], 5), W),
    "histogram_bin_edges": (np.histogram_bin_edges, V),
    "intersect1d": (lambda v: np.intersect1d(v, v[:2]), V),
    "ix_": (lambda v: np.ix_(v * v, v), V),
    "ldexp": (lambda v: np.ldexp(v, 3), V),
    "logspace": (lambda a: np.logspace(a[0], a[1], 5), W),
    "matrix_transpose": (lambda a: np.matrix_transpose(a * a), M),
    "modf": (np.modf, V),
    "nanpercentile": (lambda v: np.nanpercentile(np.append(v, np.nan), 30), V),
    "nanquantile": (lambda v: np.nanquantile(np.append(v, np.nan), 0.3), V),
    "roots": (lambda v: np.sum(np.abs(np.roots(v)) ** 2), V),
    "place": (written(lambda a, b: np.place(a, np.array([True, False, True, True]), b[:2])), V),
    "poly": (np.poly, V),
    "polyadd": (lambda v: np.polyadd(v, v[:2] * v[0]), V),
    "polyder": (lambda v: np.polyder(v * v), V),
    "polydiv": (lambda v: np.polydiv(v, v[:2]), V),
    "polyint": (lambda v: np.polyint(v * v), V),
    "polymul": (lambda v: np.polymul(v, v[:2]), V),
    "polysub": (lambda v: np.polysub(v, v[:2] * v[0]), V),
    "put": (written(lambda a, b: np.put(a, [2, 0], b)), V),
    "put_along_axis": (
        written(lambda a, b: np.put_along_axis(a, np.array([[2, 0, 1]]), b[:1], 0)),
        M,
    ),
    "putmask": (written(lambda a, b: np.putmask(a, a > 0.5, b)), V),
    "real_if_close": (lambda v: np.real_if_close(v * v), V),
    "resize": (lambda v: np.resize(v * v, (3, 3)), V),
    "row_stack": (lambda v: np.vstack([v, v * v]), V),
    "setdiff1d": (lambda v: np.setdiff1d(v, v[:2]), V),
    "setxor1d": (lambda v: np.setxor1d(v, v[:2] * 2), V),
    "sort_complex": (lambda v: np.sort_complex(v * v), V),
    "trim_zeros": (lambda v: np.trim_zeros(v * v), V),
    "union1d": (lambda v: np.union1d(v, v * v), V),
    "unique": (lambda v: np.unique(np.append(v, v[0])), V),
    "unique_values": (np.unique_values, V),
    "unstack": (lambda a: np.unstack(a * a, axis=1), M),
    "vsplit": (lambda a: np.vsplit(a * a, 3), M),
    "linalg.cholesky": (lambda a: np.linalg.cholesky(a @ a.T), M),
    "linalg.cross": (lambda a: np.linalg.cross(a[0], a[1]), M),
    "linalg.diagonal": (lambda a: np.linalg.diagonal(a * a), M),
    "linalg.eig": (np.linalg.eig, M),
    "linalg.eigh": (np.linalg.eigh, M),
    "linalg.eigvals": (np.linalg.eigvals, M),
    "linalg.eigvalsh": (np.linalg.eigvalsh, M),
    "linalg.matmul": (lambda a: np.linalg.matmul(a, a), M),
    "linalg.matrix_transpose": (lambda a: np.linalg.matrix_transpose(a * a), M),
    "linalg.outer": (lambda v: np.linalg.outer(v, v), V),
    "linalg.qr": (np.linalg.qr, M),
    "linalg.tensordot": (lambda a: np.linalg.tensordot(a, a, axes=1), M),
    "linalg.tensorinv": (lambda a: np.linalg.tensorinv(a, ind=1), M),
    "linalg.tensorsolve": (lambda a: np.linalg.tensorsolve(a, a[0]), M),
    "linalg.trace": (lambda a: np.linalg.trace(a * a), M),
    "linalg.vecdot": (lambda a: np.linalg.vecdot(a, a), M),
    "fft.hfft": (np.fft.hfft, V),
    "fft.ifftn": (np.fft.ifftn, M),
    "fft.ihfft": (np.fft.ihfft, V),
    "fft.irfft2": (np.fft.irfft2, M),
    "fft.irfftn": (np.fft.irfftn, M),
    "fromiter": (lambda v: np.fromiter((a * a for a in v), float), V),
    "frompyfunc": (lambda v: np.frompyfunc(lambda a: a * a, 1, 1)(v), V),
}

REFUSED: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "asarray_chkfinite": (np.asarray_chkfinite, V),
    "asmatrix": (lambda a: np.asarray(np.asmatrix(a)), M),
    "bmat": (lambda a: np.asarray(np.bmat([[a, a]])), M),
    "frexp": (lambda v: np.frexp(v)[0], V),
    "kaiser": (lambda v: np.kaiser(4, v[0]), V),
    "nextafter": (lambda v: np.nextafter(v, 2.0), V),
    "require": (np.require, V),
    "spacing": (np.spacing, V),
    "unique_all": (lambda v: np.unique_all(v)[0], V),
    "unique_counts": (lambda v: np.unique_counts(v)[0], V),
    "unique_inverse": (lambda v: np.unique_inverse(v)[0], V),
    "histogram2d": (lambda v: np.histogram2d(v, v)[0], V),
}


def loss_of(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a number that depends on all results of a function."""

    def loss(x: Any) -> Any:
        found = function(x)
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        total = 0.0
        for i, y in enumerate(outputs):
            w = np.reshape(np.sin(1.0 + i + np.arange(np.size(y))), np.shape(y))
            total = total + np.sum(w * (np.real(y) + 0.3 * np.imag(y)))
        return total

    return loss


def test_every_function_has_a_kind() -> None:
    """A failure means that NumPy has functions that `numpy_table` does not know."""
    assert [name for name, kind in KINDS.items() if kind == "unknown"] == []


def test_every_differentiable_function_is_tested() -> None:
    named = dict(numpy_table.functions())
    untested = [
        name
        for name, kind in KINDS.items()
        if kind == "differentiable" and named[name] not in IN_TABLE and name not in EXAMPLES
    ]
    assert untested == []
    assert set(REFUSED) == set(numpy_table.REFUSED)


@pytest.mark.parametrize("name", EXAMPLES)
def test_differentiable(name: str) -> None:
    function, x = EXAMPLES[name]
    if name not in KINDS:
        pytest.skip("this NumPy does not have it")
    loss = loss_of(function)
    true, error = derivative_with_error(loss, x)
    bound = error + 1e4 * np.finfo(float).eps * np.max(np.abs(true))
    assert np.max(error) < 1e-7
    for backend in ("autograd", "autograd-forward"):
        found = gradlab.grad(loss, backend=backend)(x)
        assert np.all(np.abs(found - true) <= bound), backend


FLAT = [name for name, kind in KINDS.items() if kind == "flat"]
SECOND: dict[str, Callable[..., Any]] = {
    "array_equal": lambda f, x: f(x, x + 1.0),
    "digitize": lambda f, x: f(x, np.array([0.0, 1.0])),
    "histogramdd": lambda f, x: f(x[:, None])[0],
    "histogram": lambda f, x: f(x)[0],
    "argpartition": lambda f, x: f(x, 1),
    "lexsort": lambda f, x: f((x, x)),
    "searchsorted": lambda f, x: f(np.array([0.0, 1.0]), x),
    "linalg.matrix_rank": lambda f, x: f(np.outer(x, x)),
    "unravel_index": lambda f, x: f(np.argmax(x), (2, 2))[0],
    "ravel_multi_index": lambda f, x: f((np.argmax(x) // 2, np.argmax(x) % 2), (2, 2)),
}
BINARY = """
    allclose array_equiv equal floor_divide greater greater_equal heaviside isclose isin less
    less_equal logical_and logical_or logical_xor not_equal
""".split()


@pytest.mark.parametrize("name", FLAT)
def test_flat(name: str) -> None:
    function = dict(numpy_table.functions())[name]
    call = SECOND.get(name, lambda f, x: f(x, 0.8) if name in BINARY else f(x))

    def loss(x: Any) -> Any:
        return np.sum(x * x) + np.sum(1.0 * np.sum(np.asarray(call(function, x))))

    for backend in ("autograd", "autograd-forward"):
        np.testing.assert_array_equal(gradlab.grad(loss, backend=backend)(V), 2 * V)


@pytest.mark.parametrize("backend", ["autograd", "autograd-forward", "tape"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, backend: str) -> None:
    function, x = REFUSED[name]
    with pytest.raises(gradlab.GradlabError):
        gradlab.grad(loss_of(function), backend=backend)(x)


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    version = ".".join(np.__version__.split(".")[:2])
    if f"NumPy {version}" not in page:
        pytest.skip("the page is about another version of NumPy")
    assert numpy_table.table() in page, "run python tests/arrays/numpy_table.py"
