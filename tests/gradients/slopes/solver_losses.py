"""Losses with a solver inside, and their exact derivatives.

A solver stops at a tolerance. Its result jumps where it takes another number of steps; between two
jumps, it has the slope of a truncated calculation. The reference is the derivative of the exact
solution. It comes from the implicit function theorem, from a closed form, or, for differential
equations, from a complex step through a solution of 12 digits.

All of these losses jump within a quarter of a parameter, or are solved to round-off. If a solver
takes the same steps everywhere, as one with a fixed step does, its error is smooth, and no values
show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import integrate, optimize

Vector = Any


@dataclass(frozen=True)
class Solver:
    """A loss, a point, and the exact derivative at this point."""

    name: str
    loss: Callable[[Vector], float]
    derivative: Callable[[Vector], Vector]
    point: tuple[float, ...]


SOLVERS: list[Solver] = []


def add(name: str, loss: Any, derivative: Any, *point: float) -> None:
    SOLVERS.append(Solver(name, loss, derivative, point))


def converged(step: Callable[[float], float], start: float) -> float:
    """Return the fixed point of a contraction, to round-off."""
    x = start
    for _ in range(5000):
        x = step(x)
    return x


# Differential equations

COMPLEX_STEP = 1e-30


def by_complex_step(loss: Callable[..., Any]) -> Callable[[Vector], Vector]:
    """Differentiate a solution of an explicit method of order 8, to 12 digits."""

    def derivative(p: Vector) -> Vector:
        unit = np.eye(len(p))
        exact = {"method": "DOP853", "rtol": 3e-14, "atol": 1e-14}
        return (
            np.array([loss(p + 1j * COMPLEX_STEP * e, **exact).imag for e in unit]) / COMPLEX_STEP
        )

    return derivative


def end(f: Any, span: Any, start: Any, **options: Any) -> Vector:
    """Return the state at the end of a time span."""
    return integrate.solve_ivp(f, span, start, **options).y[:, -1]


def prey(p: Vector, **options: Any) -> Any:
    """Return prey and predators (Lotka and Volterra) after a cycle."""
    a, b = p
    start = np.array([1.0, 0.5]) + 0 * p
    y = end(lambda t, y: [a * y[0] - y[0] * y[1], b * y[0] * y[1] - y[1]], (0, 6), start, **options)
    return y[0] + 0.5 * y[1]


def stiff(p: Vector, **options: Any) -> Any:
    """Return the result of a slow and a fast reaction."""
    k1, k2 = p

    def f(t: float, y: Vector) -> list[Any]:
        slow, fast = k1 * y[0], 1e3 * k2 * y[1] * y[1]
        return [-slow, slow - fast]

    y = end(f, (0, 2), np.array([1.0, 0.0]) + 0 * p, **options)
    return y[0] + 10 * y[1]


def epidemic(p: Vector, **options: Any) -> Any:
    """Return a sum of squares over the days of an epidemic, interpolated by the solver."""
    days = np.linspace(1, 19, 10)

    def f(t: float, y: Vector) -> list[Any]:
        return [-p[0] * y[0] * y[1], p[0] * y[0] * y[1] - p[1] * y[1]]

    start = np.array([0.99, 0.01]) + 0 * p
    found = integrate.solve_ivp(f, (0, 20), start, t_eval=days, **options).y[1]
    return np.sum((found - 0.1) ** 2)


TOLERANCES = {
    "RK45": (1e-3, 1e-4),
    "DOP853": (1e-3,),
    "Radau": (1e-3,),
    "BDF": (1e-4,),
    "LSODA": (1e-3, 1e-4, 1e-6),
}

for method, tolerances in TOLERANCES.items():
    for rtol in tolerances:

        def solved(p: Vector, method: str = method, rtol: float = rtol) -> float:
            return float(prey(p, method=method, rtol=rtol, atol=1e-3 * rtol))

        add(f"prey, {method} to {rtol:g}", solved, by_complex_step(prey), 0.6, 1.1)

for method in ("Radau", "BDF", "LSODA"):
    add(
        f"stiff, {method}",
        lambda p, method=method: float(stiff(p, method=method)),
        by_complex_step(stiff),
        0.7,
        1.3,
    )

add(
    "epidemic, LSODA",
    lambda p: float(epidemic(p, method="LSODA")),
    by_complex_step(epidemic),
    0.9,
    0.4,
)


# Integrals


def peak(p: Vector) -> float:
    c, w = p
    return float(integrate.quad(lambda x: w / ((x - c) ** 2 + w * w), 0, 1)[0])


def slope_of_peak(p: Vector) -> Vector:
    c, w = p
    right, left = (1 - c) ** 2 + w * w, c * c + w * w
    return np.array([w / left - w / right, -(1 - c) / right - c / left])


add("quad of a peak", peak, slope_of_peak, 0.3, 0.01)
add(
    "quad of a step",
    lambda p: float(integrate.quad(lambda x: float(x > p[0]) * x * x, 0, 1, limit=40)[0]),
    lambda p: np.array([-(p[0] ** 2)]),
    0.37,
)


def simpson(f: Callable[[float], float], a: float, b: float, tolerance: float) -> float:
    """Integrate by adaptive Simpson quadrature, in the textbook form."""
    m = (a + b) / 2
    whole = (b - a) / 6 * (f(a) + 4 * f(m) + f(b))
    left = (m - a) / 6 * (f(a) + 4 * f((a + m) / 2) + f(m))
    right = (b - m) / 6 * (f(m) + 4 * f((m + b) / 2) + f(b))
    if abs(left + right - whole) < 15 * tolerance:
        return left + right + (left + right - whole) / 15
    return simpson(f, a, m, tolerance / 2) + simpson(f, m, b, tolerance / 2)


for tolerance in (1e-3, 1e-6):
    add(
        f"adaptive Simpson to {tolerance:g}",
        lambda p, tolerance=tolerance: simpson(
            lambda x: p[1] / ((x - p[0]) ** 2 + p[1] ** 2), 0, 1, tolerance
        ),
        slope_of_peak,
        0.3,
        0.05,
    )


# Equations of one number: x³ + a x = 1


def root(a: float) -> float:
    return converged(lambda x: x - (x**3 + a * x - 1) / (3 * x * x + a), 0.5)


def slope_of_root(p: Vector) -> Vector:
    x = root(p[0])
    return np.array([-x / (3 * x * x + p[0]) * math.exp(x)])


def bracketed(method: Callable[..., Any], **options: Any) -> Callable[[Vector], float]:
    return lambda p: math.exp(method(lambda x: x**3 + p[0] * x - 1, 0, 1, **options))


for name, method, options in (
    ("brentq to 1e-8", optimize.brentq, {"xtol": 1e-8}),
    ("brentq", optimize.brentq, {}),
    ("bisect to 1e-3", optimize.bisect, {"xtol": 1e-3}),
    ("bisect to 1e-6", optimize.bisect, {"xtol": 1e-6}),
    ("bisect to 1e-9", optimize.bisect, {"xtol": 1e-9}),
    ("bisect", optimize.bisect, {}),
    ("toms748 to 1e-5", optimize.toms748, {"xtol": 1e-5}),
):
    add(name, bracketed(method, **options), slope_of_root, 1.3)


def newton(p: Vector, **options: Any) -> float:
    return math.exp(optimize.newton(lambda x: x**3 + p[0] * x - 1, 0.5, **options))


add("newton, the secant method", newton, slope_of_root, 1.3)
add("newton, the secant method to 1e-3", lambda p: newton(p, tol=1e-3), slope_of_root, 1.3)
add(
    "newton with a derivative",
    lambda p: newton(p, fprime=lambda x: 3 * x * x + p[0], tol=1e-4),
    slope_of_root,
    1.3,
)


def heron(p: Vector, tolerance: float) -> float:
    """Return the square root by Newton's method."""
    x = 1.0
    while True:
        x, before = (x + p[0] / x) / 2, x
        if abs(x - before) < tolerance:
            return x


