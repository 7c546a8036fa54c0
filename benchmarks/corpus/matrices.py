"""Linear algebra and solvers: derivatives from matrix calculus and by implicit differentiation.

The formulas are from Giles, *An extended collection of matrix derivative results for forward and
reverse mode algorithmic differentiation*, 2008.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from corpus.case import a, draw, factor, instead, plus, swapped, transposed
from corpus.outputs import VectorCase, edited, family, of_direction, of_leaf

KIND = "linear algebra"
SOLVER = "solvers"

inv = np.linalg.inv


def spd(seed: int, n: int) -> Any:
    m = draw(seed, n, n)
    return m @ m.T + n * np.eye(n)


def inverse_jvp(m: Any, v: Any) -> Any:
    return -inv(m) @ v @ inv(m)


def inverse_vjp(m: Any, u: Any) -> Any:
    return -inv(m).T @ u @ inv(m).T


def solve(p: Any) -> Any:
    return np.linalg.solve(p["A"], p["b"])


def solve_vjp(p: Any, u: Any) -> Any:
    w = np.linalg.solve(p["A"].T, u)
    return {"A": -np.outer(w, solve(p)), "b": w}


def solve_untransposed(p: Any, u: Any) -> Any:
    w = np.linalg.solve(p["A"], u)
    return {"A": -np.outer(w, solve(p)), "b": w}


def solve_jvp(p: Any, v: Any) -> Any:
    return np.linalg.solve(p["A"], v["b"] - v["A"] @ solve(p))


def half(m: Any) -> Any:
    """Return the lower triangle, with half of the diagonal."""
    return np.tril(m) - np.diag(np.diag(m)) / 2


def cholesky(m: Any) -> Any:
    return np.linalg.cholesky((m + m.T) / 2)


def cholesky_jvp(m: Any, v: Any) -> Any:
    low = cholesky(m)
    return low @ half(inv(low) @ ((v + v.T) / 2) @ inv(low).T)


def cholesky_whole_diagonal(m: Any, v: Any) -> Any:
    low = cholesky(m)
    return low @ np.tril(inv(low) @ ((v + v.T) / 2) @ inv(low).T)


def product(p: Any) -> Any:
    return p["A"] @ p["B"]


def product_vjp(p: Any, u: Any) -> Any:
    return {"A": u @ p["B"].T, "B": p["A"].T @ u}


def determinants(m: Any) -> Any:
    return np.array([np.linalg.det(m), np.trace(m @ m)])


def determinants_jacobian(m: Any) -> Any:
    return np.array([np.linalg.det(m) * inv(m).T, 2 * m.T])


def eigenvalues(m: Any) -> Any:
    return np.linalg.eigvalsh((m + m.T) / 2)


def eigenvalues_jacobian(m: Any) -> Any:
    q = np.linalg.eigh((m + m.T) / 2)[1]
    return np.einsum("ik,jk->kij", q, q)


def singular(m: Any) -> Any:
    return np.linalg.svd(m, compute_uv=False)


def singular_vjp(m: Any, u: Any) -> Any:
    left, _, right = np.linalg.svd(m, full_matrices=False)
    return left @ np.diag(u) @ right


def pseudo(m: Any) -> Any:
    return inv(m.T @ m) @ m.T


def pseudo_jvp(m: Any, v: Any) -> Any:
    g = inv(m.T @ m)
    return g @ (v.T - (v.T @ m + m.T @ v) @ g @ m.T)


def unit(x: Any) -> Any:
    return x / np.sqrt(np.sum(x**2))


def unit_jacobian(x: Any) -> Any:
    y, size = unit(x), np.sqrt(np.sum(x**2))
    return (np.eye(len(x)) - np.outer(y, y)) / size


def kron(p: Any) -> Any:
    return np.kron(p["A"], p["B"])


def kron_vjp(p: Any, u: Any) -> Any:
    (m, n), (r, s) = p["A"].shape, p["B"].shape
    blocks = u.reshape(m, r, n, s)
    return {
        "A": np.einsum("irjs,rs->ij", blocks, p["B"]),
        "B": np.einsum("irjs,ij->rs", blocks, p["A"]),
    }


def exponential(m: Any) -> Any:
    """Return the exponential of a small matrix by its Taylor series."""
    total = term = np.eye(len(m))
    for k in range(1, 25):
        term = term @ m / k
        total = total + term
    return total


def exponential_jvp(m: Any, v: Any) -> Any:
    n = len(m)
    block = np.block([[m, v], [np.zeros((n, n)), m]])
    return exponential(block)[:n, n:]


def linear_jacobian(x: Any, m: Any) -> Any:
    return m


def linear(x: Any, m: Any) -> Any:
    return m @ x


SQUARE = draw(31, 3, 3) + 2 * np.eye(3)
SYSTEM = {"A": draw(32, 3, 3) + 3 * np.eye(3), "b": draw(33, 3)}
TWO = {"A": draw(34, 2, 3), "B": draw(35, 3, 2)}
ALIKE = {"A": draw(36, 2, 2), "B": draw(37, 2, 2)}
TALL = draw(38, 4, 2)

ALGEBRA: list[VectorCase] = [
    *family(
        KIND, "the inverse", inv, SQUARE, "jvp", inverse_jvp,
        factor(-1), instead("as of commuting matrices", lambda m, v: -inv(m @ m) @ v),
        of_direction("of the transpose", np.transpose),
    ),
    *family(
        KIND, "the inverse", inv, SQUARE, "vjp", inverse_vjp,
        instead("without transposes", lambda m, u: -inv(m) @ u @ inv(m)),
        plus(1e-5, "params", (2, 0)),
    ),
    *family(
        KIND, "a linear system", solve, SYSTEM, "vjp", solve_vjp,
        instead("not transposed", solve_untransposed), transposed("A"), factor(-1, "A"),
    ),
    *family(
        KIND, "a linear system", solve, SYSTEM, "jvp", solve_jvp,
        instead("the matrix is a constant", lambda p, v: np.linalg.solve(p["A"], v["b"])),
    ),
    *family(
        KIND, "Cholesky's factor", cholesky, spd(39, 3), "jvp", cholesky_jvp,
        instead("the diagonal counted whole", cholesky_whole_diagonal),
        instead("half of it missing", lambda m, v: cholesky_jvp(m, np.tril(v))),
        reference="differences",
    ),
    *family(
        KIND, "a product", product, TWO, "vjp", product_vjp,
        of_leaf("A", "twice", lambda g: 2 * g), factor(0, "B", (2, 1)),
    ),
    *family(
        KIND, "a product of square matrices", product, ALIKE, "vjp", product_vjp,
        swapped("A", "B"), transposed("A"),
        instead("not transposed", lambda p, u: {"A": u @ p["B"], "B": p["A"] @ u}),
    ),
    *family(
        KIND, "determinant and trace", determinants, SQUARE, "jacobian", determinants_jacobian,
        edited("transposed", lambda j: j.swapaxes(1, 2)),
        edited("the first row halved", lambda j: j * a(0.5, 1)[:, None, None]),
    ),
    *family(
        KIND, "eigenvalues", eigenvalues, spd(40, 3), "jacobian", eigenvalues_jacobian,
        edited("in the other order", lambda j: j[::-1].copy()),
        edited("the lower triangle alone", np.tril), reference="differences",
    ),
    *family(
        KIND, "singular values", singular, TALL, "vjp", singular_vjp,
        edited("its sign", np.negative),
        instead("of the last alone", lambda m, u: singular_vjp(m, u * a(0, 1))),
        reference="differences",
    ),
    *family(
        KIND, "the pseudoinverse", pseudo, TALL, "jvp", pseudo_jvp,
        instead("one term of two", lambda m, v: inv(m.T @ m) @ (v.T - v.T @ m @ pseudo(m))),
        factor(1.0001),
    ),
    *family(
        KIND, "a unit vector", unit, draw(41, 4), "jacobian", unit_jacobian,
        edited("without the projection", lambda j: np.diag(np.diag(j))),
        edited("one entry off by 1e-6", lambda j: j + 1e-6 * np.eye(4, k=3)),
    ),
    *family(
        KIND, "Kronecker's product", kron, ALIKE, "vjp", kron_vjp,
        swapped("A", "B"), transposed("B"),
    ),
    *family(
        KIND, "the exponential", exponential, draw(42, 2, 2, scale=0.5), "jvp", exponential_jvp,
        instead("as of commuting matrices", lambda m, v: exponential(m) @ v),
    ),
    *family(
        KIND, "a matrix times a vector", linear, draw(43, 4), "jacobian", linear_jacobian,
        edited("transposed", np.transpose), edited("symmetrised", lambda j: (j + j.T) / 2),
        edited("one row's sign", lambda j: j * a(1, 1, -1, 1)[:, None]), args=(draw(44, 4, 4),),
    ),
]  # fmt: skip


# Solvers


def fixed_point(p: Any) -> Any:
    x = np.zeros(len(p["b"]))
    for _ in range(80):
        x = np.tanh(p["A"] @ x + p["b"])
    return x


def fixed_point_vjp(p: Any, u: Any) -> Any:
    x = fixed_point(p)
    d = 1 - x**2
    w = d * np.linalg.solve(np.eye(len(x)) - (d[:, None] * p["A"]).T, u)
    return {"A": np.outer(w, x), "b": w}


def fixed_point_one_step(p: Any, u: Any) -> Any:
    x = fixed_point(p)
    w = u * (1 - x**2)
    return {"A": np.outer(w, x), "b": w}


def kepler(p: Any) -> Any:
    """Return the eccentric anomaly by Newton's method."""
    e = p["M"] + 0 * p["e"]
    for _ in range(12):
        e = e - (e - p["e"] * np.sin(e) - p["M"]) / (1 - p["e"] * np.cos(e))
    return e


