"""SciPy's `check_grad` by measured slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.checking.check import check_gradients
from gradlab.checking.derivatives import check_derivatives
from gradlab.checking.report import GradientReport
from gradlab.checking.tables import headline
from gradlab.errors import OptionError, ParameterError
from gradlab.params import Array
from gradlab.seeding import generator


class Distance(float):
    """The norm of the difference between a gradient and the slopes of its function.

    Attributes
    ----------
    report : GradientReport or None
        What the check found.
    """

    report: GradientReport | None

    def __new__(cls, norm: float, report: GradientReport | None = None) -> Distance:
        """Return the number with its report."""
        found = super().__new__(cls, norm)
        found.report = report
        return found

    def __repr__(self) -> str:
        number, report = float.__repr__(self), self.report
        if report is None or report.ok:
            return number
        return f"{number} ({report.verdict}: {headline(report)})"

    __str__ = float.__repr__


def check_grad(
    func: Callable[..., Any],
    grad: Callable[..., Any],
    x0: Any,
    *args: Any,
    epsilon: float | None = None,
    direction: str = "all",
    rng: int | np.random.Generator | None = None,
    seed: int | np.random.Generator | None = None,
) -> float:
    """Return the distance between a gradient and the slopes of its function.

    Parameters
    ----------
    func : callable
        ``func(x0, *args)`` returns a number, or a vector of shape (m,).
    grad : callable
        ``grad(x0, *args)`` returns the gradient, shape (n,), or the Jacobian, shape (m, n).
    x0 : array_like, shape (n,)
        The point of the check.
    *args
        Further arguments of both functions.
    epsilon : float, optional
        Accepted, but without effect: steps follow from the function's values.
    direction : {"all", "random"}
        Every entry; or, if the function returns a number, the slope along a random direction.
    rng, seed : int or Generator, optional
        Draws the direction; by default always the same one.

    Returns
    -------
    float
        The norm of the difference. An entry counts as 0 if the gradient is a valid choice at a
        kink, and as infinite if the function cannot resolve its slope.

    Raises
    ------
    OptionError, ParameterError, LossError, NonFiniteError
        If an option, the point, the function or the gradient cannot be used.

    Examples
    --------
    >>> def func(x):
    ...     return x[0] ** 2 - 0.5 * x[1] ** 3
    >>> def grad(x):
    ...     return [2 * x[0], -1.5 * x[1] ** 2]
    >>> check_grad(func, grad, [1.5, -1.5]) < 1e-10
    True
    >>> check_grad(func, lambda x: [2 * x[0], 1.5 * x[1] ** 2], [1.5, -1.5])
    6.75... (mismatch: 1 of 2 entries of the gradient is wrong)
    """
    x = np.asarray(x0, float)
    if direction == "random":
        given = seed if rng is None else rng
        return _along(func, grad, x, args, generator(0 if given is None else given))
    if direction != "all":
        raise OptionError(f"direction={direction!r}: choose all or random")
    if np.size(func(x.copy(), *args)) == 1:

        def gradient(x: Array, *args: Any) -> Array:
            return np.reshape(grad(x, *args), x.shape)

        def loss(x: Array, *args: Any) -> Any:
            return np.reshape(func(x, *args), ())

        return _norm(check_gradients(loss, x, *args, gradient=gradient, mode="entries"))

    def jacobian(x: Array, *args: Any) -> Array:
        return np.asarray(grad(x, *args))

    return _norm(check_derivatives(func, x, *args, jacobian=jacobian, mode="entries"))


def _along(
    func: Callable[..., Any],
    grad: Callable[..., Any],
    x: Array,
    args: tuple[Any, ...],
    rng: np.random.Generator,
) -> Distance:
    """Return the error of the slope along a random direction."""
    found = np.asarray(grad(x.copy(), *args))
    if found.shape != x.shape:
        raise ParameterError(
            f"the gradient has shape {found.shape}; direction='random' expects {x.shape}"
        )
    v = rng.standard_normal(x.shape)

    def loss(t: Array) -> Any:
        return np.reshape(func(x + t * v, *args), ())

    return _norm(check_gradients(loss, 0.0, gradient=float(np.sum(found * v))))


def _norm(report: GradientReport) -> Distance:
    """Return the norm of the differences between the claimed entries and the measured ones."""
    known = {"kink": 0.0, "inconclusive": np.inf}
    gaps = [known.get(e.verdict, abs(e.analytic - e.numerical)) for e in report.entries]
    norm = float(np.linalg.norm(gaps))
    return Distance(np.inf if np.isnan(norm) else norm, report)