for tolerance in (1e-3, 1e-4, 1e-6, 1e-10):
    add(
        f"Heron's square root to {tolerance:g}",
        lambda p, tolerance=tolerance: heron(p, tolerance),
        lambda p: np.array([0.5 / math.sqrt(p[0])]),
        1.7,
    )


# Kepler's equation E − e sin E = M


def slope_of_kepler(p: Vector) -> Vector:
    m, e = p
    angle = converged(lambda x: x - (x - e * math.sin(x) - m) / (1 - e * math.cos(x)), m)
    by_angle = -math.sin(angle)
    return by_angle * np.array([1.0, math.sin(angle)]) / (1 - e * math.cos(angle))


def kepler_by_bisection(p: Vector) -> float:
    low, high = 0.0, 2 * math.pi
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (middle, high) if middle - p[1] * math.sin(middle) < p[0] else (low, middle)
    return math.cos((low + high) / 2)


def kepler_by_newton(p: Vector) -> float:
    x, step = p[0], 1.0
    while abs(step) >= 1e-8:
        step = (x - p[1] * math.sin(x) - p[0]) / (1 - p[1] * math.cos(x))
        x -= step
    return math.cos(x)


add("Kepler by bisection", kepler_by_bisection, slope_of_kepler, 1.0, 0.3)
add("Kepler by Newton", kepler_by_newton, slope_of_kepler, 1.0, 0.3)