def kepler_jvp(p: Any, v: Any) -> Any:
    e = kepler(p)
    return (v["M"] + np.sin(e) * v["e"]) / (1 - p["e"] * np.cos(e))


def euler(p: Any) -> Any:
    y = p["y"]
    for _ in range(10):
        y = y + 0.1 * np.sin(p["k"] @ y)
    return y


def euler_vjp(p: Any, u: Any, steps: int = 10) -> Any:
    states = [p["y"]]
    for _ in range(10):
        states.append(states[-1] + 0.1 * np.sin(p["k"] @ states[-1]))
    d, dk = u, np.zeros(p["k"].shape)
    for y in states[9 : 9 - steps if steps < 10 else None : -1]:
        inner = 0.1 * np.cos(p["k"] @ y) * d
        dk += np.outer(inner, y)
        d = d + p["k"].T @ inner
    return {"y": d, "k": dk}


def euler_at_the_end(p: Any, u: Any) -> Any:
    y = euler(p)
    d, dk = u, np.zeros(p["k"].shape)
    for _ in range(10):
        inner = 0.1 * np.cos(p["k"] @ y) * d
        dk += np.outer(inner, y)
        d = d + p["k"].T @ inner
    return {"y": d, "k": dk}


def least_squares(p: Any) -> Any:
    return np.linalg.solve(p["A"].T @ p["A"] + 0.1 * np.eye(2), p["A"].T @ p["b"])


