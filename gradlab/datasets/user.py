"""Data sets from users' files: samples and labels under one of these names.

==============================  ===============================================================
``x``, ``y``                    samples and labels; also ``x_test``, ``y_test``, and capital X
``x_train``, ``y_train``        the same, with Keras's names, and ``x_test``, ``y_test``
``train_img``, ``train_label``  the same, with ``test_img``, ``test_label``, in the pickle of
                                "Deep Learning from Scratch"
three pairs                     training, validation and test, in the pickle of "Neural Networks
                                and Deep Learning"; the validation data are not used
two pairs, one pair             training and test; all
==============================  ===============================================================

Samples are finite numbers, ``(n, ...)``; pictures are ``(n, h, w)``. Labels are whole numbers from
0, of any dtype: the class of each sample, ``(n,)`` or ``(n, 1)``. `gradlab.datasets.formats` lists
the file formats. Rows of 784 numbers in a pickle or a text are pictures of 28x28; in
a text, whole numbers from 0 to 255 in them are pixels.

Without test data, a fifth of the samples (at least one) is held out: those with the smallest of `n`
numbers that PCG64 draws with seed 0, so always the same ones. Both parts keep the file's order.
No code in a file is ever executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradlab.datasets import formats
from gradlab.datasets.dataset import Raw, Split
from gradlab.errors import DataError
from gradlab.params import entry, first

Names: TypeAlias = tuple[str, str, str, str]

ARRAY_NAMES: tuple[Names, ...] = (
    ("x", "y", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("train_img", "train_label", "test_img", "test_label"),
    ("0.0", "0.1", "2.0", "2.1"),
    ("0.0", "0.1", "1.0", "1.1"),
    ("0", "1", "2", "3"),
)
"""Names of samples, labels, test samples and test labels; in a pickle, their positions."""

MAX_CLASSES = 2**16
"""Largest number of classes. A larger label is probably a quantity or an identifier."""


def read(path: Path) -> Raw:
    """Read and check a file.

    Raise a DataError if it cannot be read, or an array is missing or unusable; the message names
    both.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "xor.npz")
    >>> np.savez(path, x=[[0.0, 0], [0, 1], [1, 0], [1, 1], [0, 0]], y=[0, 1, 1, 0, 0])
    >>> raw = read(path)
    >>> raw.name, raw.train.x.shape, raw.test.x.shape, raw.classes
    ('xor.npz', (4, 2), (1, 2), 2)
    """
    arrays = formats.read(path, {name for names in ARRAY_NAMES for name in names})
    try:
        train, test = _splits(arrays)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    classes = int(max(train.y.max(), test.y.max())) + 1
    return Raw(path.name, train, test, classes, _maximum(train.x))


def _splits(arrays: dict[str, NDArray[Any]]) -> tuple[Split, Split]:
    # If several sets of names are equally complete, the first one counts.
    names = max(ARRAY_NAMES, key=lambda names: sum(name in arrays for name in names))
    tested = [name for name in names[2:] if name in arrays]
    wanted = names[:2] + (names[2:] if tested else ())
    if missing := [name for name in wanted if name not in arrays]:
        because = f" beside {tested[0]}" if tested else ""
        raise DataError(f"lacks the array {' and '.join(missing)}{because}")
    everything = _split(arrays, *names[:2])
    if not tested:
        return _hold_out(everything)
    test = _split(arrays, *names[2:])
    _check_alike(everything.x, test.x, names)
    return everything, test


def _split(arrays: dict[str, NDArray[Any]], x_name: str, y_name: str) -> Split:
    x, y = arrays[x_name], arrays[y_name]
    _check_samples(x_name, x)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{y_name} has shape {y.shape}; expected (n,), one class number per sample")
    if len(x) != len(y):
        raise DataError(f"{x_name} has {len(x)} samples, but {y_name} has {len(y)} labels")
    return Split(x, _labels(y_name, y))


def _hold_out(everything: Split) -> tuple[Split, Split]:
    n = len(everything.x)
    if n < 2:
        raise DataError("x has only one sample, so there is no test data; add x_test and y_test")
    # NumPy guarantees the raw numbers of a bit generator across versions, but not its permutations.
    drawn = np.random.PCG64(0).random_raw(n)
    test = np.zeros(n, bool)
    test[np.argsort(drawn)[: max(n // 5, 1)]] = True
    x, y = everything
    return Split(x[~test], y[~test]), Split(x[test], y[test])


def _check_samples(name: str, x: NDArray[Any]) -> None:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {x.dtype}; samples are real numbers")
    if x.ndim < 2:
        raise DataError(f"{name} has shape {x.shape}; expected (n, d), one sample per row")
    if x.size == 0:
        raise DataError(f"{name} is empty, of shape {x.shape}")
    if not np.isfinite(x).all():
        index = first(~np.isfinite(x))
        raise DataError(f"{entry(name, index)} is {x[index]}; every number must be finite")


def _labels(name: str, y: NDArray[Any]) -> NDArray[Any]:
    if y.dtype.kind not in "iubf":
        raise DataError(f"{name} has dtype {y.dtype}; labels are integers from 0")
    if y.dtype.kind == "f" and (parts := np.flatnonzero(y != np.rint(y))).size:
        i = int(parts[0])
        raise DataError(f"{name}[{i}] is {y[i]}; labels are whole numbers from 0")
    if wrong := [i for i in (int(y.argmin()), int(y.argmax())) if not 0 <= y[i] < MAX_CLASSES]:
        raise DataError(
            f"{name}[{wrong[0]}] is {y[wrong[0]]}; labels number the classes, from 0 to "
            f"{MAX_CLASSES - 1} at most"
        )
    return y.astype(np.int64) if y.dtype.kind == "f" else y


def _check_alike(x: NDArray[Any], x_test: NDArray[Any], names: Names) -> None:
    x_name, _, test_name, _ = names
    if x.shape[1:] != x_test.shape[1:]:
        raise DataError(
            f"samples have shape {x.shape[1:]} in {x_name}, but {x_test.shape[1:]} in {test_name}"
        )
    if _maximum(x) != _maximum(x_test):
        raise DataError(
            f"{x_name} has dtype {x.dtype}, but {test_name} {x_test.dtype}, so that they would be "
            f"scaled differently"
        )


def _maximum(x: NDArray[Any]) -> int:
    # Pictures come in these two dtypes; a wider integer counts something, and divided by its
    # dtype's maximum it would be all but zero.
    return int(np.iinfo(x.dtype).max) if x.dtype in (np.uint8, np.uint16) else 1
