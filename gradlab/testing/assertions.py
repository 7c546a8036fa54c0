"""Assertions that end a test: gradients that agree, numbers within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from gradlab.checking import check_gradients
from gradlab.errors import OptionError
from gradlab.gradients.protocol import Backend, Loss
from gradlab.params import entry, flatten, leaves_like
from gradlab.testing.bounds import unchecked


def assert_gradients_agree(
    loss: Loss,
    params: Any,
    *args: Any,
    gradient: str | Backend | Callable[..., Any] | Any,
    mode: Literal["auto", "entries", "directional"] = "auto",
    seed: int | np.random.Generator = 0,
    dtype: DTypeLike | None = None,
    in_place: bool = False,
    allow: float = 0.0,
    convention: Literal["jax", "torch"] | None = None,
    allow_inconclusive: bool = False,
) -> None:
    """Assert that a gradient is that of its loss, as `gradlab.check_gradients` finds it.

    There is no tolerance to choose. A valid choice at a kink of the loss is right, too.

    Parameters
    ----------
    loss, params, *args, mode, seed, dtype, in_place, allow, convention
        See `gradlab.check_gradients`.
    gradient : str, Backend, callable or structure of arrays
        What is checked: a function ``gradient(params, *args)``, a backend, or the numbers.
    allow_inconclusive : bool
        Whether a test passes where the loss cannot resolve its own slope, so that nothing was
        tested.

    Raises
    ------
    GradientMismatchError
        If the gradient is wrong: an AssertionError with the report as its message and in its
        attribute ``report``.
    AssertionError
        If the check was inconclusive, unless that is allowed.
    ParameterError, LossError, NonFiniteError, BackendError, OptionError
        See `gradlab.check_gradients`.

    Examples
    --------
    A test of a gradient by hand, at points that hypothesis draws, to be run by pytest:

    >>> from hypothesis import given
    >>> from hypothesis import strategies as st
    >>> def loss(w, x):
    ...     return np.log1p(np.exp(x @ w)).mean()
    >>> def gradient(w, x):
    ...     return x.T @ (1 / (1 + np.exp(-x @ w))) / len(x)
    >>> @given(n=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
    ... def test_gradient(n, seed):
    ...     rng = np.random.default_rng(seed)
    ...     w, x = rng.standard_normal(3), rng.standard_normal((n, 3))
    ...     assert_gradients_agree(loss, w, x, gradient=gradient)
    >>> test_gradient()

    The error says what is wrong, and often why:

    >>> w, x = np.array([0.5, -0.25, 1.0]), np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    >>> assert_gradients_agree(loss, w, x, gradient=lambda w, x: len(x) * gradient(w, x))
    Traceback (most recent call last):
    gradlab.errors.GradientMismatchError: mismatch: all 3 entries of the gradient are wrong
      params: 2 times too large: a sum for a mean?
    ...
    """
    __tracebackhide__ = True  # pytest shows the test's own line
    report = check_gradients(
        loss,
        params,
        *args,
        gradient=gradient,
        mode=mode,
        seed=seed,
        dtype=dtype,
        in_place=in_place,
        allow=allow,
        convention=convention,
    )
    report.raise_for_mismatch()
    if report.verdict == "inconclusive" and not allow_inconclusive:
        raise AssertionError(
            f"{report}\nNothing was tested; allow_inconclusive=True lets such a test pass."
        )


def assert_within(found: Any, wanted: Any, bound: Any) -> None:
    """Assert |found − wanted| <= bound for every entry of structures of arrays.

    Parameters
    ----------
    found, wanted, bound : Any
        Structures of the same paths and shapes; the entries of `bound` may be infinite.

    Raises
    ------
    AssertionError
        Naming the entry that is furthest out.

    Examples
    --------
    >>> assert_within({"w": np.ones(2)}, {"w": np.array([1.0, 1.1])}, {"w": np.full(2, 0.01)})
    Traceback (most recent call last):
    AssertionError: w[1] is 1.0; expected 1.1 ± 0.01 (the difference is 10 times the bound)
    """
    wanted_leaves, structure = flatten(wanted)
    found_leaves = leaves_like(wanted, found, "what was found")
    bounds, bound_structure = flatten(bound, unchecked)
    if sorted(structure.paths) != sorted(bound_structure.paths):
        raise OptionError(f"the bound has {bound_structure.paths}; expected {structure.paths}")
    by_path = dict(zip(bound_structure.paths, bounds, strict=True))
    worst, message = 1.0, ""
    for path, a, b in zip(structure.paths, found_leaves, wanted_leaves, strict=True):
        limit = np.broadcast_to(by_path[path], a.shape)
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(apart == 0, 0.0, apart / limit)
        if ratio.size and ratio.max() > worst:
            worst = float(ratio.max())
            index = tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))
            message = (
                f"{entry(path, index)} is {a[index]}; expected {b[index]} ± {limit[index]:.3g} "
                f"(the difference is {worst:.3g} times the bound)"
            )
    if message:
        raise AssertionError(message)
