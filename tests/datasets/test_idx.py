"""The IDX reader returns what was written, and refuses other files."""

import gzip
import struct
import tracemalloc

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab.datasets import idx
from gradlab.errors import DataError

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}

SAMPLE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def idx_bytes(array):
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read_or_error(path):
    try:
        return idx.read(path)
    except DataError as error:
        return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


@settings(deadline=None)
@given(
    array=hnp.arrays(
        dtype=st.sampled_from(list(CODES)),
        shape=hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5),
    ),
    compressed=st.booleans(),
)
def test_an_array_keeps_every_bit(folder, array, compressed):
    path = folder / ("array.gz" if compressed else "array")
    path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    found = idx.read(path)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.dtype.isnative
    assert found.flags.writeable
    assert found.tobytes() == array.tobytes()


@settings(deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 200),
    compressed=st.booleans(),
)
def test_a_damaged_file_is_refused_or_harmless(folder, edits, length, compressed):
    whole = idx_bytes(SAMPLE)
    damaged = bytearray(gzip.compress(whole) if compressed else whole)[:length]
    for position, byte in edits:
        if position < len(damaged):
            damaged[position] = byte
    path = folder / ("damaged.gz" if compressed else "damaged")
    path.write_bytes(damaged)
    found = read_or_error(path)
    if isinstance(found, DataError):
        assert str(found).startswith(f"{path}: ")
        assert "\n" not in str(found)
    else:
        # gzip's checksum leaves no doubt; an uncompressed file has none to keep its numbers.
        assert np.array_equal(found, SAMPLE) or not compressed


HEADER = bytes([0, 0, 8, 1])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("short", b"\0\0", "there are only 2"),
        ("empty", b"", "there are only 0"),
        ("magic", b"\1\0\x08\1" + bytes(8), "starts with 01 00 08 01"),
        ("code", b"\0\0\x0a\1" + bytes(8), "dtype code"),
        ("scalar", b"\0\0\x08\0\5", "starts with 00 00 08 00"),
        ("sizes", HEADER + b"\0\0", "ends within the sizes of its 1 dimensions"),
        ("fewer", HEADER + struct.pack(">I", 9) + bytes(8), "promises 9 bytes .* only 8"),
        ("more", HEADER + struct.pack(">I", 9) + bytes(10), "promises 9 bytes .* are more"),
        ("huge", b"\0\0\x08\3" + b"\xff" * 12, "more than the 1073741824 bytes"),
        ("flat", b"\0\0\x08\3" + b"\xff" * 8 + bytes(4), "more than the 1073741824 bytes"),
        (
            "deep",
            b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\5",
            "255 dimensions; at most 32 are read",
        ),
        ("cut.gz", gzip.compress(idx_bytes(SAMPLE))[:-9], "truncated or damaged"),
        ("empty.gz", b"", "there are only 0"),
        ("tail.gz", gzip.compress(idx_bytes(SAMPLE)) + b"tail", "not a valid gzip file"),
        ("crc.gz", gzip.compress(idx_bytes(SAMPLE))[:-8] + bytes(8), "not a valid gzip file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_name_the_problem(tmp_path, name, data, said):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        idx.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such file"):
        idx.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"is a folder; name a file"):
        idx.read(tmp_path)


@pytest.mark.parametrize("promised", [3, 2**31])
def test_memory_is_bounded_by_the_header_and_the_limit(tmp_path, promised):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HEADER + struct.pack(">I", promised) + bytes(2**26), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="promises"):
            idx.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21, f"{peak} bytes for a file that promises {promised}"
