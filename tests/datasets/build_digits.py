"""Make ``digits.npz`` from scikit-learn's copy: ``python tests/datasets/build_digits.py``."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from gradlab import datasets


def build() -> bytes:
    """Return the bytes of ``digits.npz``, which are always the same."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    source = load_digits()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in (("x", source.images), ("y", source.target)):
            npy = io.BytesIO()
            np.save(npy, array.astype(np.uint8), allow_pickle=False)
            # A new ZipInfo has a fixed date; np.savez stores the current one.
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, npy.getvalue())
    return buffer.getvalue()


if __name__ == "__main__":
    Path(datasets.__file__).with_name("digits.npz").write_bytes(build())
