"""Problems of a training that are visible in its data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradlab.params import Array

MIN_SAMPLES_TO_JUDGE = 10
"""Smallest number of samples for a judgement; fewer samples may be equal by chance."""

MAX_SCALED_VALUE = 10.0
"""Largest input or target that counts as scaled. Standardised values of up to a million entries
stay below 6."""

MAX_SCALE_SAMPLES = 256
"""Number of samples that give the scale of a column, within about a tenth."""


def classes_of(labels: Array) -> Array | None:
    """Return the class of each sample, if these are labels: integers from 0, or one-hot rows.

    Examples
    --------
    >>> classes_of(np.array([0, 2, 1])), classes_of(np.eye(2)), classes_of(np.array([0.5, 1.0]))
    (array([0, 2, 1]), array([0, 1]), None)
    """
    if labels.ndim == 1 and labels.dtype.kind in "iu" and labels.min() >= 0:
        return labels
    if labels.ndim == 2 and labels.shape[1] > 1:
        ones = labels == 1
        if (ones.sum(axis=1) == 1).all() and np.count_nonzero(labels) == len(labels):
            classes: Array = ones.argmax(axis=1)
            return classes
    return None


def chance(data: Sequence[Array]) -> tuple[float, float, int] | None:
    """Return the cross entropies of guessing, and the number of classes; None without labels.

    The first is that of a prediction which knows only how frequent each class is: the entropy of
    the labels. The second is ln k, that of k equal probabilities.

    Examples
    --------
    >>> low, high, k = chance([np.zeros((20, 2)), np.repeat([0, 1], 10)])
    >>> round(low, 6), round(high, 6), k
    (0.693147, 0.693147, 2)
    """
    found = classes_of(data[1]) if len(data) == 2 and len(data[1]) >= MIN_SAMPLES_TO_JUDGE else None
    if found is None:
        return None
    k = data[1].shape[1] if data[1].ndim == 2 else int(found.max()) + 1
    if 2 * k > len(found):
        return None
    counts = np.bincount(found.astype(np.intp))
    shares = counts[counts > 0] / len(found)
    if len(shares) < 2:
        return None
    return float(-(shares * np.log(shares)).sum()), math.log(k), k


def constant_labels(data: Sequence[Array]) -> str | None:
    """Return the warning that all samples have the same label or target; None if they differ.

    A target of 0 everywhere does not count: losses of residuals have it.

    Examples
    --------
    >>> constant_labels([np.zeros((20, 2)), np.full(20, 3)])
    'all 20 labels are 3: the loss can be low without learning anything; check how they were read'
    """
    if len(data) != 2 or len(data[1]) < MIN_SAMPLES_TO_JUDGE or not (data[1] == data[1][0]).all():
        return None
    labels = data[1]
    found = classes_of(labels)
    if found is None and not labels.any():
        return None
    value = labels.reshape(-1)[0] if found is None else found[0]
    return (
        f"all {len(labels)} labels are {value:.6g}: the loss can be low without learning anything; "
        "check how they were read"
    )


def constant_inputs(data: Sequence[Array]) -> str | None:
    """Say that all rows of a matrix x are the same; None if they differ.

    Examples
    --------
    >>> constant_inputs([np.ones((20, 2)), np.arange(20)])
    'all 20 samples of x are the same: nothing can be learned from them; check how they were read'
    """
    if len(data) != 2 or len(data[0]) < MIN_SAMPLES_TO_JUDGE or data[0].ndim < 2:
        return None
    x = data[0]
    # A few rows decide it for almost all data, without a pass over them.
    if not (x[:MIN_SAMPLES_TO_JUDGE] == x[0]).all() or not (x == x[0]).all():
        return None
    return (
        f"all {len(x)} samples of x are the same: nothing can be learned from them; check how "
        "they were read"
    )


def unscaled(data: Sequence[Array]) -> str:
    """Return a remedy for inputs or targets that are far from 1, such as grey levels, or "".

    Examples
    --------
    >>> unscaled([np.array([[0.0, 255.0]]), np.array([3])])
    ', and scale the inputs, which reach 255'
    """
    found = [("inputs", x) for x in data[:1] if x.ndim > 1]
    found += [("targets", y) for y in data[1:2] if y.dtype.kind == "f"]
    for what, array in found:
        largest = float(np.abs(array).max(initial=0))
        if largest > MAX_SCALED_VALUE:
            return f", and scale the {what}, which reach {largest:.3g}"
    return ""


def raw_columns(data: Sequence[Array], gradient: Sequence[Array], steps: int) -> str | None:
    """Return the warning that the columns of x differ too much in scale for one learning rate.

    In a layer that takes x, the curvature along the weights of a column is proportional to the
    column's mean square m. Gradient descent diverges if the learning rate exceeds 2/curvature of
    the largest, so along the smallest, it takes about max m / min m steps. The warning is for more
    steps than the training has. Columns that are 0 in half of the samples, such as pixels at the
    border, are left out. The gradient has to show the same ratio within a factor of 10; otherwise,
    the loss scales x itself.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 2)) * [1, 1000]
    >>> raw_columns([x, x[:, 0]], [np.array([0.1, 0.1])], 100) is None
    True
    >>> raw_columns([x, x[:, 0]], [np.array([0.1, 50.0])], 100)
    'column 1 of x is ... times as large as column 0: ...'
    """
    x = data[0] if data else None
    if (
        x is None
        or x.ndim != 2
        or x.shape[1] < 2
        or len(x) < MIN_SAMPLES_TO_JUDGE
        or x.dtype.kind not in "fiu"
    ):
        return None
    rows = x[:: -(-len(x) // MAX_SCALE_SAMPLES)]
    present = np.flatnonzero(2 * np.count_nonzero(rows, axis=0) > len(rows))
    if len(present) < 2:
        return None
    with np.errstate(over="ignore"):
        sums = np.einsum("ij,ij->j", rows, rows, dtype=np.float64, casting="same_kind")
    scales = np.sqrt(sums[present] / len(rows))
    small, large = int(scales.argmin()), int(scales.argmax())
    ratio = float(scales[large]) / max(float(scales[small]), float(np.finfo(float).tiny))
    if ratio**2 <= max(steps, 100):
        return None
    if not any(
        _norms_differ(leaf, x.shape[1], present[small], present[large], ratio / 10)
        for leaf in gradient
    ):
        return None
    return (
        f"column {present[large]} of x is {ratio:,.0f} times as large as column {present[small]}: "
        "one learning rate cannot serve both; give each column mean 0 and standard deviation 1"
    )


def _norms_differ(gradient: Array, columns: int, small: int, large: int, ratio: float) -> bool:
    """Tell whether the rows (or columns) of a gradient differ in norm by at least this ratio."""
    for axis in range(min(gradient.ndim, 2)):
        if gradient.ndim <= 2 and gradient.shape[axis] == columns:
            a, b = (np.abs(gradient.take(i, axis=axis)).max() for i in (small, large))
            if b > 0 and b >= ratio * a:
                return True
    return False
