"""Data sets: what they hold, how options change them, and what is said when a file will not do."""

import gzip
import hashlib
import io
import logging
import os
import pickle
import socket
import threading
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab import datasets
from gradlab.datasets import build_digits, digits, mnist
from gradlab.errors import DataError, DownloadError, OptionError

DATA = os.environ.get("GRADLAB_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="GRADLAB_DATA is not set")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("datasets")


# Digits.


def test_digits_are_scikit_learns():
    source = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn is not installed"
    ).load_digits()
    raw = digits.read()
    assert np.array_equal(np.concatenate([raw.train.x, raw.test.x]), source.images)
    assert np.array_equal(np.concatenate([raw.train.y, raw.test.y]), source.target)
    with np.load(io.BytesIO(build_digits.build())) as built:
        assert np.array_equal(built["x"][:1437], raw.train.x)


def test_digits_are_split_as_documented():
    raw = digits.read()
    assert raw.train.x.dtype == np.uint8
    assert set(np.bincount(raw.train.y)) <= set(range(141, 147))
    assert set(np.bincount(raw.test.y)) <= set(range(33, 38))
    assert raw.maximum == max(raw.train.x.max(), raw.test.x.max()) == 16


def test_digits_can_be_learnt():
    x, y = datasets.load("digits").train
    x_test, y_test = datasets.load("digits").test
    means = np.array([x[y == k].mean(axis=0) for k in range(10)])
    nearest = ((x_test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == y_test).mean() > 0.8


def test_by_default_samples_are_rows_of_float64_in_the_unit_interval():
    data = datasets.load("digits")
    assert repr(data) == "Dataset('digits', train=(1437, 64), test=(360, 64), classes=10)"
    assert data.image_shape == (8, 8)
    for x, y in (data.train, data.test):
        assert (x.dtype, x.min(), x.max()) == (np.float64, 0.0, 1.0)
        assert (y.dtype, y.ndim, y.min(), y.max()) == (np.int64, 1, 0, 9)


def test_options_change_what_they_say_and_nothing_else():
    plain = datasets.load("digits")
    images = datasets.load("digits", flatten=False)
    assert images.train.x.shape == (1437, 8, 8)
    assert images.image_shape == (8, 8)
    assert np.array_equal(images.train.x.reshape(1437, 64), plain.train.x)
    pixels = datasets.load("digits", scale=False)
    assert np.array_equal(pixels.test.x, plain.test.x * 16)
    single = datasets.load("digits", dtype="float32", one_hot=True)
    assert single.train.x.dtype == single.train.y.dtype == np.float32
    assert np.array_equal(single.train.x, plain.train.x.astype(np.float32))
    assert np.array_equal(single.test.y.argmax(axis=1), plain.test.y)
    assert np.array_equal(single.test.y.sum(axis=1), np.ones(360))
    few = datasets.load("digits", subset=7)
    assert np.array_equal(few.train.x, plain.train.x[:7])
    assert np.array_equal(few.test.x, plain.test.x)
    assert few.classes == 10
    assert datasets.load("digits", subset=7, one_hot=True).train.y.shape == (7, 10)
    assert len(datasets.load("digits", subset=1437).train.x) == 1437


def test_two_loads_share_nothing():
    first = datasets.load("digits", scale=False)
    first.train.x[:] = -1
    assert datasets.load("digits", scale=False).train.x.min() == 0


@pytest.mark.parametrize("subset", [0, -1, 1438, 1.5, True, "7"])
def test_a_subset_out_of_range_is_refused(subset):
    with pytest.raises(OptionError, match=r"subset=.*: give an integer from 1 to 1437, as digits"):
        datasets.load("digits", subset=subset)


@pytest.mark.parametrize("dtype", [int, np.complex128, np.float16, "text", object])
def test_a_dtype_that_is_no_float_is_refused(dtype):
    with pytest.raises(OptionError, match=r"dtype=.* are float32 or float64"):
        datasets.load("digits", dtype=dtype)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mnits", "unknown dataset 'mnits': did you mean 'mnist'"),
        ("cifar", r"unknown dataset 'cifar': .*\(known are digits, mnist and the path"),
        ("", "unknown dataset ''"),
        (5, "unknown dataset 5"),
    ],
)
def test_an_unknown_name_is_said_with_the_known_ones(name, said):
    with pytest.raises(OptionError, match=said) as caught:
        datasets.load(name)
    assert "digits, mnist" in str(caught.value)


# Your own arrays.


def saved(folder, **arrays):
    path = folder / "own.npz"
    np.savez(path, **arrays)
    return path


def test_an_npz_is_split_by_its_own_test_set(tmp_path):
    x, x_test = np.arange(12.0).reshape(4, 3), np.ones((2, 3))
    path = saved(tmp_path, x=x, y=[0, 1, 2, 0], x_test=x_test, y_test=[1, 4])
    data = datasets.load(path)
    assert repr(data) == "Dataset('own.npz', train=(4, 3), test=(2, 3), classes=5)"
    assert data.image_shape is None
    assert np.array_equal(data.train.x, x)
    assert np.array_equal(data.test.x, x_test)
    assert np.array_equal(datasets.load(str(path)).test.y, [1, 4])


