"""A data set of your own: an ``.npz`` file with the arrays ``x`` and ``y``.

======================  ================  ============================================
``x``, ``x_test``       ``(n, ...)``      finite numbers; pictures are ``(n, h, w)``
``y``, ``y_test``       ``(n,)``          integers from 0, the number of each one's class
======================  ================  ============================================

Without ``x_test`` and ``y_test``, a fifth of the samples (at least one) is held out to test on:
those with the smallest of the `n` numbers that PCG64 draws from seed 0, so always the same ones.
Both parts keep the file's order. Arrays of pickled objects are refused, as reading them would run
what they contain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab import npz
from gradlab.datasets.dataset import Raw, Split
from gradlab.errors import DataError, reason_of

ARRAYS = ("x", "y", "x_test", "y_test")

LARGEST = 2**33
"""The most bytes that the arrays may take, 8 GiB: what a machine holds, and no archive that unpacks
to a thousand times its size."""

MOST_CLASSES = 2**16
"""A label beyond this is no class, but a quantity or an identifier taken for one."""


def read(path: Path) -> Raw:
    """Read and check an ``.npz`` file.

    Raises
    ------
    DataError
        If it cannot be read, or an array is missing or unfit; the message names file and array.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "xor.npz")
    >>> np.savez(path, x=[[0.0, 0], [0, 1], [1, 0], [1, 1], [0, 0]], y=[0, 1, 1, 0, 0])
    >>> raw = read(path)
    >>> raw.name, raw.train.x.shape, raw.test.x.shape, raw.classes
    ('xor.npz', (4, 2), (1, 2), 2)
    """
    arrays = _arrays(path)
    try:
        train, test = _splits(arrays)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    classes = int(max(train.y.max(), test.y.max())) + 1
    return Raw(path.name, train, test, classes, _maximum(train.x))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return npz.read(path, LARGEST, ARRAYS)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except npz.ArrayError as error:
        raise DataError(f"{path}: {error}") from error
    # A damaged archive may raise anything.
    except Exception as error:
        raise DataError(
            f"{path}: not an .npz file as numpy.savez(path, x=x, y=y) writes it "
            f"({reason_of(error)})"
        ) from error


def _splits(arrays: dict[str, NDArray[Any]]) -> tuple[Split, Split]:
    tested = [name for name in ("x_test", "y_test") if name in arrays]
    wanted = ["x", "y"] + (["x_test", "y_test"] if tested else [])
    if missing := [name for name in wanted if name not in arrays]:
        because = f" beside {tested[0]}" if tested else ""
        raise DataError(f"lacks the array {' and '.join(missing)}{because}")
    everything = _split(arrays, "x", "y")
    if not tested:
        return _hold_out(everything)
    test = _split(arrays, "x_test", "y_test")
    _check_alike(everything.x, test.x)
    return everything, test


def _split(arrays: dict[str, NDArray[Any]], x_name: str, y_name: str) -> Split:
    x, y = arrays[x_name], arrays[y_name]
    _check_samples(x_name, x)
    if y.ndim != 1:
        raise DataError(f"{y_name} has shape {y.shape}; expected (n,), a class number a sample")
    if len(x) != len(y):
        raise DataError(f"{x_name} has {len(x)} samples, but {y_name} has {len(y)} labels")
    _check_labels(y_name, y)
    return Split(x, y)


def _hold_out(everything: Split) -> tuple[Split, Split]:
    n = len(everything.x)
    if n < 2:
        raise DataError("x has one sample, and none is left to test on; add x_test and y_test")
    # NumPy keeps the raw numbers of a bit generator the same for ever, but not its permutations.
    drawn = np.random.PCG64(0).random_raw(n)
    test = np.zeros(n, bool)
    test[np.argsort(drawn)[: max(n // 5, 1)]] = True
    x, y = everything
    return Split(x[~test], y[~test]), Split(x[test], y[test])


def _check_samples(name: str, x: NDArray[Any]) -> None:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {x.dtype}; samples are real numbers")
    if x.ndim < 2:
        raise DataError(f"{name} has shape {x.shape}; expected (n, d), one sample a row")
    if x.size == 0:
        raise DataError(f"{name} is empty, of shape {x.shape}")
    if not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise DataError(f"{name}{list(index)} is {x[index]}; every number must be finite")


def _check_labels(name: str, y: NDArray[Any]) -> None:
    if y.dtype.kind not in "iub":
        raise DataError(f"{name} has dtype {y.dtype}; labels are integers from 0")
    if wrong := [i for i in (int(y.argmin()), int(y.argmax())) if not 0 <= y[i] < MOST_CLASSES]:
        raise DataError(
            f"{name}[{wrong[0]}] is {y[wrong[0]]}; labels number the classes, from 0 to "
            f"{MOST_CLASSES - 1} at most"
        )


def _check_alike(x: NDArray[Any], x_test: NDArray[Any]) -> None:
    if x.shape[1:] != x_test.shape[1:]:
        raise DataError(f"samples have shape {x.shape[1:]} in x, but {x_test.shape[1:]} in x_test")
    if _maximum(x) != _maximum(x_test):
        raise DataError(
            f"x has dtype {x.dtype}, but x_test {x_test.dtype}, so that they would be scaled "
            f"differently"
        )


def _maximum(x: NDArray[Any]) -> int:
    # Pictures come in these two dtypes; a wider integer counts something, and divided by its
    # dtype's maximum it would be all but zero.
    return int(np.iinfo(x.dtype).max) if x.dtype in (np.uint8, np.uint16) else 1
