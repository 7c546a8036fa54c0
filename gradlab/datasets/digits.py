"""Handwritten digits that ship with gradlab, for use offline.

The 1,797 pictures are the test set of *Optical Recognition of Handwritten Digits* (Alpaydin and
Kaynak, 1998, UCI Machine Learning Repository, doi:10.24432/C50P49, CC BY 4.0), in the order of
scikit-learn's copy; ``digits.md`` beside this file has the notes on source and licence, and
``tests/datasets/build_digits.py`` made ``digits.npz``.

The first 1,437 are for training and the last 360 for testing. The source's order goes by writers,
so most writers of the test pictures are not in the training pictures. Each class has 141 to 146
pictures in the first part and 33 to 37 in the second.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from gradlab.datasets.dataset import Raw, Split

TRAINING_SAMPLES = 1437


def read() -> Raw:
    """Read the pictures, uint8 ``(n, 8, 8)`` from 0 to 16, and the labels, uint8 ``(n,)``.

    Examples
    --------
    >>> raw = read()
    >>> raw.train.x.shape, raw.test.x.shape, raw.maximum
    ((1437, 8, 8), (360, 8, 8), 16)
    """
    with (
        resources.files("gradlab.datasets").joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        x, y = arrays["x"], arrays["y"]
    train, test = (
        Split(x[:TRAINING_SAMPLES], y[:TRAINING_SAMPLES]),
        Split(x[TRAINING_SAMPLES:], y[TRAINING_SAMPLES:]),
    )
    return Raw("digits", train, test, classes=10, maximum=16)
