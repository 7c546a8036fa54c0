"""Data to train on: handwritten digits that ship with gradlab, MNIST, and your own arrays.

Each source returns the content of its file (`Raw`), and `prepare` converts it to floats, in the
same way for all.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from gradlab.datasets import digits, formats, mnist, user
from gradlab.datasets.dataset import Dataset as Dataset
from gradlab.datasets.dataset import Raw, prepare
from gradlab.datasets.dataset import Split as Split
from gradlab.errors import OptionError, unknown

NAMES = ("digits", "mnist")


def load(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    flatten: bool = True,
    one_hot: bool = False,
    scale: bool = True,
    dtype: DTypeLike = np.float64,
    subset: int | None = None,
) -> Dataset:
    """Load a data set by its name, or from a file of your own.

    Parameters
    ----------
    name_or_path : str or path
        ``"digits"``
            1,797 pictures of 8x8 pixels, offline: 1,437 to train on, 360 to test on.
        ``"mnist"``
            70,000 pictures of 28x28 pixels: 60,000 and 10,000. Read from `data_dir`, or from the
            folder that the environment variable ``GRADLAB_DATA`` names; otherwise downloaded once
            (11 MB) and cached; see `gradlab.datasets.mnist`.
        the path of a file
            ``.npz`` with arrays ``x`` (n, ...) and ``y`` (n,), and optionally ``x_test``,
            ``y_test`` (without them, a fifth of the samples is held out); or with Keras's names.
            ``.csv`` with the label first; ``.pkl`` and ``.pkl.gz`` with MNIST as in two textbooks.
            See `gradlab.datasets.user` and `gradlab.datasets.formats`.
    data_dir : str or path, optional
        A folder with the four MNIST archives, or with a folder ``mnist`` of them. The other
        data sets do not use it.
    flatten : bool
        Whether to make each sample a row, ``(n, d)``, or keep its shape, ``(n, 8, 8)``.
    one_hot : bool
        Whether to return the labels as rows ``(n, k)`` of zeros and a one, or as int64 ``(n,)``.
    scale : bool
        Whether to scale pixels to [0, 1]: digits are divided by 16, MNIST by 255, your own uint8
        and uint16 arrays by 255 and 65535. Your floats, and integers of other dtypes, such as
        counts, are not scaled.
    dtype : dtype
        The floating dtype of the samples (and one-hot labels). The default is float64, because
        differences of a loss cancel: a forward difference has about three digits in float32, and
        seven in float64.
    subset : int, optional
        Keep only the first `subset` training samples, for a quick test. All test samples are kept,
        so that accuracies remain comparable.

    Raises
    ------
    DataError
        If a file is missing or malformed.
    DownloadError
        If MNIST has to be downloaded and no mirror serves it.
    OptionError
        If no data set has that name, `dtype` is not floating, or `subset` is out of range.

    Examples
    --------
    >>> data = load("digits", subset=100)
    >>> data
    Dataset('digits', train=(100, 64), test=(360, 64), classes=10)
    >>> x, y = data.train
    >>> x.dtype, float(x.min()), float(x.max()), y[:5]
    (dtype('float64'), 0.0, 1.0, array([0, 1, 2, 3, 4]))
    """
    raw = _read(name_or_path, data_dir)
    return prepare(raw, flatten=flatten, one_hot=one_hot, scale=scale, dtype=dtype, subset=subset)


def _read(name_or_path: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None) -> Raw:
    if name_or_path == "digits":
        return digits.read()
    if name_or_path == "mnist":
        return mnist.read(data_dir)
    if isinstance(name_or_path, os.PathLike) or formats.looks_like_a_file(name_or_path):
        return user.read(Path(name_or_path))
    raise OptionError(
        f"{unknown('dataset', name_or_path, NAMES)} (known are {', '.join(NAMES)} and the path of "
        f"a file that ends in {', '.join(formats.SUFFIXES)})"
    )
