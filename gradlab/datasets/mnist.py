"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes, Burges).

MNIST consists of four IDX archives. They are read from the given folder, or from the one that the
environment variable ``GRADLAB_DATA`` names: directly or in its folder ``mnist``, compressed or not,
under their names or those with a dot (``train-images.idx3-ubyte``). If such a folder lacks a file,
that is an error, and nothing is downloaded. Your own files are read without a check of their
checksum.

Without a folder, the archives are downloaded from one of two mirrors, 11 MB in all, and stored in
the system's folder for caches, or in ``GRADLAB_CACHE``. A file gets its name in the cache, and is
used, only if its SHA-256 is that of the canonical archive.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradlab.datasets import idx
from gradlab.datasets.dataset import Raw, Split
from gradlab.errors import DataError, DownloadError
from gradlab.files import cache_folder

ARCHIVES = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
"""The names of the four files, and the SHA-256 of each one's canonical ``.gz`` archive."""

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)


MAX_DOWNLOAD_BYTES = 2**26
"""Largest size of one downloaded file, in bytes: seven times the largest archive."""


def read(data_dir: str | os.PathLike[str] | None = None) -> Raw:
    """Read MNIST from a folder, or download it.

    The pictures are uint8 ``(n, 28, 28)`` from 0 to 255, and the labels uint8 ``(n,)``. Raise a
    DataError if the folder lacks an archive, or one is malformed; and a DownloadError if there is
    no folder, and no mirror serves an archive.
    """
    if data_dir is not None:
        paths = find(Path(data_dir))
    elif folder := os.environ.get("GRADLAB_DATA"):
        paths = find(Path(folder), "GRADLAB_DATA names this folder; unset it to download MNIST")
    else:
        paths = download(cache_folder())
    train_images, train_labels, test_images, test_labels = paths
    train, test = _split(train_images, train_labels), _split(test_images, test_labels)
    if train.x.shape[1:] != test.x.shape[1:]:
        raise DataError(
            f"{test_images}: pictures of {test.x.shape[1:]}, but {train.x.shape[1:]} to train on"
        )
    return Raw("mnist", train, test, classes=10, maximum=255)


def find(folder: Path, hint: str = "") -> list[Path]:
    """Find the four archives, in the order of `ARCHIVES`, in a folder or its ``mnist``.

    Raise a DataError if some are missing; the message names the folder and the files, and adds the
    hint.
    """
    found = [_first_file(folder, name) for name in ARCHIVES]
    paths = [path for path in found if path]
    if len(paths) == len(ARCHIVES):
        return paths
    missing = [name for name, path in zip(ARCHIVES, found, strict=True) if not path]
    what = "no such folder" if not folder.is_dir() else f"MNIST lacks {', '.join(missing)}"
    raise DataError(f"{folder}: {what}" + (f" ({hint})" if hint else ""))


def _first_file(folder: Path, name: str) -> Path | None:
    names = (name, name.replace("-idx", ".idx"))
    files = [file for name in names for file in (f"{name}.gz", name)]
    places = (place / file for place in (folder, folder / "mnist") for file in files)
    return next((place for place in places if place.is_file()), None)


def download(
    cache: Path, mirrors: Sequence[str] = MIRRORS, archives: Mapping[str, str] = ARCHIVES
) -> list[Path]:
    """Download the archives into the cache and verify them; return them in their order.

    Files with the right checksum are not downloaded again. The mirrors, addresses of folders with a
    slash at their end, are tried in turn for each archive. Raise a DownloadError if none serves an
    archive of that checksum, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{cache}: cannot store downloads there ({error.strerror}); "
            f"name another folder with GRADLAB_CACHE"
        ) from error
    return [_retrieve(f"{name}.gz", sha256, cache, mirrors) for name, sha256 in archives.items()]


def _retrieve(archive: str, sha256: str, cache: Path, mirrors: Sequence[str]) -> Path:
    import pooch

    if Path(archive).name != archive:
        raise DownloadError(f"{archive} is not the name of a file in {cache}")
    failures = []
    for mirror in mirrors:
        try:
            with _quiet(pooch.get_logger()):
                return Path(
                    pooch.retrieve(
                        mirror + archive, f"sha256:{sha256}", archive, cache, downloader=_fetch
                    )
                )
        except OSError as error:  # of the network (those of requests are) or of the disk
            failures.append(f"{mirror} ({' '.join(str(error).split())})")
        except ValueError:  # pooch's error for a wrong checksum
            failures.append(f"{mirror} (it serves a file of another SHA-256)")
    raise DownloadError(
        f"cannot download {archive} from {' or '.join(failures)}; if you have the four archives of "
        f"MNIST, name their folder with --data-dir, data_dir=... or GRADLAB_DATA"
    )


def _fetch(url: str, output_file: str, pooch: Any) -> None:
    """Download a file; pooch gives it its name only if the checksum is right."""
    from pooch import HTTPDownloader

    with open(output_file, "wb") as file:
        HTTPDownloader()(url, _Limited(file), pooch)


class _Limited:
    """A file of limited size, for any amount of data from a server."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, MAX_DOWNLOAD_BYTES
        self.flush = file.flush

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"it sends more than {MAX_DOWNLOAD_BYTES} bytes")
        self._file.write(data)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _split(images: Path, labels: Path) -> Split:
    x, y = idx.read(images), idx.read(labels)
    if x.ndim != 3 or x.dtype != np.uint8 or x.size == 0:
        raise DataError(f"{images}: {x.dtype} of shape {x.shape}; expected uint8 (n, 28, 28)")
    if y.ndim != 1 or y.dtype != np.uint8:
        raise DataError(f"{labels}: {y.dtype} of shape {y.shape}; expected uint8 (n,)")
    if len(x) != len(y):
        raise DataError(f"{labels}: {len(y)} labels, but {len(x)} pictures in {images.name}")
    if y.max() > 9:
        raise DataError(f"{labels}: label {int(y.argmax())} is {y.max()}; digits go from 0 to 9")
    return Split(x, y)