# Fixed points


def cosine(p: Vector, tolerance: float) -> float:
    x = 0.5
    while abs(math.cos(p[0] * x) - x) >= tolerance:
        x = math.cos(p[0] * x)
    return math.cos(p[0] * x)


def slope_of_cosine(p: Vector) -> Vector:
    x = converged(lambda x: math.cos(p[0] * x), 0.5)
    return np.array([-x * math.sin(p[0] * x) / (1 + p[0] * math.sin(p[0] * x))])


for tolerance in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
    add(
        f"cos(a x) = x by iteration to {tolerance:g}",
        lambda p, tolerance=tolerance: cosine(p, tolerance),
        slope_of_cosine,
        0.9,
    )


# Minima and systems: (x − a)² + b x⁴, and so 2 (x − a) + 4 b x³ = 0


def minimum(p: Vector) -> float:
    a, b = p
    return converged(lambda x: x - (2 * (x - a) + 4 * b * x**3) / (2 + 12 * b * x * x), a)


def slope_of_minimum(p: Vector) -> Vector:
    x = minimum(p)
    return -np.array([-2.0, 4 * x**3]) / (2 + 12 * p[1] * x * x)


def objective(p: Vector) -> Callable[[Any], float]:
    return lambda x: float(np.sum((x - p[0]) ** 2 + p[1] * x**4))


add(
    "place of a minimum, Brent",
    lambda p: float(optimize.minimize_scalar(objective(p)).x),
    slope_of_minimum,
    1.2,
    0.3,
)
add(
    "place of a minimum, Nelder-Mead",
    lambda p: float(optimize.minimize(objective(p), [0.5], method="Nelder-Mead").x[0]),
    slope_of_minimum,
    1.2,
    0.3,
)


def descended(p: Vector) -> float:
    x = 0.0
    while True:
        step = 0.1 * (2 * (x - p[0]) + 4 * p[1] * x**3)
        x -= step
        if abs(step) < 1e-5:
            return x


add("place of a minimum, gradient descent", descended, slope_of_minimum, 1.2, 0.3)


def circles(p: Vector, x: Vector) -> list[Any]:
    """Return the residuals of a circle of radius a and an ellipse."""
    return [x[0] ** 2 + x[1] ** 2 - p[0] ** 2, x[0] ** 2 + x[0] * x[1] / 2 - p[1] * x[1]]


def slope_of_circles(p: Vector) -> Vector:
    x = optimize.root(lambda x: circles(p, x), [1.0, 1.0], tol=1e-15).x
    by_x = np.array([[2 * x[0], 2 * x[1]], [2 * x[0] + x[1] / 2, x[0] / 2 - p[1]]])
    by_p = np.array([[-2 * p[0], 0.0], [0.0, -x[1]]])
    return -np.linalg.solve(by_x, by_p)[0]


for name in ("lm", "broyden1"):
    add(
        f"two equations, {name}",
        lambda p, name=name: float(
            optimize.root(lambda x: circles(p, x), [1.0, 1.0], method=name).x[0]
        ),
        slope_of_circles,
        1.5,
        0.8,
    )


# Linear algebra by iteration


def matrix(p: Vector) -> Vector:
    a, b = p
    return np.array([[3.0, a, 0.2], [a, 2.0, b], [0.2, b, 1.5]])


RIGHT = np.array([1.0, -0.5, 2.0])
UNITS = np.array([[[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1], [0, 1, 0]]], float)


def jacobi(p: Vector, tolerance: float) -> float:
    a, x = matrix(p), np.zeros(3)
    while True:
        step = (RIGHT - a @ x) / np.diag(a)
        x = x + step
        if np.abs(step).max() < tolerance:
            return float(x.sum())


def slope_of_system(p: Vector) -> Vector:
    a = matrix(p)
    x, u = np.linalg.solve(a, RIGHT), np.linalg.solve(a, np.ones(3))
    return np.array([-u @ unit @ x for unit in UNITS])


for tolerance in (1e-4, 1e-5, 1e-7):
    add(
        f"a linear system, Jacobi to {tolerance:g}",
        lambda p, tolerance=tolerance: jacobi(p, tolerance),
        slope_of_system,
        0.5,
        0.4,
    )
