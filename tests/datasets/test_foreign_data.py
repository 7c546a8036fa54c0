"""Data sets in common files: Keras's, those of textbooks, spreadsheets."""

import gzip
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradlab import datasets, pickles
from gradlab.datasets import formats, user
from gradlab.errors import DataError, OptionError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 784), dtype=np.uint8)
LABELS = np.arange(9, dtype=np.uint8) % 3


def load(tmp_path, name, data, **options):
    path = tmp_path / name
    path.write_bytes(data)
    return datasets.load(path, **options)


def same(split, x, y):
    return np.array_equal(split.x, x) and np.array_equal(split.y, y) and split.y.dtype == np.int64


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("compressed", [False, True])
def test_the_pickle_of_deep_learning_from_scratch(tmp_path, protocol, compressed):
    book = {
        "train_img": PIXELS,
        "train_label": LABELS,
        "test_img": PIXELS[:4],
        "test_label": LABELS[:4],
    }
    data = pickle.dumps(book, protocol)
    data = gzip.compress(data) if compressed else data
    for name in ("mnist.pkl", "mnist.pkl.gz", "MNIST.PICKLE"):
        found = load(tmp_path, name, data)
        assert same(found.train, PIXELS / 255, LABELS)
        assert same(found.test, PIXELS[:4] / 255, LABELS[:4])
        assert found.image_shape == (28, 28)
        assert found.classes == 3


def test_the_pickle_of_neural_networks_and_deep_learning(tmp_path):
    floats = (PIXELS / np.float32(256)).astype(np.float32)
    pairs = [
        (floats, LABELS.astype(np.int64)),
        (floats[:2] * 0, LABELS[:2]),
        (floats[:3], LABELS[:3]),
    ]
    for data in (pickle.dumps(tuple(pairs), 2), pickle.dumps(pairs)):
        found = load(tmp_path, "mnist.pkl.gz", gzip.compress(data))
        assert same(found.train, floats, LABELS)
        assert same(found.test, floats[:3], LABELS[:3])
    found = load(tmp_path, "two.pkl", pickle.dumps((pairs[0], pairs[2])))
    assert same(found.test, floats[:3], LABELS[:3])
    found = load(tmp_path, "one.pkl", pickle.dumps(pairs[0]))
    assert len(found.train.x) + len(found.test.x) == 9


def test_the_text_that_python_2_pickled_by_default_is_read():
    # Protocol 0 has the bytes of an array as an escaped text.
    text = (
        b"(lp0\ncnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\n"
        b"S'b'\np4\ntp5\nRp6\n(I1\n(I1\ntp7\ncnumpy\ndtype\np8\n(S'f8'\np9\nI0\nI1\ntp10\nRp11\n"
        b"(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\n"
        b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf8?'\np14\ntp15\nba."
    )
    found = pickles.read(text, 100)
    assert found["0"].tolist() == [1.5]


def test_the_archive_of_keras(tmp_path):
    pictures = PIXELS.reshape(9, 28, 28)
    for names in (("x_train", "y_train", "x_test", "y_test"), ("X", "y", "X_test", "y_test")):
        file = io.BytesIO()
        np.savez(
            file, **dict(zip(names, (pictures, LABELS, pictures[:2], LABELS[:2]), strict=True))
        )
        found = load(tmp_path, "mnist.npz", file.getvalue())
        assert same(found.train, PIXELS / 255, LABELS)
        assert same(found.test, PIXELS[:2] / 255, LABELS[:2])


@pytest.mark.parametrize("shape", [(9,), (9, 1)])
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8", bool])
def test_labels_of_any_dtype(tmp_path, shape, dtype):
    file = io.BytesIO()
    y = (LABELS % 2).astype(dtype).reshape(shape)
    np.savez(file, x=PIXELS, y=y, x_test=PIXELS, y_test=y)
    assert same(load(tmp_path, "own.npz", file.getvalue()).train, PIXELS / 255, LABELS % 2)


# Text


def everything(found):
    """Return samples and labels in the order of the file."""
    x, y = (
        np.concatenate([found.train.x, found.test.x]),
        np.concatenate([found.train.y, found.test.y]),
    )
    n = len(x)
    held = np.zeros(n, bool)
    held[np.argsort(np.random.PCG64(0).random_raw(n))[: max(n // 5, 1)]] = True
    order = np.argsort(np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)]))
    return x[order], y[order]


