"""Data sets: digits and your own arrays, what options change, and which files are refused."""

import io
import os
import pickle
import zipfile

import build_digits
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab import datasets
from gradlab.datasets import digits
from gradlab.errors import DataError, OptionError


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


def test_each_option_changes_only_what_it_names():
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
def test_a_dtype_other_than_a_float_is_refused(dtype):
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
def test_an_unknown_name_is_reported_with_the_known_ones(name, said):
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


def test_a_fifth_is_held_out_without_test_data(tmp_path):
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


def test_of_two_samples_one_is_for_testing(tmp_path):
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


def test_pictures_are_recognised_by_their_dimensions(tmp_path):
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
def test_errors_name_the_problem_of_an_array(tmp_path, arrays, said):
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=said) as caught:
        datasets.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_npz(tmp_path):
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
def test_floats_keep_every_bit(folder, x):
    data = datasets.load(saved(folder, x=x, y=np.zeros(6, int), x_test=x, y_test=np.zeros(6, int)))
    assert data.train.x.tobytes() == data.test.x.tobytes() == x.tobytes()