def least_squares_jvp(p: Any, v: Any) -> Any:
    m, x = p["A"], least_squares(p)
    right = v["A"].T @ (p["b"] - m @ x) + m.T @ (v["b"] - v["A"] @ x)
    return np.linalg.solve(m.T @ m + 0.1 * np.eye(2), right)


def least_squares_fixed(p: Any, v: Any) -> Any:
    return least_squares_jvp(p, {**v, "A": 0 * v["A"]})


def least_squares_no_residual(p: Any, v: Any) -> Any:
    m, x = p["A"], least_squares(p)
    return np.linalg.solve(m.T @ m + 0.1 * np.eye(2), m.T @ (v["b"] - v["A"] @ x))


def root(x: Any) -> Any:
    """Return the square root by Heron's method."""
    y = 1 + 0 * x
    for _ in range(30):
        y = (y + x / y) / 2
    return y


def smooth(p: Any) -> Any:
    """Return four steps of Jacobi's iteration, which are differentiated; it has not converged."""
    x = 0 * p["b"]
    for _ in range(4):
        x = (p["b"] - p["A"] @ x) / 4
    return x


def smooth_jvp(p: Any, v: Any) -> Any:
    x, d = 0 * p["b"], np.zeros(len(p["b"]))
    for _ in range(4):
        x, d = (p["b"] - p["A"] @ x) / 4, (v["b"] - v["A"] @ x - p["A"] @ d) / 4
    return d