@pytest.mark.parametrize(
    "text",
    [
        "1,0.5,-2\n0,3,4e1\n",
        "1,0.5,-2\r\n0,3,4e1",
        "1;0.5;-2\n0;3;4e1\n",
        "1\t0.5\t-2\n0\t3\t4e1\n",
        '"1","0.5","-2"\n"0","3","4e1"\n',
        "label,a,b\n1,0.5,-2\n0,3,4e1\n\n",
        "\ufeff1,0.5,-2\n0,3,4e1\n",
        "\ufeffLabel,a,b\n1,0.5,-2\n0,3,4e1\n",
        '"a","b","class"\n0.5,-2,1\n3,4e1,0\n',
        "a; Target ;b\n0.5;1.0;-2\n3;0.0;4e1\n",
        "a,b,c\n1,0.5,-2\n0,3,4e1\n",
    ],
)
def test_a_text_has_its_label_first_or_by_name(tmp_path, text):
    for name, data in (("a.csv", text.encode()), ("b.csv.gz", gzip.compress(text.encode()))):
        x, y = everything(load(tmp_path, name, data))
        assert x.tolist() == [[0.5, -2.0], [3.0, 40.0]]
        assert y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no line of numbers"),
        ("\n\n", "has no line of numbers"),
        ("label,a\n", "has no line of numbers"),
        ("1\n2\n", "has one column"),
        ("1,2\n0,2,3\n", "line 2 has 3 cells; those before it have 2"),
        ("1,2\n0,b\n", "line 2 has 'b', which is not a number"),
        ("label,a\n1,2\n\n0,\n", "line 4 has '', which is not a number"),
        ("1,2\n0,nan\n", r"x\[1, 0\] is nan; every number must be finite"),
        ("0.5,1\n1,2\n", r"y\[0\] is 0.5; labels are whole numbers"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "line 2 has 'setosa', which is not a number"),
        ("1,2\n", "x has only one sample"),
        ("1,2\n0," + "9" * 200_000 + "x\n", "could not convert|is not a number"),
    ],
)
def test_errors_name_the_problem_of_a_text(tmp_path, text, said):
    with pytest.raises(DataError, match=f"own.csv: .*{said}") as caught:
        load(tmp_path, "own.csv", text.encode())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_pixels_in_a_text_are_recognised_by_their_range_and_number(tmp_path):
    lines = np.column_stack([LABELS, PIXELS])
    text = "\n".join(",".join(map(str, line)) for line in lines.tolist()).encode()
    found = load(tmp_path, "mnist.csv", text)
    x, y = everything(found)
    assert np.array_equal(x, PIXELS / 255)
    assert np.array_equal(y, LABELS)
    assert found.image_shape == (28, 28)
    half = "\n".join(",".join(map(str, line)) for line in (lines / 2).tolist())
    floats = load(
        tmp_path, "halves.csv", half.replace("\n1.5", "\n1").replace("\n0.5", "\n1").encode()
    )
    assert np.array_equal(everything(floats)[0], PIXELS / 2)
    wide = "\n".join(",".join(map(str, line)) for line in (lines * [[1] + [2] * 784]).tolist())
    assert np.array_equal(everything(load(tmp_path, "wide.csv", wide.encode()))[0], PIXELS * 2.0)
    few = "\n".join(",".join(map(str, line)) for line in lines[:, :65].tolist()).encode()
    assert np.array_equal(everything(load(tmp_path, "few.csv", few))[0], PIXELS[:, :64])


@given(
    x=hnp.arrays(np.float64, (5, 3), elements={"allow_nan": False, "allow_infinity": False}),
    y=st.lists(st.integers(0, user.MAX_CLASSES - 1), min_size=5, max_size=5),
)
def test_numbers_in_a_text_keep_every_bit(tmp_path_factory, x, y):
    path = tmp_path_factory.mktemp("text") / "own.csv"
    path.write_text(
        "".join(f"{n},{','.join(map(repr, row))}\n" for n, row in zip(y, x.tolist(), strict=True))
    )
    found = everything(datasets.load(path))
    assert found[0].tobytes() == x.tobytes()
    assert found[1].tolist() == y


# What is none


def test_files_without_a_data_set_are_named(tmp_path):
    idx = bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6])
    with pytest.raises(
        DataError, match=r"idx1-ubyte: one of the IDX files of MNIST; give .* mnist"
    ):
        load(tmp_path, "train-labels.idx1-ubyte", idx)
    with pytest.raises(DataError, match=r"own.pkl: refused, as it names builtins.print"):
        load(tmp_path, "own.pkl", pickle.dumps({"x": print}))
    with pytest.raises(DataError, match=r"own.pkl: not a pickle of arrays"):
        load(tmp_path, "own.pkl", b"text")
    with pytest.raises(DataError, match=r"own.pkl: lacks the array x and y"):
        load(tmp_path, "own.pkl", pickle.dumps({"a": PIXELS}))
    with pytest.raises(DataError, match=r"own.pkl.gz: the gzip file is truncated"):
        load(tmp_path, "own.pkl.gz", gzip.compress(pickle.dumps({"a": PIXELS}))[:-9])
    with pytest.raises(OptionError, match=r"path of a file that ends in \.npz, \.csv"):
        datasets.load("mnistt.cvs")
    with pytest.raises(DataError, match=r"nowhere.csv: no such file"):
        datasets.load("nowhere.csv")


def test_unpacked_data_has_a_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_TEXT_BYTES", 1000)
    with pytest.raises(DataError, match=r"own.csv.gz: unpacks to more than the 1000 bytes"):
        load(tmp_path, "own.csv.gz", gzip.compress(b"1,2\n" * 251))
    assert len(load(tmp_path, "own.csv.gz", gzip.compress(b"1,2\n" * 250)).train.x) == 200
    with pytest.raises(DataError, match=r"own.csv: larger than the 1000 bytes"):
        load(tmp_path, "own.csv", b"1,2\n" * 251)
    x = np.zeros((10, 5))
    with pytest.raises(DataError, match=r"own.pkl: its arrays take more than the 1000 bytes"):
        load(tmp_path, "own.pkl", pickle.dumps({"x": x, "x_test": x, "X": x, "y": [0] * 10}))