def test_a_fifth_is_held_out_without_one(tmp_path):
    rows = np.arange(103)
    path = saved(tmp_path, x=rows[:, None].astype(float), y=rows % 3)
    data = datasets.load(path)
    train, test = data.train.x[:, 0], data.test.x[:, 0]
    assert (len(train), len(test)) == (83, 20)
    assert np.array_equal(np.sort(np.concatenate([train, test])), rows)
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)
    # Pinned: the split may not change between versions of gradlab or NumPy.
    assert test[:8].tolist() == [2, 3, 11, 13, 15, 20, 21, 32]
    for x, y in (data.train, data.test):
        assert np.array_equal(y, x[:, 0] % 3)
    assert np.array_equal(datasets.load(path, subset=5).train.x[:, 0], train[:5])


def test_two_samples_make_one_of_each(tmp_path):
    data = datasets.load(saved(tmp_path, x=np.eye(2), y=[0, 1]))
    assert (len(data.train.x), len(data.test.x)) == (1, 1)


@pytest.mark.parametrize(
    ("dtype", "divided_by"),
    [("u1", 255), ("u2", 65535), ("u4", 1), ("i1", 1), ("i8", 1), ("f4", 1), ("f8", 1), ("?", 1)],
)
def test_only_pixels_are_scaled(tmp_path, dtype, divided_by):
    x = np.array([[0, 1], [100, 255], [1, 1]]).astype(dtype)
    path = saved(tmp_path, x=x, y=[0, 1, 1], x_test=x, y_test=[0, 1, 1])
    assert np.array_equal(datasets.load(path).train.x, x / divided_by)
    assert np.array_equal(datasets.load(path, scale=False).train.x, x.astype(float))


def test_pictures_are_known_by_their_dimensions(tmp_path):
    path = saved(tmp_path, x=np.zeros((5, 2, 3)), y=np.arange(5))
    assert datasets.load(path).train.x.shape == (4, 6)
    assert datasets.load(path).image_shape == (2, 3)
    colours = saved(tmp_path, x=np.zeros((5, 2, 3, 3)), y=np.arange(5))
    assert datasets.load(colours).train.x.shape == (4, 18)
    assert datasets.load(colours).image_shape is None


X, Y = np.ones((3, 2)), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X}, "lacks the array y"),
        ({"y": Y}, "lacks the array x"),
        ({"images": X, "labels": Y}, "lacks the array x and y"),
        ({"x": X, "y": Y, "x_test": X}, "lacks the array y_test beside x_test"),
        ({"x": X, "y": Y, "y_test": Y}, "lacks the array x_test beside y_test"),
        ({"x": X, "y": Y[:2]}, "x has 3 samples, but y has 2 labels"),
        ({"x": X, "y": Y[:0]}, "x has 3 samples, but y has 0 labels"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y[:1]}, "x_test has 3 samples, but y_test has 1"),
        ({"x": X[:1], "y": Y[:1]}, "one sample"),
        ({"x": X[:0], "y": Y[:0]}, r"x is empty, of shape \(0, 2\)"),
        ({"x": X[:, :0], "y": Y}, r"x is empty, of shape \(3, 0\)"),
        ({"x": X[0], "y": Y[:2]}, r"x has shape \(2,\); expected \(n, d\)"),
        ({"x": 1.0, "y": Y}, r"x has shape \(\); expected \(n, d\)"),
        ({"x": [[1.0, 2], [np.nan, 3]], "y": Y[:2]}, r"x\[1, 0\] is nan; every number"),
        ({"x": [[1.0, -np.inf]], "y": Y[:1]}, r"x\[0, 1\] is -inf"),
        ({"x": [["a", "b"]], "y": Y[:1]}, "x has dtype <U1; samples are real numbers"),
        ({"x": X * 1j, "y": Y}, "x has dtype complex128"),
        ({"x": X, "y": np.eye(3)}, r"y has shape \(3, 3\); expected \(n,\)"),
        ({"x": X, "y": Y * 0.5}, r"y\[1\] is 0.5; labels are whole numbers from 0"),
        ({"x": X, "y": Y * np.nan}, r"y\[0\] is nan; labels are whole numbers from 0"),
        ({"x": X, "y": Y * 1e300}, r"y\[2\] is 2e\+300; labels number the classes"),
        ({"x": X, "y": np.array(0)}, r"y has shape \(\); expected \(n,\)"),
        ({"x": X, "y": Y * 1j}, "y has dtype complex128; labels are integers"),
        ({"x_train": X, "x_test": X, "y_test": Y}, "lacks the array y_train beside x_test"),
        ({"x_train": X, "y_train": Y[:2]}, "x_train has 3 samples, but y_train has 2 labels"),
        ({"x": X, "y": ["a", "b", "c"]}, "y has dtype <U1; labels are integers"),
        ({"x": X, "y": Y - 1}, r"y\[0\] is -1; labels number the classes"),
        ({"x": X, "y": Y + 2**16 - 2}, r"y\[2\] is 65536; labels number the classes"),
        ({"x": X, "y": np.uint64([0, 2**64 - 1, 1])}, r"y\[1\] is 18446744073709551615"),
        ({"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y}, r"\(2,\) in x, but \(1,\) in x_test"),
        ({"x": X, "y": Y, "x_test": X.astype("u1"), "y_test": Y}, "float64, but x_test uint8"),
        ({"x": np.array([[None]]), "y": Y[:1]}, "x cannot be read .*objects are programs"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(tmp_path, arrays, said):
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=said) as caught:
        datasets.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "own.npz"
    with pytest.raises(DataError, match=r"own.npz: no such file"):
        datasets.load(path)
    for content in (b"", b"x,y\n1,2\n", pickle.dumps(X)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"own.npz: not an .npz file"):
            datasets.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(DataError, match=r"own.npz: x cannot be read"):
        datasets.load(path)
    with pytest.raises(DataError, match=r": is a folder; name a file"):
        datasets.load(tmp_path)
    (tmp_path / "own.arff").write_text("1,2\n")
    with pytest.raises(DataError, match=r"own.arff: not an .npz file .* nor one that ends in .csv"):
        datasets.load(str(tmp_path / "own.arff"))


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


def test_a_pickle_inside_an_npz_is_not_run(tmp_path):
    canary = tmp_path / "canary"
    evil = np.array([[Payload(canary)]], dtype=object)
    np.savez(tmp_path / "own.npz", x=evil, y=[0], allow_pickle=True)
    with pytest.raises(DataError, match="x cannot be read"):
        datasets.load(tmp_path / "own.npz")
    assert not canary.exists()


@settings(deadline=None, max_examples=200)
@given(
    edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 700),
)
def test_a_damaged_npz_is_refused_or_harmless(folder, edits, length):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=X, y=Y)
    damaged = bytearray(buffer.getvalue())[:length]
    for position, byte in edits:
        if position < len(damaged):
            damaged[position] = byte
    path = folder / "damaged.npz"
    path.write_bytes(damaged)
    try:
        data = datasets.load(path)
    except DataError:
        return
    assert np.array_equal(np.concatenate([data.train.x, data.test.x]), X)


