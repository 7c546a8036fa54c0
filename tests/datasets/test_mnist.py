"""MNIST: from a folder, and by download."""

import gzip
import hashlib
import logging
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from servers import Server

from gradlab import datasets
from gradlab.datasets import mnist
from gradlab.errors import DataError, DownloadError
from gradlab.files import cache_folder

DATA = os.environ.get("GRADLAB_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="GRADLAB_DATA is not set")


# MNIST from a folder.


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def tiny_mnist():
    """Return four small files in the order and format of MNIST's."""
    rng = np.random.default_rng(7)
    return {
        name: idx_bytes(
            rng.integers(0, 10, n, np.uint8)
            if "labels" in name
            else rng.integers(0, 256, (n, 28, 28), np.uint8)
        )
        for name, n in zip(mnist.ARCHIVES, (6, 6, 4, 4), strict=True)
    }


@pytest.fixture
def archives(tmp_path):
    """Return a folder with four small archives."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, data in tiny_mnist().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))
    return folder


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*_):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(mnist, "download", refuse)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("place", [".", "mnist"])
@pytest.mark.parametrize(
    ("compressed", "dotted", "suffix"),
    [
        (True, False, ".gz"),
        (False, False, ""),
        (True, False, ""),  # an archive that lost its suffix
        (False, False, ".gz"),  # unpacked by a browser
        (False, True, ""),
        (True, True, ".gz"),
    ],
)
def test_mnist_is_read_from_a_folder(tmp_path, monkeypatch, place, compressed, dotted, suffix):
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    files = tiny_mnist()
    for name, data in files.items():
        path = folder / (name.replace("-idx", ".idx" if dotted else "-idx") + suffix)
        path.write_bytes(gzip.compress(data) if compressed else data)
    given_folder = datasets.load("mnist", data_dir=tmp_path, scale=False)
    assert given_folder.train.x.astype(np.uint8).tobytes() == files["train-images-idx3-ubyte"][16:]
    assert given_folder.test.y.tolist() == list(files["t10k-labels-idx1-ubyte"][8:])
    assert given_folder.image_shape == (28, 28)
    assert given_folder.classes == 10
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    scaled = datasets.load("mnist")
    assert np.array_equal(scaled.test.x, given_folder.test.x / 255)
    assert scaled.train.x.shape == (6, 784)


@pytest.mark.usefixtures("no_download")
def test_an_incomplete_folder_is_named_and_nothing_is_downloaded(archives, monkeypatch):
    (archives / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"archives: MNIST lacks t10k-labels-idx1-ubyte$"):
        datasets.load("mnist", data_dir=archives)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        datasets.load("mnist", data_dir=archives / "nowhere")
    monkeypatch.setenv("GRADLAB_DATA", str(archives))
    with pytest.raises(DataError, match=r"lacks t10k-lab.*\(GRADLAB_DATA names this folder; unset"):
        datasets.load("mnist")
    monkeypatch.setenv("GRADLAB_DATA", str(archives / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere: no such folder \(GRADLAB_DATA names"):
        datasets.load("mnist")


def test_a_folder_that_is_given_goes_before_the_environment(archives, monkeypatch):
    monkeypatch.setenv("GRADLAB_DATA", str(archives / "nowhere"))
    assert len(datasets.load("mnist", data_dir=archives).train.x) == 6


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("train-labels-idx1-ubyte", np.zeros(5, "u1"), "5 labels, but 6 pictures in train-images"),
        ("train-labels-idx1-ubyte", np.zeros((6, 1), "u1"), r"uint8 of shape \(6, 1\); expected"),
        ("train-labels-idx1-ubyte", np.full(6, 10, "u1"), "label 0 is 10; digits go from 0 to 9"),
        ("train-images-idx3-ubyte", np.zeros((6, 784), "u1"), r"uint8 of shape \(6, 784\)"),
        ("train-images-idx3-ubyte", np.zeros((0, 28, 28), "u1"), r"uint8 of shape \(0, 28, 28\)"),
        ("t10k-images-idx3-ubyte", np.zeros((4, 8, 8), "u1"), r"\(8, 8\), but \(28, 28\) to train"),
    ],
)
def test_archives_that_do_not_fit_together(archives, name, array, said):
    path = archives / f"{name}.gz"
    path.write_bytes(gzip.compress(idx_bytes(array)))
    with pytest.raises(DataError, match=said) as caught:
        datasets.load("mnist", data_dir=archives)
    assert str(caught.value).startswith(f"{path}: ")


# MNIST by download.


class Mirror(Server):
    """A server that counts its requests."""

    def __init__(self):
        super().__init__(self.answer)
        self.url += "mnist/"
        self.files, self.asked, self.cut = {}, [], 0

    def answer(self, request):
        name = request.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if name not in self.files:
            request.send_error(404)
            return
        data = self.files[name]
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: len(data) - self.cut])

    def spoil(self, name, fault):
        """Make the server return a wrong answer for one file."""
        if fault == "other content":
            self.files[name] = gzip.compress(b"another file")
        elif fault == "truncated":
            self.cut = 3
        else:
            del self.files[name]


@pytest.fixture
def mirror(archives):
    with Mirror() as mirror:
        mirror.files = {path.name: path.read_bytes() for path in archives.iterdir()}
        yield mirror


@pytest.fixture
def other(mirror):
    with Mirror() as other:
        other.files = dict(mirror.files)
        yield other


@pytest.fixture
def checksums(mirror):
    return {name: hashlib.sha256(mirror.files[f"{name}.gz"]).hexdigest() for name in mnist.ARCHIVES}


@pytest.fixture
def down():
    """Return an address without a server, reserved while the test runs."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}/mnist/"


def test_archives_are_downloaded_once_without_noise(tmp_path, mirror, checksums, capfd, caplog):
    cache = tmp_path / "new" / "cache"
    with caplog.at_level(logging.INFO):
        paths = mnist.download(cache, [mirror.url], checksums)
    assert [path.name for path in paths] == [f"{name}.gz" for name in mnist.ARCHIVES]
    assert all(path.read_bytes() == mirror.files[path.name] for path in paths)
    assert sorted(cache.iterdir()) == sorted(paths)
    assert len(mirror.asked) == 4
    assert mnist.download(cache, [mirror.url], checksums) == paths
    assert len(mirror.asked) == 4
    assert capfd.readouterr() == ("", "")


def test_a_cached_file_that_has_changed_is_downloaded_again(tmp_path, mirror, checksums):
    paths = mnist.download(tmp_path / "cache", [mirror.url], checksums)
    paths[2].write_bytes(b"changed")
    mnist.download(tmp_path / "cache", [mirror.url], checksums)
    assert mirror.asked[4:] == [paths[2].name]
    assert paths[2].read_bytes() == mirror.files[paths[2].name]


def test_the_second_mirror_serves_when_the_first_is_down(tmp_path, mirror, down, checksums):
    paths = mnist.download(tmp_path / "cache", [down, mirror.url], checksums)
    assert len(paths) == len(mirror.asked) == 4


@pytest.mark.parametrize("fault", ["other content", "truncated", "not found"])
def test_a_bad_mirror_is_skipped(tmp_path, mirror, other, checksums, fault):
    name = "t10k-images-idx3-ubyte.gz"
    mirror.spoil(name, fault)
    paths = mnist.download(tmp_path / "cache", [mirror.url, other.url], checksums)
    assert paths[2].read_bytes() == other.files[name]
    assert name in other.asked


@pytest.mark.parametrize(
    ("fault", "said"),
    [("other content", "another SHA-256"), ("truncated", "IncompleteRead"), ("not found", "404")],
)
def test_an_archive_without_a_mirror_is_named_and_leaves_no_file(
    tmp_path, mirror, down, checksums, fault, said
):
    name = "train-images-idx3-ubyte.gz"
    mirror.spoil(name, fault)
    with pytest.raises(DownloadError) as caught:
        mnist.download(tmp_path / "cache", [mirror.url, down], checksums)
    message = str(caught.value)
    assert message.startswith(f"cannot download {name} from {mirror.url} (")
    assert down in message
    assert said in message
    assert "--data-dir" in message
    assert "GRADLAB_DATA" in message
    assert "\n" not in message
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_made_is_named(tmp_path, mirror, checksums):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"file/cache: cannot store .* with GRADLAB_CACHE"):
        mnist.download(tmp_path / "file" / "cache", [mirror.url], checksums)
    assert not mirror.asked


