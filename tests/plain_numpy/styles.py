"""Short losses in one way to write NumPy, for each that people use."""

import math

import numpy as np

from .registry import loss, normal, uniform


@loss(normal(3, 4), normal(4, 2))
def methods_dot_transpose(a, b):
    return (a.dot(b) ** 2).sum() + a.T.dot(a).trace() + a.transpose().copy().ravel()[::3].sum()


@loss(normal(2, 3, 4))
def methods_shapes(x):
    t = x.transpose(2, 0, 1).reshape(-1, 3)
    return (
        t.std(axis=0).sum() + x.swapaxes(0, 1).flatten()[5:9].prod() + x.mT[0].sum(axis=0)[1] ** 2
    )


@loss(uniform(0.5, 1.5, 2, 4))
def methods_reductions(x):
    return (
        x.prod()
        + x.clip(0.7, 1.2).sum()
        + x.cumsum(axis=1).mean()
        + x.repeat(2, axis=0).var()
        + x.take([1, 1, 3], axis=1).max()
    )


@loss(normal(3, 3))
def methods_misc(x):
    return (
        x.conj().real.sum()
        + x.astype(np.float64)[0].min()
        + x.diagonal().sum() ** 2
        + x.squeeze().nonzero()[0].sum()
    )


@loss(normal(2, 3))
def flat_iteration(x):
    total = 0.0
    for k, v in enumerate(x.flat):
        total += (k + 1) * v**2
    return total


@loss(normal(5))
def augmented_assignments(x):
    z = x * 2
    z += 1.0
    z *= x
    z -= x.mean()
    z /= 3
    z **= 2
    return z.sum()


@loss(normal(4), normal(4))
def augmented_on_data(w, x):
    out = x.copy()
    out = out * w
    out += w
    return np.sum(out**2)


@loss(normal(6))
def mask_written_to_zero(x):
    out = x.copy()
    out[out < 0] = 0
    return np.sum(out**2 * np.arange(1, 7))


@loss(normal(5))
def entries_set_in_copy(x):
    y = np.array(x)
    y[0] = 1.0
    y[2:4] = y[2:4] * 3
    y[-1] += x[0]
    return np.prod(y)


@loss(normal(5))
def zeros_like_filled(x):
    out = np.zeros_like(x)
    for i in range(len(x)):
        out[i] = np.sin(x[i]) * i
    return out.sum() ** 2


@loss(normal(3, 4))
def empty_like_rows(x):
    e = np.empty_like(x)
    for i, row in enumerate(x):
        e[i] = row / np.sum(np.exp(row))
    return np.sum(e**2)


@loss(normal(4))
def list_to_array(w):
    terms = [w[i] * w[i - 1] for i in range(4)]
    return np.sum(np.array(terms) ** 2)


@loss(normal(3))
def nested_list_to_matrix(v):
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.sum((K @ K)[0]) + K.sum() + np.sum(K**2)


@loss(normal(4, 2))
def stack_of_rows(x):
    h = np.stack([np.tanh(r) for r in x], axis=1)
    return np.asarray(h).mean() + np.sum(h[0] * h[1])


@loss(normal(5))
def python_sum_of_list(w):
    return sum([np.exp(-v) for v in w]) / len(w)


@loss((normal(), normal(), normal()))
def python_max_abs_min(t):
    a, b, c = t
    return max(a, b) ** 2 + min(b, c) + abs(a) * 2 + max(0, c)


@loss(normal(5))
def masks_and_comparisons(x):
    pos = x > 0
    return np.sum(x[pos] ** 2) - x[~pos].sum() + (pos * x).sum() + np.count_nonzero(pos)


@loss(normal(4, 5))
def ellipsis_newaxis_steps(x):
    return (
        np.sum(x[..., ::-2] ** 2)
        + (x[:, np.newaxis, :] - x[np.newaxis])[0, 2].prod()
        + x[-1, ::-1] @ np.arange(5)
    )


@loss(normal(4, dtype=np.float32), normal(6, 4))
def float32_weights(w, x):
    return np.mean((x.astype(np.float32) @ w) ** 2)


@loss(2.5)
def number_as_parameter(a):
    return a**3 + np.sin(a) * np.arange(3).sum()


@loss(np.array(0.7))
def zero_dimensional(a):
    return np.exp(a) * a + np.square(a)


@loss([normal(2), [normal(), {"deep": normal(2, 2)}]])
def nested_structure(p):
    v, (s, d) = p
    return s * v @ d["deep"] @ v


@loss(normal(3), 3)
def power_of_integer(x, n):
    return (
        np.sum(np.power(x, n))
        + np.sum(x ** np.arange(3))
        + np.float_power(np.abs(x) + 1, 1.5).sum()
    )


@loss(np.array([0.0, 1.0, -2.0]))
def squares_at_zero(x):
    return np.sum(np.abs(x) ** 2) + np.sum(x**2) + np.square(x).mean() + x[0] ** 3


@loss(normal(5))
def signs_and_floors(x):
    return (
        np.sum(np.sign(x) * x**2)
        + np.sum(np.floor(3 * x) * x)
        + np.sum(np.mod(x, 0.7) ** 2)
        + np.heaviside(x, 0.5) @ x
    )


@loss(normal(5), normal(4))
def shift_register(taps, x):
    state, total = np.zeros(5), 0.0
    for sample in x:
        state[1:] = state[:-1]
        state[0] = sample + 0.1 * taps[-1]
        total += (taps @ state) ** 2
    return total


@loss(uniform(0.5, 1.5, 3, 4))
def rows_normalised_in_place(m):
    m = m.copy()
    for i in range(len(m)):
        row = m[i]
        m[i] = row / row.sum()
    m[:] = m[:, ::-1]
    m[1:] += m[:-1]
    return (m**2 * np.arange(12).reshape(3, 4)).sum()


@loss(normal(3, 2), normal(5, 4))
def windows_of_an_image(k, img):
    windows = np.lib.stride_tricks.sliding_window_view(img, k.shape)
    smooth = np.lib.stride_tricks.sliding_window_view(k.ravel(), 4).mean(axis=-1)
    return np.einsum("ijkl,kl->ij", windows, k).max() + smooth.prod()


@loss(uniform(0.5, 1.5, 3, 4))
def sums_of_segments(x):
    parts = np.add.reduceat(x, [0, 2], axis=1)
    return np.sum(parts**2 * [1, 3]) + np.multiply.reduceat(x.ravel(), [0, 5, 3]) @ [1, 2, 3]


@loss(normal(6))
def vectorised_function_of_math(x):
    return np.vectorize(math.exp)(x).sum() + np.vectorize(math.atan2)(x, x[::-1]).prod()
