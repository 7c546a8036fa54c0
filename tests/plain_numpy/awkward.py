"""Losses that cannot be traced: numbers leave NumPy on the way, or are written into plain arrays.

A backend that traces refuses them; one that evaluates them at numbers has them right. The second
part is code that most libraries trip over, though it can be traced with some care.
"""

import copy
import json
import math
from importlib.util import find_spec

import numpy as np

from .registry import below, loss, normal, uniform


@loss(normal(3))
def math_sine(x):
    return math.sin(x[0]) + math.exp(x[1]) * x[2]


@loss(normal(3))
def float_of_entries(x):
    return float(x[0]) * 2 + sum(float(v) ** 2 for v in x)


@loss(normal(3))
def list_of_item(x):
    return sum(v * v for v in x.tolist()) + x[0].item()


@loss(normal(4), uniform(1, 2, 4))
def filled_by_math(x, scale):
    out = np.zeros(4)
    for i in range(4):
        out[i] = math.tanh(x[i] * scale[i])
    return out.sum()


if find_spec("scipy"):

    @loss(uniform(0.5, 1.5, 2), untraceable=True)
    def scipy_solve_ivp(theta):
        from scipy.integrate import solve_ivp

        sol = solve_ivp(lambda t, y: -theta[0] * y, (0, 1), [theta[1]], rtol=1e-11, atol=1e-13)
        return sol.y[0, -1]


@loss(normal(4), untraceable=True)
def text_of_numbers(x):
    weights = json.loads(json.dumps([float(v) for v in x]))
    return sum(w**2 for w in weights)


@loss(normal(3))
def math_fsum(x):
    return math.fsum(x) ** 2 + math.sqrt(x[0] ** 2 + 1)


class Table:
    """Columns by name, in plain arrays of its own, as data frames have them."""

    def __init__(self, **columns):
        self.columns = {name: np.array(column, dtype="float64") for name, column in columns.items()}

    def __getitem__(self, name):
        return self.columns[name]

    def mean(self):
        return {name: float(column.mean()) for name, column in self.columns.items()}


@loss({"a": normal(3), "b": normal(3)})
def table_of_columns(p):
    table = Table(a=p["a"], b=np.exp(p["b"]))
    return table.mean()["a"] * table.mean()["b"]


@loss(normal(3), untraceable=True)
def formatted_and_parsed(x):
    return sum(float(f"{v:.17g}") * k for k, v in enumerate(x))


# ---------------------------------------------------------------- to be traced with care


@loss(normal(4))
def items_into_plain_zeros(x):
    out = np.zeros(4)
    for i in range(4):
        out[i] = x[i] ** 2
    return np.sum(out * np.arange(4))


@loss(normal(3))
def items_into_a_matrix(x):
    J = np.zeros((3, 3))
    J[0, :] = x
    J[np.arange(3), np.arange(3)] += x**2
    return np.trace(J @ J.T)


@loss(normal(4), normal(4))
def data_array_overwritten(w, x):
    z = x.copy()
    z *= w
    return np.sum(z**2)


@loss(normal(3))
def list_with_plain_numbers(x):
    return np.mean([x[0], 1.0, x[1] * x[2], 3])


@loss((normal(), normal(2)))
def ragged_then_hstack(p):
    a, b = p
    return np.hstack((a, b, 1.0)).prod() + np.sum(np.r_[a, b]) ** 2 + np.c_[b, b][1, 0]


@loss(normal(4, 3), normal(4, 3), single=True)
def cast_to_float32_inside(w, x):
    return np.sum((w.astype(np.float32) * x.astype(np.float32)) ** 2)


@loss(normal(3))
def deep_copy_of_parameters(x):
    y = copy.deepcopy(x)
    return np.sum(np.array(y, copy=True) ** 2) + np.copy(x)[0]


@loss(normal(3), normal(6, 3))
def branch_on_value(w, X):
    r = X @ w
    if np.sum(r) > 0:
        return np.sum(r**2)
    return np.sum(np.exp(r))


@loss(normal(4))
def loop_until_small(x):
    total, term, n = 0.0, 1.0, 0
    s = np.sum(x**2) / 4
    while abs(term) > 1e-12:
        total = total + term
        n += 1
        term = term * s / n
    return total


@loss(normal(5))
def try_and_assert(x):
    assert x.ndim == 1 and np.all(np.isfinite(x))
    try:
        return np.sum(np.log(np.sum(x**2)))
    except FloatingPointError:
        return 0.0


@loss(normal(6), below(6, 3))
def index_by_integer_cast(x, i):
    return x[int(i[0])] * x[np.int64(i[1])] + x[i[2] : i[2] + 1].sum()


@loss(normal(4), below(2, 4), normal(4))
def boolean_from_argument(x, flags, y):
    flags = flags.astype(bool)
    return np.sum(np.where(flags, x, y) ** 2) + np.sum(x[flags] * y[flags]) + 0.1 * x.sum()


@loss(normal(4))
def rounded_and_cast_to_integer(x):
    k = np.round(x).astype(int)
    return np.sum(x**2 * (k + 1)) + np.sum(np.array(x, dtype=int) * x)


@loss({"x": normal(3), "n": uniform(1, 2)}, {"power": 2, "names": ["a", "b"]})
def options_in_a_dict(p, options):
    return np.sum(p["x"] ** options["power"]) * p["n"] + len(options["names"])


@loss(normal(2, 3))
def isinstance_of_ndarray(x):
    if isinstance(x, np.ndarray):
        return np.sum(x**2)
    return sum(np.sum(np.asarray(v) ** 2) for v in x)


@loss(uniform(0.5, 2, 4))
def lists_of_numbers(w):
    a, b, c, d = w
    volume = np.linalg.det([[a, 1.0], [b, 3.0]]) + np.linalg.solve([[a, 1], [0, b]], [c, 1.0])[0]
    growth = np.exp([a, b]).sum() + np.interp(0.4, [0.0, 1.0], [c, d]) + np.linalg.norm([a, d])
    return volume * growth + np.percentile([a, 9.0, b], 40) + np.abs((a, -b)).max()


@loss(uniform(0.5, 2, 4))
def numbers_from_a_generator(w):
    return np.prod(np.fromiter((np.sin(v) * i for i, v in enumerate(w, 1)), float, count=3))


@loss(uniform(0.5, 2, 4))
def branches_on_the_type(w):
    total = np.sum(w**2)
    if isinstance(total, float):
        total = total * w[0]
    return total if isinstance(w, np.ndarray) and isinstance(w[1], np.floating) else 0.0
