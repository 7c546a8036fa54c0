"""Weights in common files: lists, other names and shapes, pickles of unknown classes."""

import gzip
import io
import itertools
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlab import network, pickles, weights
from gradlab.errors import WeightsError

NET = network.init([5, 4, 3], seed=1)
W1, b1, W2, b2 = NET.values()


def load(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data))
    return weights.load(path)


def rows(array):
    return array.tolist()


LISTS = {
    "in a list": [W1, b1, W2, b2],
    "in pairs": [(W1, b1), (W2, b2)],
    "matrices, then biases": ([W1, W2], [b1, b2]),
    "by kind": {"weights": [W1, W2], "biases": [b1, b2]},
    "biases first": {"b": [b1, b2], "W": [W1, W2]},
    "by layer": [{"W": W1, "b": b1}, {"W": W2, "b": b2}],
    "in columns": {"weights": [W1.T, W2.T], "biases": [b1[:, None], b2[:, None]]},
    "in rows": {"W1": W1, "b1": b1[None], "W2": W2, "b2": b2[None]},
    "of numbers": {"weights": [rows(W1), rows(W2)], "biases": [rows(b1), rows(b2)]},
    "of an ordered dict": {"fc1.weight": W1.T, "fc1.bias": b1, "fc2.weight": W2.T, "fc2.bias": b2},
}


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_weights_of_any_structure_are_a_network(tmp_path, form, protocol):
    for name, pack in (("w.pkl", bytes), ("w.pkl.gz", gzip.compress), ("w.pickle", gzip.compress)):
        found = weights.as_network(load(tmp_path, name, pack(pickle.dumps(LISTS[form], protocol))))
        assert list(found) == list(NET)
        assert all(np.array_equal(found[key], NET[key]) for key in NET)
        assert network.layers(found)


@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=14),
    turn=st.booleans(),
    column=st.sampled_from([(-1,), (1, -1), (-1, 1)]),
)
def test_a_state_dict_without_its_order_is_the_network_or_refused(widths, turn, column):
    net = network.init(widths, seed=0)
    state = {}
    for i, (W, b) in enumerate(network.layers(net)):
        state[f"layers.{i}.weight"] = W.T if turn else W
        state[f"layers.{i}.bias"] = b.reshape(column)
    state = dict(sorted(state.items()))  # as safetensors has them: layer 10 before layer 2
    try:
        found = weights.as_network(state)
    except WeightsError as error:
        assert "name the arrays W1, b1" in str(error)  # noqa: PT017
        assert len(set(widths)) < len(widths)
        return
    assert found.keys() == net.keys()
    assert all(np.array_equal(found[key], net[key]) for key in net)


def test_other_arrays_do_not_change():
    for params in ({"A": np.eye(3)}, {"W1": W1, "b1": b2}, {"W1": W1, "b1": b1, "W2": W2}, {}):
        found = weights.as_network(params)
        assert found.keys() == params.keys()
        assert all(found[key] is params[key] for key in params)


def test_names_of_ours_say_where_the_inputs_of_a_square_matrix_are():
    W = np.arange(4.0).reshape(2, 2)
    assert weights.as_network({"W1": W, "b1": np.zeros(2)})["W1"] is W
    with pytest.raises(WeightsError, match="on which side of a matrix"):
        weights.as_network({"W": W, "b": np.zeros(2)})


# The error for an unreadable file names its kind.


def torch_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


OLD_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)


def text_mode(data):
    return data.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("w.pkl", torch_zip(), r"a PyTorch file: save its state dict as safetensors"),
        ("w.pkl.gz", gzip.compress(torch_zip()), r"a PyTorch file: save its state dict"),
        ("w.pkl", OLD_TORCH, r"a PyTorch file: save its state dict as safetensors"),
        ("w.pth", b"", r"w.pth: a PyTorch file: save its state dict as safetensors"),
        ("w.pkl", b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, as Keras writes it"),
        ("w.safetensors", torch_zip(), r"a PyTorch file"),
        ("w.pkl.gz", gzip.compress(pickle.dumps(NET))[:-9], "gzip file is truncated or damaged"),
        ("w.pkl", {1: W1}, "1 cannot name an array; use a string"),
        ("w.pkl", {"cost": "cross entropy", "W": W1}, "cost is a str"),
        ("w.pkl", {"W": [[1, 2], [3]], "b": [True]}, "W.b.*|b.0 is a bool; weights are arrays"),
        ("w.pkl", {"a.0": W1, "a": [W2]}, "it holds the name 'a.0' twice"),
        ("w.pkl", [[[[[[[W1]]]]]]], "nests more than 6"),
        ("w.pkl", b"\x80\x06}.", "protocol 6; 5 is the last known one"),
    ],
)
def test_errors_name_the_actual_format(tmp_path, name, data, said):
    with pytest.raises(WeightsError, match=said) as caught:
        load(tmp_path, name, data)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_whose_line_ends_were_changed_is_damaged_in_transfer(tmp_path, protocol):
    params = {"W1": np.arange(20.0).reshape(2, 10), "b1": np.full(10, 2.0**-1000)}
    data = pickle.dumps(params, protocol).replace(b"\x00\x00\x00\x00\x00\x00\x24\x40", b"\n" * 8)
    for array in weights.load(_written(tmp_path, data)).values():
        assert np.isfinite(array).all()
    with pytest.raises(WeightsError, match="damaged in transfer: each of its line ends became"):
        load(tmp_path, "w.pkl", text_mode(data))


