"""Parameters come back as they were saved; files execute nothing, and writing is atomic."""

import errno
import io
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradlab import weights
from gradlab.errors import WeightsError

DATA = os.environ.get("GRADLAB_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="GRADLAB_DATA is not set")

PARAMS = {"W1": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b1": np.array([1, -2, 3])}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

dtypes = st.sampled_from(
    [*(f"f{n}" for n in (2, 4, 8)), *(f"{kind}{n}" for kind in "iu" for n in (1, 2, 4, 8))]
)
arrays = hnp.arrays(
    dtype=dtypes,
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)
layouts = st.sampled_from(
    [lambda a: a, np.transpose, np.asfortranarray, lambda a: a.astype(a.dtype.newbyteorder(">"))]
)
laid_out = st.builds(lambda array, layout: layout(array), arrays, layouts)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.isprintable)
params_dicts = st.dictionaries(names, laid_out, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        native = array.dtype.newbyteorder("=")
        assert (found[name].dtype, found[name].shape) == (native, array.shape), name
        assert found[name].tobytes() == array.astype(native).tobytes(), name
        assert found[name].flags.writeable
        assert found[name].dtype.isnative


@pytest.mark.parametrize("suffix", weights.WRITERS)
@settings(deadline=None)
@given(params=params_dicts)
@example(params={"file": np.zeros(2), "a.npy": np.ones(2), "a": np.zeros(()), "x/y": np.ones(0)})
def test_a_round_trip_keeps_every_bit(folder, suffix, params):
    path = folder / f"round{suffix}"
    weights.save(path, params)
    assert_same(weights.load(path), params)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(deadline=None, max_examples=50)
@given(params=params_dicts)
def test_pickles_of_every_protocol_are_read(folder, protocol, params):
    path = folder / "round.pkl"
    path.write_bytes(pickle.dumps(params, protocol))
    assert_same(weights.load(path), params)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_may_hold_numbers_and_ordered_dicts(tmp_path, protocol):
    path = tmp_path / "old.pkl"
    values = OrderedDict(a=np.float32(1.5), b=2.5, c=np.int64(3), d=4)
    path.write_bytes(pickle.dumps(values, protocol))
    found = weights.load(path)
    assert {name: (array.dtype.name, array.item()) for name, array in found.items()} == {
        "a": ("float32", 1.5),
        "b": ("float64", 2.5),
        "c": ("int64", 3),
        "d": ("int64", 4),
    }


def test_pickles_of_either_numpy_are_read(tmp_path):
    path = tmp_path / "old.pkl"
    new = pickle.dumps(PARAMS, 3)
    for old_name, new_name in (
        (b"numpy.core.", b"numpy._core."),
        (b"numpy._core.", b"numpy.core."),
    ):
        path.write_bytes(new.replace(old_name, new_name))
        assert new_name in path.read_bytes()
        assert_same(weights.load(path), PARAMS)


def test_a_pickle_of_python_2_is_read(tmp_path):
    path = tmp_path / "python2.pkl"
    numbers = struct.pack("<2d", 1.5, -2.0)
    path.write_bytes(
        b"\x80\x02}U\x01bcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x10" + numbers + b"tbs."
    )
    assert_same(weights.load(path), {"b": np.array([1.5, -2.0])})


@pytest.mark.parametrize("suffix", weights.WRITERS)
def test_the_same_parameters_give_the_same_bytes(tmp_path, suffix, monkeypatch):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    weights.save(first, PARAMS)
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 2, 3, 4, 5, 6, 0, 0, 0))
    weights.save(second, {name: np.asfortranarray(array) for name, array in PARAMS.items()})
    assert first.read_bytes() == second.read_bytes()


def test_other_programs_read_saved_files(tmp_path):
    import safetensors.numpy

    weights.save(tmp_path / "w.npz", PARAMS)
    with np.load(tmp_path / "w.npz") as archive:
        assert_same(dict(archive), PARAMS)
    weights.save(tmp_path / "w.safetensors", PARAMS)
    assert_same(safetensors.numpy.load_file(tmp_path / "w.safetensors"), PARAMS)


def test_npz_keeps_the_order_of_names(tmp_path):
    path = tmp_path / "w.npz"
    weights.save(path, {"z": np.ones(1), "a": np.ones(1)})
    assert list(weights.load(path)) == ["z", "a"]


