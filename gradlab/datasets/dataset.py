"""Data sets: two splits of samples and labels, and their conversion from raw pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gradlab import options


class Split(NamedTuple):
    """Samples and their labels, row by row.

    Attributes
    ----------
    x : ndarray
        The samples, ``(n, d)``, or in their own shape ``(n, ...)`` if not flattened.
    y : ndarray
        The labels, int64 ``(n,)``, or one-hot rows ``(n, k)`` of the samples' dtype.
    """

    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled samples to train on, and others to test on.

    Attributes
    ----------
    name : str
        Its name, or the name of its file.
    train, test : Split
        The samples and labels of each part; both unpack as ``x, y``.
    classes : int
        The number of classes, `k`; a label is one of 0, ..., k - 1.
    image_shape : tuple of int or None
        ``(height, width)`` if a sample is a picture, flattened or not.
    """

    name: str
    train: Split
    test: Split
    classes: int
    image_shape: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, train={self.train.x.shape}, test={self.test.x.shape}, "
            f"classes={self.classes})"
        )


class Raw(NamedTuple):
    """The content of a data set's file: samples in their own shape and dtype, integer labels.

    `maximum` is the value of full intensity; 1 if the samples are not pixels.
    """

    name: str
    train: Split
    test: Split
    classes: int
    maximum: int


def prepare(
    raw: Raw, *, flatten: bool, one_hot: bool, scale: bool, dtype: DTypeLike, subset: int | None
) -> Dataset:
    """Convert a raw data set to floats, by the options of `gradlab.datasets.load`."""
    floats = _floats(dtype)
    train = raw.train if subset is None else _first(raw, subset)

    def prepared(split: Split) -> Split:
        x = split.x.astype(floats)
        if scale and raw.maximum != 1:
            x /= raw.maximum
        if flatten:
            x = x.reshape(len(x), -1)
        y = split.y.astype(np.int64)
        return Split(x, _one_hot(y, raw.classes, floats) if one_hot else y)

    pictures = raw.train.x.ndim == 3
    image_shape = (raw.train.x.shape[1], raw.train.x.shape[2]) if pictures else None
    return Dataset(raw.name, prepared(train), prepared(raw.test), raw.classes, image_shape)


def _floats(dtype: DTypeLike) -> np.dtype[Any]:
    advice = "samples are float32 or float64; choose one of them"
    floats = options.floating("dtype", dtype, advice)
    if floats not in (np.float32, np.float64):
        raise options.refusal("dtype", dtype, advice)
    return floats


def _first(raw: Raw, n: int) -> Split:
    most = len(raw.train.x)
    advice = f"give an integer from 1 to {most}, as {raw.name} has {most} training samples"
    n = options.integer("subset", n, advice, most=most)
    return Split(raw.train.x[:n], raw.train.y[:n])


def _one_hot(y: NDArray[np.int64], classes: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    rows = np.zeros((len(y), classes), dtype)
    rows[np.arange(len(y)), y] = 1
    return rows
