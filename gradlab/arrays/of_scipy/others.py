"""Functions of `scipy.stats`, `special`, `signal` and `spatial`, in terms of NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array, count_of, safe_sqrt
from gradlab.arrays.dispatch import refuse_function
from gradlab.arrays.of_scipy.shared import implements

# scipy.stats


@implements("stats")
def zscore(a: Any, axis: Any = 0, ddof: int = 0) -> Any:
    """Return entries in standard deviations from their mean."""
    a = as_array(a)
    centred = a - np.mean(a, axis=axis, keepdims=True)
    return centred / np.std(a, axis=axis, ddof=ddof, keepdims=True)


def _standardised_moment(a: Any, order: int, axis: Any) -> Any:
    a = as_array(a)
    centred = a - np.mean(a, axis=axis, keepdims=True)
    variance = np.mean(centred**2, axis=axis)
    return np.mean(centred**order, axis=axis) / variance ** (order / 2)


implements("stats", "sem")(
    lambda a, axis=0, ddof=1: (
        np.std(as_array(a), axis=axis, ddof=ddof) / np.sqrt(count_of(as_array(a), axis))
    )
)
implements("stats", "skew")(lambda a, axis=0: _standardised_moment(a, 3, axis))
implements("stats", "kurtosis")(
    lambda a, axis=0, fisher=True: _standardised_moment(a, 4, axis) - (3.0 if fisher else 0.0)
)
implements("stats", "gmean")(lambda a, axis=0: np.exp(np.mean(np.log(as_array(a)), axis=axis)))
implements("stats", "hmean")(lambda a, axis=0: 1.0 / np.mean(1.0 / as_array(a), axis=axis))


class _Correlation:
    """A coefficient of correlation, which is also item 0."""

    def __init__(self, statistic: Any) -> None:
        self.statistic = self.correlation = statistic

    def __getitem__(self, index: int) -> Any:
        return self.statistic if index == 0 else self.pvalue

    @property
    def pvalue(self) -> Any:
        """Refuse the p-value."""
        refuse_function("gradlab", pearsonr)


@implements("stats")
def pearsonr(x: Any, y: Any) -> Any:
    """Return Pearson's coefficient of correlation."""
    return _Correlation(np.corrcoef(as_array(x), as_array(y))[0, 1])


# scipy.special


@implements("special")
def polygamma(n: Any, x: Any) -> Any:
    """Return a derivative of the digamma function: (-1)ⁿ⁺¹ n! ζ(n + 1, x)."""
    from scipy import special  # the loss has imported it

    n, x = np.asarray(n, float), as_array(x)
    found = (-1.0) ** (n + 1) * special.gamma(n + 1) * special.zeta(n + 1, x)
    return np.where(n == 0, special.psi(x), found) if (n == 0).any() else found


# scipy.signal


_MODES = ("full", "valid", "same")


def _windows(x: Any, size: tuple[int, ...]) -> Any:
    """Return the windows of an array of one or two dimensions, flattened, in the last axis."""
    counts = [n - k + 1 for n, k in zip(np.shape(x), size, strict=True)]
    parts = [
        x[tuple(slice(i, i + n) for i, n in zip(offset, counts, strict=True))]
        for offset in np.ndindex(*size)
    ]
    return np.stack(parts, axis=-1)


@implements("signal")
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """Return the convolution of two arrays of as many dimensions."""
    a, b = as_array(in1), as_array(in2)
    if mode not in _MODES or np.ndim(a) != np.ndim(b):
        refuse_function("gradlab", convolve)
    shape = np.shape(a)
    if mode == "valid" and np.size(b) > np.size(a):
        a, b = b, a
    if np.size(b) > np.size(a):  # it commutes, and the smaller one makes fewer windows
        a, b = b, a
    kernel = np.flip(b)
    if mode != "valid":
        a = np.pad(a, [(n - 1, n - 1) for n in np.shape(b)])
    full = _windows(a, np.shape(b)) @ np.ravel(kernel)
    if mode != "same":
        return full
    starts = [(n - m) // 2 for n, m in zip(np.shape(full), shape, strict=True)]
    return full[tuple(slice(s, s + m) for s, m in zip(starts, shape, strict=True))]


implements("signal", "fftconvolve")(lambda in1, in2, mode="full": convolve(in1, in2, mode))
implements("signal", "correlate")(
    lambda in1, in2, mode="full", method="auto": convolve(in1, np.flip(as_array(in2)).conj(), mode)
)


@implements("signal")
def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill") -> Any:
    """Return the convolution of two matrices, which are 0 outside."""
    if boundary != "fill":
        refuse_function("gradlab", convolve2d)
    return convolve(in1, in2, mode)


@implements("signal")
def lfilter(b: Any, a: Any, x: Any, axis: int = -1) -> Any:
    """Return the output of a digital filter, step by step."""
    b, a = np.atleast_1d(as_array(b)), np.atleast_1d(as_array(a))
    x = np.moveaxis(as_array(x), axis, 0)
    b, a = b / a[0], a / a[0]
    outputs: list[Any] = []
    for t in range(np.shape(x)[0]):
        now = sum(b[k] * x[t - k] for k in range(min(np.size(b), t + 1)))
        for k in range(1, min(np.size(a), t + 1)):
            now = now - a[k] * outputs[t - k]
        outputs.append(now)
    return np.moveaxis(np.stack(outputs), 0, axis)


# scipy.spatial

_METRICS: dict[str, Callable[[Any], Any]] = {
    "euclidean": lambda d: safe_sqrt(np.sum(d * d, axis=-1)),
    "sqeuclidean": lambda d: np.sum(d * d, axis=-1),
    "cityblock": lambda d: np.sum(np.abs(d), axis=-1),
    "chebyshev": lambda d: np.max(np.abs(d), axis=-1),
}


def _metric(name: Any, function: Callable[..., Any]) -> Callable[[Any], Any]:
    if name not in _METRICS:
        refuse_function("gradlab", function)
    return _METRICS[name]


@implements("spatial")
def cdist(XA: Any, XB: Any, metric: str = "euclidean") -> Any:
    """Return the distances between the rows of two matrices."""
    distance = _metric(metric, cdist)
    return distance(as_array(XA)[:, None] - as_array(XB)[None])


@implements("spatial")
def pdist(X: Any, metric: str = "euclidean") -> Any:
    """Return the distances between the rows of a matrix, each pair once."""
    X = as_array(X)
    first, second = np.triu_indices(np.shape(X)[0], 1)
    return _metric(metric, pdist)(X[first] - X[second])


@implements("spatial")
def squareform(X: Any) -> Any:
    """Return distances as a matrix, or those of a matrix once."""
    X = as_array(X)
    if np.ndim(X) == 2:
        return X[np.triu_indices(np.shape(X)[0], 1)]
    n = int(np.ceil(np.sqrt(2 * np.size(X))))
    places = np.zeros((n, n), int)
    places[np.triu_indices(n, 1)] = np.arange(1, np.size(X) + 1)
    return np.concatenate([np.zeros(1), X])[places + places.T]