def test_saving_does_not_change_its_arguments(tmp_path):
    params = {"W": np.asfortranarray(np.ones((2, 3))).astype(">f4"), "scale": 2.0}
    before = params["W"]
    weights.save(tmp_path / "w.npz", params)
    assert params["W"] is before
    assert params["scale"] == 2.0
    assert weights.load(tmp_path / "w.npz")["scale"].shape == ()


# Forbidden actions of a pickle.


class Payload:
    """An object whose pickle is a call, which `pickle.loads` would make."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def payloads(canary):
    create = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": (os.system.__module__ + ".system", Payload(os.system, f"touch '{canary}'")),
        "eval": ("eval", Payload(eval, create)),
        "exec": ("exec", Payload(exec, create)),
        "open": ("open", Payload(open, str(canary), "w")),
        "getattr": ("getattr", Payload(getattr, Payload(Path, canary), "touch")),
        "subprocess": ("check_call", Payload(subprocess.check_call, ["touch", canary])),
        "savetxt": ("savetxt", Payload(np.savetxt, str(canary), [1.0])),
        "memmap": ("memmap", Payload(np.memmap, str(canary), "u1", "w+", 0, (1,))),
        "fromfile": ("fromfile", Payload(np.fromfile, os.devnull)),
        "loads": ("loads", Payload(pickle.loads, pickle.dumps(Payload(exec, create)))),
    }


PLACES = {
    "alone": lambda evil: evil,
    "value": lambda evil: {"W1": evil},
    "beside": lambda evil: {"W1": np.ones(2), "b1": evil},
    "nested": lambda evil: {"layers": [np.ones(2), (1, {"deep": evil})]},
    "object array": lambda evil: {"W1": np.array([evil, None], dtype=object)},
    "object scalar": lambda evil: {"W1": np.array(evil, dtype=object)},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", payloads(Path()))
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path, kind, place):
    canary, path = tmp_path / "canary", tmp_path / "hostile.pkl"
    named, evil = payloads(canary)[kind]
    for protocol in PROTOCOLS:
        path.write_bytes(pickle.dumps(PLACES[place](evil), protocol))
        with pytest.raises(WeightsError, match=rf"refused, as it names \S*{named}\b") as caught:
            weights.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert not canary.exists()


@pytest.mark.parametrize("kind", ["os.system", "eval", "exec", "savetxt", "subprocess", "loads"])
def test_the_payloads_are_live(tmp_path, kind):
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps({"W1": payloads(canary)[kind][1]}))
    assert canary.exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"(S'touch canary'\nios\nsystem\n.", "names os.system"),
        (b"(cos\nsystem\nS'touch canary'\no.", "names os.system"),
        (b"cnumpy\nos.system\n(S'touch canary'\ntR.", "names numpy.os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.", "names numpy.ndarray.__new__"),
        (b"\x80\x04\x8c\x00\x8c\x0dnumpy.ndarray\x93.", "names .numpy.ndarray"),
        (b"c__builtin__\nbytes\n(I9999999999\ntR.", "holds a NumPy array, not a dict"),
        (b"}S'a'\nc__builtin__\nbytes\n(I9999999999\ntRs.", "a is not an array"),
        (b"}S'a'\nc_codecs\nencode\n(S'x'\nS'rot13'\ntRs.", "a is not an array .*but a encode"),
        (b"}S'a'\ncnumpy\ndtype\n(S'f8'\ntRs.", "a is not an array .*but a dtype"),
        (b"}S'a'\ncnumpy\nndarray\ns.", "weights are arrays"),
        (b"cnumpy\nndarray\n}S'__call__'\nI1\nsb.", "damaged"),
        (b"cnumpy\nndarray\n(N}S'__class__'\nI1\nstb.", "damaged"),
        (b"ccollections\nOrderedDict\n(N}S'get'\nI1\nstb.", "damaged"),
        (b"ccollections\nOrderedDict\n)\x81.", "the opcode NEWOBJ"),
        (b"cnumpy\nndarray\n)\x81.", "the opcode NEWOBJ"),
        (b"Pos.system\n.", "the opcode PERSID"),
        (b"\x82\x01.", "the opcode EXT1"),
        (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
        (b"}r\xff\xff\xff\xff.", "no arrays"),
        (b"}p4294967295\n.", "no arrays"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "damaged"),
        (b"]h\0a.", "damaged"),
        (b"N.", "holds a NoneType"),
        (b"]\x94h\x00a.", "nests more than"),
    ],
)
def test_hand_written_programs_do_nothing(tmp_path, monkeypatch, program, said):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(program)
    with pytest.raises(WeightsError, match=said):
        weights.load(path)
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.pkl"]
    path.write_bytes(pickle.dumps(PARAMS))
    assert_same(weights.load(path), PARAMS)


def reconstructed(shape=(2,), code="f8", order="<", fortran=False, data=bytes(16)):
    """Pickle a dict whose array has this description, which may be false."""
    array = pickle.dumps({"W": np.zeros(2)}, 4)
    fields = {
        b"K\x02\x85": pickle.dumps(shape, 4)[2:-1],
        b"\x8c\x02f8": b"\x8c" + bytes([len(code)]) + code.encode(),
        b"\x8c\x01<": b"\x8c" + bytes([len(order)]) + order.encode(),
        b"\x89C\x10" + bytes(16): pickle.dumps(fortran, 4)[2:-1] + b"C" + bytes([len(data)]) + data,
    }
    for old, new in fields.items():
        assert array.count(old) == 1
        array = array.replace(old, new)
    # The frame's length is no longer true, and a pickle can do without frames.
    return array[:2] + array[11:]


def test_a_true_description_is_read(tmp_path):
    path = tmp_path / "array.pkl"
    data = struct.pack(">6h", *range(6))
    path.write_bytes(reconstructed((2, 3), "i2", ">", True, data))
    wanted = np.arange(6, dtype=np.int16).reshape((2, 3), order="F")
    assert_same(weights.load(path), {"W": wanted})


@pytest.mark.parametrize(
    "falsely",
    [
        {"shape": (3,)},
        {"shape": (-1,)},
        {"shape": (-1, -2)},
        {"shape": (2**62, 2**3, 0)},
        {"shape": (2.0,)},
        {"shape": "ab"},
        {"code": "f4"},
        {"code": "O8"},
        {"code": "V8"},
        {"code": "i3"},
        {"code": "f8,f8"},
        {"code": "(2,)f8"},
        {"order": "="},
        {"order": "x"},
        {"data": bytes(15)},
        {"data": b""},
    ],
)
def test_a_false_description_is_refused(tmp_path, falsely):
    path = tmp_path / "array.pkl"
    path.write_bytes(reconstructed(**falsely))
    with pytest.raises(WeightsError, match="W is not an array as NumPy pickles them"):
        weights.load(path)


@pytest.mark.parametrize("codec", ["rot-13", "utf-16", "base64"])
def test_bytes_written_as_text_have_one_encoding(tmp_path, codec):
    path = tmp_path / "array.pkl"
    array = pickle.dumps({"W": np.ones(2)}, 2)
    assert array.count(b"X\x06\0\0\0latin1") == 1
    renamed = b"X" + struct.pack("<I", len(codec)) + codec.encode()
    path.write_bytes(array.replace(b"X\x06\0\0\0latin1", renamed))
    with pytest.raises(WeightsError, match=f"W is not an array .*bytes encoded as '{codec}'"):
        weights.load(path)


def test_an_npz_with_pickled_objects_is_refused(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "hostile.npz"
    evil = np.array([Payload(os.system, f"touch '{canary}'")], dtype=object)
    np.savez(path, W1=evil, allow_pickle=True)
    with pytest.raises(WeightsError, match=r"W1 cannot be read .*objects are programs"):
        weights.load(path)
    assert not canary.exists()


# Damaged and foreign files.


def load_or_error(path):
    try:
        return weights.load(path)
    except WeightsError as error:
        return error


def saved(suffix):
    if suffix == ".pkl":
        return pickle.dumps(PARAMS, 4)
    return weights.WRITERS[suffix](PARAMS, {})


@pytest.mark.parametrize("suffix", weights.READERS)
@settings(deadline=None, max_examples=300)
@given(
    edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 700),
)
def test_a_damaged_file_raises_nothing_but_a_weights_error(folder, suffix, edits, length):
    damaged = bytearray(saved(suffix))[: length if length < 600 else None]
    for position, byte in edits:
        if position < len(damaged):
            damaged[position] = byte
    path = folder / f"damaged{suffix}"
    path.write_bytes(damaged)
    found = load_or_error(path)
    if isinstance(found, WeightsError):
        assert str(found).startswith(f"{path}: ")
        assert "\n" not in str(found)
    else:
        assert all(np.isfinite(array).all() for array in found.values())
        if suffix == ".npz":  # the only format with checksums, of the arrays but not of their names
            wanted = {array.tobytes() for array in PARAMS.values()}
            assert {array.tobytes() for array in found.values()} <= wanted


CONTENTS = [*weights.READERS, "text", "half"]


@pytest.mark.parametrize(
    ("suffix", "other"),
    [(suffix, other) for suffix in weights.READERS for other in CONTENTS if other != suffix],
)
def test_the_wrong_content_is_refused(tmp_path, suffix, other):
    path = tmp_path / f"w{suffix}"
    half = saved(suffix)[: len(saved(suffix)) // 2]
    path.write_bytes({"half": half, "text": b"W1: 1 2 3\n"}.get(other) or saved(other))
    with pytest.raises(WeightsError, match=rf"^{path}: not a {suffix} file"):
        weights.load(path)


def test_a_dtype_that_numpy_lacks_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    header = b'{"W":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(WeightsError, match="dtype BF16, which NumPy lacks"):
        weights.load(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named_both_ways(tmp_path, bad):
    params = {"b1": np.zeros(2), "W1": np.zeros((3, 4), np.float32)}
    params["W1"][1, 2] = bad
    said = rf"W1\[1, 2\] is {bad}; every entry must be finite"
    for suffix, write in weights.WRITERS.items():
        with pytest.raises(WeightsError, match=said):
            weights.save(tmp_path / f"w{suffix}", params)
        (tmp_path / f"w{suffix}").write_bytes(write(params, {}))
        with pytest.raises(WeightsError, match=said):
            weights.load(tmp_path / f"w{suffix}")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"scale": bad}))
    with pytest.raises(WeightsError, match=f"scale is {bad};"):
        weights.load(tmp_path / "w.pkl")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (np.ones(3), "a dict of named arrays, not a ndarray"),
        ([np.ones(3)], "a dict of named arrays, not a list"),
        ({}, "no arrays"),
        ({"layers": [np.ones(3)]}, "layers is a list; weights are flat.*'layers.0'"),
        ({"layer": {"W": np.ones(3)}}, "layer is a dict; weights are flat"),
        ({1: np.ones(3)}, "1 cannot name an array"),
        ({"": np.ones(3)}, "'' cannot name an array"),
        ({"a\0b": np.ones(3)}, "cannot name an array"),
        ({"W": "text"}, "W is a str;"),
        ({"W": None}, "W is a NoneType;"),
        ({"W": np.array(["a"])}, "W is of dtype <U1"),
        ({"W": np.array([1j])}, "W is of dtype complex128"),
        ({"W": np.array([True])}, "W is of dtype bool"),
        ({"W": np.array([None])}, "W is of dtype object"),
    ],
)
@pytest.mark.parametrize("suffix", weights.WRITERS)
def test_parameters_that_cannot_be_saved(tmp_path, suffix, params, said):
    with pytest.raises(WeightsError, match=said):
        weights.save(tmp_path / f"w{suffix}", params)
    assert not list(tmp_path.iterdir())


def test_limits_of_safetensors_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match="reserves the name __metadata__"):
        weights.save(path, {"__metadata__": np.ones(1)})
    if np.dtype(np.longdouble).itemsize > 8:
        with pytest.raises(WeightsError, match=r"W has dtype \w+, which safetensors lacks"):
            weights.save(path, {"W": np.ones(1, np.longdouble)})


def test_objects_that_are_not_paths_are_refused():
    with pytest.raises(WeightsError, match="None is not a path: give the name of a file"):
        weights.load(None)


def test_paths_that_cannot_be_used(tmp_path):
    (tmp_path / "w.npz").mkdir()
    (tmp_path / "empty.npz").touch()
    with pytest.raises(WeightsError, match=r"unknown suffix '.h5'; .*\.npz, \.safetensors$"):
        weights.save(tmp_path / "w.h5", PARAMS)
    with pytest.raises(WeightsError, match=r"unknown suffix ''; .*\.npz, \.safetensors, \.pkl$"):
        weights.load(tmp_path / "w")
    with pytest.raises(WeightsError, match=r"pickles are read, not written"):
        weights.save(tmp_path / "w.pkl", PARAMS)
    with pytest.raises(WeightsError, match=r"nowhere.npz: no such file"):
        weights.load(tmp_path / "nowhere.npz")
    with pytest.raises(WeightsError, match=r"empty.npz: the file is empty"):
        weights.load(tmp_path / "empty.npz")
    with pytest.raises(WeightsError, match=r"w.npz: is a folder; name the file, such as"):
        weights.load(tmp_path / "w.npz")
    with pytest.raises(WeightsError, match=r"w.npz: cannot be written"):
        weights.save(tmp_path / "w.npz", PARAMS)
    with pytest.raises(WeightsError, match=r"w.npz: cannot be written \(No such file"):
        weights.save(tmp_path / "nowhere" / "w.npz", PARAMS)
    with pytest.raises(WeightsError, match=r"w.npz: cannot be written \(Not a directory"):
        weights.save(tmp_path / "empty.npz" / "w.npz", PARAMS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.npz", "w.npz"]


# Saving is atomic.


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left"), WeightsError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, failure, seen):
    path = tmp_path / "w.npz"
    weights.save(path, PARAMS)

    def fail(_):
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(seen):
        weights.save(path, {"W1": np.ones(1000)})
    monkeypatch.undo()
    assert_same(weights.load(path), PARAMS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_replaces_the_file_and_follows_links(tmp_path):
    target, link = tmp_path / "runs" / "w.npz", tmp_path / "latest.npz"
    target.parent.mkdir()
    link.symlink_to(target)
    for value in (1.0, 2.0):
        weights.save(link, {"W": np.array([value])})
    assert link.is_symlink()
    assert_same(weights.load(target), {"W": np.array([2.0])})
    assert [file.name for file in target.parent.iterdir()] == ["w.npz"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_saved_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    weights.save(tmp_path / "w.npz", PARAMS)
    assert (tmp_path / "w.npz").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_suffix_may_be_in_capitals(tmp_path):
    weights.save(tmp_path / "W.NPZ", PARAMS)
    assert zipfile.is_zipfile(io.BytesIO((tmp_path / "W.NPZ").read_bytes()))
    assert_same(weights.load(tmp_path / "W.NPZ"), PARAMS)


@needs_data
def test_the_notebooks_weights_are_read():
    path = Path(DATA, "mnist_weight.pkl")
    found = weights.load(path)
    assert {name: array.shape for name, array in sorted(found.items())} == {
        "W1": (784, 50),
        "W2": (50, 100),
        "W3": (100, 10),
        "b1": (50,),
        "b2": (100,),
        "b3": (10,),
    }
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert_same(found, np.load(path, allow_pickle=True))


# Metadata


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@given(st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), max_size=3))
def test_metadata_round_trip_and_leave_the_parameters_alone(tmp_path_factory, suffix, metadata):
    path = tmp_path_factory.mktemp("metadata") / f"w{suffix}"
    weights.save(path, {"W1": np.eye(2)}, metadata=metadata)
    assert weights.load_metadata(path) == metadata
    assert weights.load(path).keys() == {"W1"}


def test_numpy_reads_an_npz_with_metadata(tmp_path):
    path = tmp_path / "w.npz"
    weights.save(path, {"W1": np.eye(2)}, metadata={"activation": "relu"})
    with np.load(path) as archive:
        assert archive.files == ["W1"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_without_metadata_has_none(tmp_path, suffix):
    weights.save(tmp_path / f"w{suffix}", {"W1": np.eye(2)})
    assert weights.load_metadata(tmp_path / f"w{suffix}") == {}


@pytest.mark.parametrize("comment", [b"[1]", b'{"a": 1}', b"no JSON", b"\xff"])
def test_damaged_metadata_are_refused(tmp_path, comment):
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = comment
    with pytest.raises(WeightsError, match=r"w\.npz"):
        weights.load_metadata(path)
