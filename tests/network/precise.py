"""The network's functions in high precision."""

import mpmath
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

FLOATS = [np.float32, np.float64]
mp = mpmath.MPContext()
mp.dps = 60

few = settings(max_examples=40, deadline=None)


def u(dtype):
    return float(np.finfo(dtype).eps)


def exact(array):
    """Return the entries of an array as high-precision numbers, in nested lists."""
    return [exact(row) for row in array] if np.ndim(array) else mp.mpf(float(array))


def to_float(values):
    return np.array(values, dtype=object).astype(float)


# name: (value, derivative, what their round-off is relative to where that is more than themselves)
SMOOTH = {
    "sigmoid": (
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: mp.exp(-abs(x)) / (1 + mp.exp(-abs(x))) ** 2,
        lambda x: 0,
    ),
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2, lambda x: 0),
    "softplus": (
        lambda x: mp.log1p(mp.exp(x)),
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: 0,
    ),
    "silu": (  # its derivative is a sum that changes sign
        lambda x: x / (1 + mp.exp(-x)),
        lambda x: (1 + x * mp.exp(-x) / (1 + mp.exp(-x))) / (1 + mp.exp(-x)),
        lambda x: (1 + abs(x)) * mp.exp(-abs(x)) if x < 0 else 1,
    ),
    "elu": (  # autograd takes its derivative as (exp(x) - 1) + 1, which is off by u
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
        lambda x: 1,
    ),
    "identity": (lambda x: x, lambda x: mp.mpf(1), lambda x: 0),
}
KINKED = {
    "relu": (lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0)),
    "leaky_relu": (
        lambda x: x if x > 0 else x * mp.mpf("0.01"),
        lambda x: mp.mpf(1) if x > 0 else mp.mpf("0.01"),
    ),
}


def mp_cross_entropy(z, targets):
    total = mp.mpf(0)
    for row, target in zip(exact(z), exact(targets), strict=True):
        log_sum = max(row) + mp.log(sum(mp.exp(v - max(row)) for v in row))
        total += sum(t * (log_sum - v) for t, v in zip(target, row, strict=True))
    return float(total / len(z))


sizes_of_networks = st.lists(st.integers(1, 5), min_size=2, max_size=4)