@settings(deadline=None)
@given(x=hnp.arrays(np.float64, (6, 2), elements={"allow_nan": False, "allow_infinity": False}))
def test_floats_come_back_bit_for_bit(folder, x):
    data = datasets.load(saved(folder, x=x, y=np.zeros(6, int), x_test=x, y_test=np.zeros(6, int)))
    assert data.train.x.tobytes() == data.test.x.tobytes() == x.tobytes()


# MNIST from a folder.


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def tiny_mnist():
    """Return four small files in the order and of the form of MNIST's."""
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
    """A folder with four small archives."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, data in tiny_mnist().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))
    return folder


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    """Keep a developer's own settings, and the network, out of the tests."""
    monkeypatch.delenv("GRADLAB_DATA", raising=False)
    monkeypatch.delenv("GRADLAB_CACHE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


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
def test_a_folder_that_lacks_files_is_named_and_nothing_downloaded(archives, monkeypatch):
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


class Mirror:
    """A server on the loopback interface that counts what it is asked for."""

    def __init__(self):
        self.files, self.asked, self.cut = {}, [], 0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                mirror.asked.append(name)
                if name not in mirror.files:
                    self.send_error(404)
                    return
                data = mirror.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(OSError):  # who asked is gone
                    self.wfile.write(data[: len(data) - mirror.cut])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/mnist/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


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
    """Return an address at which nobody answers, and nobody else can while the test runs."""
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
def test_a_bad_mirror_is_passed_over(tmp_path, mirror, other, checksums, fault):
    name = "t10k-images-idx3-ubyte.gz"
    if fault == "other content":
        mirror.files[name] = gzip.compress(b"another file")
    elif fault == "truncated":
        mirror.cut = 3
    else:
        del mirror.files[name]
    paths = mnist.download(tmp_path / "cache", [mirror.url, other.url], checksums)
    assert paths[2].read_bytes() == other.files[name]
    assert name in other.asked


@pytest.mark.parametrize(
    ("fault", "said"),
    [("other content", "another SHA-256"), ("truncated", "IncompleteRead"), ("not found", "404")],
)
def test_what_no_mirror_serves_is_said_and_leaves_no_file(
    tmp_path, mirror, down, checksums, fault, said
):
    name = "train-images-idx3-ubyte.gz"
    if fault == "other content":
        mirror.files[name] = gzip.compress(b"another file")
    elif fault == "truncated":
        mirror.cut = 3
    else:
        del mirror.files[name]
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
    with pytest.raises(DownloadError, match=r"file/cache: cannot keep .* with GRADLAB_CACHE"):
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
    assert "gradlab" in mnist.cache_folder().name


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