def smooth_implicit(p: Any, v: Any) -> Any:
    return np.linalg.solve(4 * np.eye(3) + p["A"], v["b"] - v["A"] @ smooth(p))


POINT = {"A": draw(51, 3, 3, scale=0.2), "b": draw(52, 3)}
ORBIT = {"M": a(0.3, 1.2, 2.5), "e": a(0.1, 0.4, 0.6)}
FLOW = {"y": draw(53, 3), "k": draw(54, 3, 3)}
FIT = {"A": draw(55, 5, 2), "b": draw(56, 5)}

SOLVERS: list[VectorCase] = [
    *family(
        SOLVER, "a fixed point", fixed_point, POINT, "vjp", fixed_point_vjp,
        instead("one step of it", fixed_point_one_step), transposed("A"), factor(1.01, "b"),
    ),
    *family(
        SOLVER, "Kepler's equation", kepler, ORBIT, "jvp", kepler_jvp,
        instead("one step of it", lambda p, v: v["M"] + np.sin(kepler(p)) * v["e"]),
        instead("the sign of e", lambda p, v: kepler_jvp(p, {"M": v["M"], "e": -v["e"]})),
    ),
    *family(
        SOLVER, "Euler's method", euler, FLOW, "vjp", euler_vjp,
        instead("along the last state", euler_at_the_end),
        instead("the first step is missing", lambda p, u: euler_vjp(p, u, 9)),
    ),
    *family(
        SOLVER, "the end of a decay", lambda p: p["y"] / (1 + p["k"] * p["y"] * 0.5),
        {"y": a(1, 2), "k": a(0.5, 1.5)}, "jvp",
        lambda p, v: (v["y"] - 0.5 * p["y"] ** 2 * v["k"]) / (1 + p["k"] * p["y"] * 0.5) ** 2,
        instead("the rate is a constant", lambda p, v: v["y"] / (1 + p["k"] * p["y"] * 0.5) ** 2),
        factor(1 + 1e-6),
    ),
    *family(
        SOLVER, "ridge regression", least_squares, FIT, "jvp", least_squares_jvp,
        instead("the residual's term is missing", least_squares_no_residual),
        instead("the data are constants", least_squares_fixed),
    ),
    *family(
        SOLVER, "Heron's root", root, a(0.5, 2, 3), "jacobian", lambda x: np.diag(0.5 / np.sqrt(x)),
        edited("twice", lambda j: 2 * j),
        edited("the diagonal off by 1e-6", lambda j: j + 1e-6 * np.eye(3)),
    ),
    *family(
        SOLVER, "an unfinished iteration", smooth, POINT, "jvp", smooth_jvp,
        instead("as if it had converged", smooth_implicit),
    ),
]  # fmt: skip

CASES = [*ALGEBRA, *SOLVERS]