def _written(tmp_path, data):
    path = tmp_path / "sound.pkl"
    path.write_bytes(data)
    return path


# Limits hold for the sum.


def test_an_array_counts_as_often_as_it_is_named(tmp_path, monkeypatch):
    array = np.ones(1000)
    row = rows(array)
    for structure in (
        {f"W{i}": array for i in range(10)},
        [array] * 10,
        [[array] * 5] * 2,
        {f"W{i}": row for i in range(10)},
        [np.float64(1)] * 10_000,
    ):
        data = pickle.dumps(structure)
        for most, fits in ((80_000, True), (79_999, False)):
            # The file itself is much smaller.
            monkeypatch.setattr(weights, "MAX_FILE_BYTES", max(most, len(data)) if fits else most)
            if len(data) > most:
                continue
            if fits:
                assert sum(a.nbytes for a in load(tmp_path, "w.pkl", data).values()) == 80_000
            else:
                with pytest.raises(WeightsError, match="take more than the 79999 bytes"):
                    load(tmp_path, "w.pkl", data)


def deep(levels, width):
    """Return lists in lists that name each other: `width` to the power `levels` values."""
    value = np.ones(1)
    for _ in range(levels):
        value = [value] * width
    return value


def test_circular_structures_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="more than the 65536 values"):
        load(tmp_path, "w.pkl", deep(5, 50))
    for last in ([1.0] * 400, [1.0] * 399 + ["a"]):
        with pytest.raises(WeightsError, match="more than the 4194304 numbers in lists"):
            load(tmp_path, "w.pkl", {"W": [[[last] * 400] * 400] * 400})


def test_programs_that_would_not_end_are_refused(tmp_path, monkeypatch):
    # To hash a tuple of tuples that are each other, and to multiply integers of a megabyte.
    tuples = b"}N" + b"\x85" + b"2\x86" * 100 + b"Ns."
    with pytest.raises(WeightsError, match="a tuple cannot name an array"):
        load(tmp_path, "w.pkl", tuples)
    array = pickle.dumps({"W": np.zeros(2)}, 4)
    start = array.index(b"K\x02\x85")
    integer = b"\x8b" + (10**6).to_bytes(4, "little") + b"\x7f" * 10**6 + b"q\xf0"
    for sizes in (10, 1000):
        shape = b"(" + integer + b"h\xf0" * sizes + b"t"
        with pytest.raises(WeightsError, match="its shape is not a tuple of sizes"):
            load(tmp_path, "w.pkl", array[:2] + array[11:start] + shape + array[start + 3 :])
    monkeypatch.setattr("gradlab.pickles.machine.MAX_OPCODES", 1000)
    with pytest.raises(WeightsError, match="more than the 1000 opcodes"):
        load(tmp_path, "w.pkl", b"}" * 1001 + b".")


def test_long_names_are_refused(tmp_path):
    for name in ("W" * 256, "W" * 10**6):
        with pytest.raises(WeightsError, match="cannot name an array") as caught:
            load(tmp_path, "w.pkl", {name: W1})
        assert len(str(caught.value)) < 500
        with pytest.raises(pickles.PickleError, match="cannot name an array"):
            pickles.read(pickle.dumps({name: W1}), 1000)
    with pytest.raises(WeightsError, match=r"WW\.\.\. cannot name an array; use 255 characters"):
        weights.save(tmp_path / "w.npz", {"W" * 256: W1})
    assert load(tmp_path, "w.pkl", {"W" * 255: W1}).keys() == {"W" * 255}


def test_every_opcode_is_known_or_refused_by_name(tmp_path):
    """The machine agrees with Python's own on structures of all kinds, under each protocol."""
    shared = [1, 2.5]
    sample = {
        "numbers": [0, 1, 255, 256, 65536, -1, 2**31, -(2**40), 2**70, 0.1, True, False, None],
        "texts": ["", "a", "é한", "x" * 300, "y" * 70_000],
        "tuples": [(), (1.5,), (1.5, "a"), (1.5, "a", None), (1.5, "a", None, 2)],
        "dicts": {"a": {}, "b": {"c": 1}},
        "again": [shared, shared, "x" * 300],
    }
    from gradlab.pickles.machine import run

    for protocol in range(6):
        assert run(pickle.dumps(sample, protocol)) == sample
    for name, value in itertools.product(["set", "frozenset"], [{1}]):
        with pytest.raises(WeightsError, match="refused, as it"):
            load(
                tmp_path,
                "w.pkl",
                pickle.dumps({name: (set if name == "set" else frozenset)(value)}),
            )