def test_without_a_folder_mnist_is_downloaded_to_the_cache(
    tmp_path, mirror, checksums, monkeypatch
):
    monkeypatch.setenv("GRADLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRADLAB_DATA", "")
    real = mnist.download
    monkeypatch.setattr(mnist, "download", lambda cache: real(cache, [mirror.url], checksums))
    assert repr(datasets.load("mnist")) == (
        "Dataset('mnist', train=(6, 784), test=(4, 784), classes=10)"
    )
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_the_cache_is_the_systems_by_default():
    assert "gradlab" in cache_folder().name


def test_the_real_mirrors_are_two_and_the_checksums_sha256():
    assert len(set(mnist.MIRRORS)) == 2
    assert all(url.startswith("https://") and url.endswith("/") for url in mnist.MIRRORS)
    assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in mnist.ARCHIVES.values())


# The real MNIST.


@needs_data
def test_the_real_mnist():
    data = datasets.load("mnist", data_dir=DATA, flatten=False, dtype=np.float32)
    assert data.train.x.shape == (60_000, 28, 28)
    assert data.test.x.shape == (10_000, 28, 28)
    assert data.image_shape == (28, 28)
    counts = [np.bincount(y).tolist() for _, y in (data.train, data.test)]
    assert counts == [
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ]
    assert data.train.x.min() == 0.0
    assert data.train.x.max() == 1.0


@needs_data
def test_the_canonical_archives_have_the_checksums():
    # The training pictures at hand may be a rebuilt archive; the three others are canonical.
    names = [name for name in mnist.ARCHIVES if name != "train-images-idx3-ubyte"]
    paths = dict(zip(mnist.ARCHIVES, mnist.find(Path(DATA)), strict=True))
    for name in names:
        assert hashlib.sha256(paths[name].read_bytes()).hexdigest() == mnist.ARCHIVES[name]
