"""Save and load parameters: ``.npz``, ``.safetensors``, and old pickles, read without running them.

A pickle is a program: unpickling calls whatever functions it names. Here every name stands for an
inert recorder instead, so that what comes out is a description (this function was to be called,
with these arguments), of which the arrays that NumPy writes are rebuilt from their bytes and
everything else is refused. Nothing that the file names is imported or called.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradlab import files, npz
from gradlab.errors import WeightsError, reason_of

LARGEST = 2**30
"""The most bytes that are read of a file, and that its arrays may take: 134 million parameters in
float64. A damaged or hostile file must not be able to fill the memory."""

Array: TypeAlias = NDArray[Any]
P = ParamSpec("P")
T = TypeVar("T")


def save(
    path: str | os.PathLike[str],
    params: Mapping[str, Any],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write parameters to a file, in the format of its suffix.

    The file is replaced in one move once the new one is complete: a save that fails or is
    interrupted leaves the old file as it was.

    Parameters
    ----------
    path : str or path
        A file name that ends in ``.npz`` or ``.safetensors``; its folder must exist.
    params : mapping of str to array
        The arrays by name: integers or floats, all finite, of any shape. Numbers become arrays of
        shape ``()``. The same parameters give the same bytes.
    metadata : mapping of str to str, optional
        What else belongs to them, such as the network's activation. It stands where NumPy and
        other readers pass over it: in the archive's comment, in the safetensors header.

    Raises
    ------
    WeightsError
        If `params` is not such a mapping (nested ones are not), the suffix is another, or the
        file cannot be written; the message names the array or the file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "weights.npz")
    >>> save(path, {"W1": np.ones((2, 3), np.float32), "b1": np.zeros(3)})
    >>> load(path)["W1"]
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    path = Path(path)
    if path.suffix.lower() == ".pkl":
        raise WeightsError(f"{path}: pickles are read, not written; save as .npz or .safetensors")
    write = _format_of(path, WRITERS)
    try:
        data = write(_checked(params), metadata or {})
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    try:
        files.replace(path, [data])
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror})") from error


def load(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read parameters from a file, in the format of its suffix.

    Parameters
    ----------
    path : str or path
        A file that ends in ``.npz``, ``.safetensors`` or ``.pkl``. A pickle must hold a dict of
        arrays (or numbers), as ``pickle.dump`` wrote it under any version of NumPy and any
        protocol; it is taken apart, not run.

    Returns
    -------
    dict of str to ndarray
        New arrays of the file's shapes and dtypes, in the machine's byte order. A
        ``.safetensors`` file does not keep the order of the names.

    Raises
    ------
    WeightsError
        If there is no such file, it is damaged, in another format or larger than 1 GiB, a pickle
        names anything but NumPy arrays, or an array holds something else than finite real numbers.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "old.pkl")
    >>> _ = path.write_bytes(pickle.dumps({"b1": np.arange(3)}))
    >>> load(path)
    {'b1': array([0, 1, 2])}
    >>> _ = path.write_bytes(pickle.dumps({"b1": print}))
    >>> load(path)
    Traceback (most recent call last):
    gradlab.errors.WeightsError: ...old.pkl: refused, as it names builtins.print; ...
    """
    if not isinstance(path, str | os.PathLike):
        raise WeightsError(f"{path!r} is no path: give the name of a file")
    return _read(Path(path), READERS, _checked)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read what `save` was given beside the parameters; nothing from a file that has none.

    Raises
    ------
    WeightsError
        If there is no such file, or it is damaged or in another format.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "weights.npz")
    >>> save(path, {"W1": np.ones((2, 3))}, metadata={"activation": "relu"})
    >>> load_metadata(path)
    {'activation': 'relu'}
    """

    def checked(metadata: Any) -> dict[str, str]:
        if not isinstance(metadata, dict) or not all(
            isinstance(text, str) for pair in metadata.items() for text in pair
        ):
            raise WeightsError("its metadata are not texts by name")
        return metadata

    return _read(Path(path), METADATA_READERS, checked)


def _read(
    path: Path, readers: Mapping[str, Callable[[bytes], Any]], check: Callable[[Any], T]
) -> T:
    read = _format_of(path, readers)
    try:
        data = files.read(path, LARGEST)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
    if not data:
        raise WeightsError(f"{path}: the file is empty")
    try:
        return check(read(data))
    except (WeightsError, npz.ArrayError) as error:
        raise WeightsError(f"{path}: {error}") from None
    # A damaged file may raise anything, from the parsers of zip, NumPy, JSON and pickle.
    except Exception as error:
        raise WeightsError(
            f"{path}: not a {path.suffix} file of arrays, or a damaged one ({reason_of(error)})"
        ) from error


def _format_of(path: Path, formats: Mapping[str, Callable[P, T]]) -> Callable[P, T]:
    if (suffix := path.suffix.lower()) not in formats:
        known = ", ".join(formats)
        raise WeightsError(f"{path}: unknown suffix {path.suffix!r}; name a file in {known}")
    return formats[suffix]


def _checked(params: Any) -> dict[str, Array]:
    """Return the arrays of a flat mapping, contiguous and in the machine's byte order."""
    if not isinstance(params, Mapping):
        raise WeightsError(f"weights are a dict of named arrays, not a {type(params).__name__}")
    if not params:
        raise WeightsError("there are no arrays in it")
    return {_name(name): _array(name, value) for name, value in params.items()}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        shown = repr(name) if isinstance(name, str | int) else f"a {type(name).__name__}"
        raise WeightsError(f"{shown} cannot name an array; use a string of printable characters")
    return name


def _array(name: str, value: Any) -> Array:
    if isinstance(value, (Mapping, list, tuple)):
        raise WeightsError(
            f"{name} is a {type(value).__name__}; weights are flat, so give each array in it "
            f"a name of its own, such as '{name}.0'"
        )
    try:
        array = np.asarray(value)
    except Exception as error:
        raise WeightsError(f"{name} is a {type(value).__name__}, not an array") from error
    if array.dtype.kind not in "fiu":
        from_numpy = isinstance(value, (np.ndarray, np.generic))
        what = f"of dtype {array.dtype}" if from_numpy else f"a {type(value).__name__}"
        raise WeightsError(f"{name} is {what}; weights are arrays of integers or floats")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        entry = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise WeightsError(f"{entry} is {array[index]}; every entry must be finite")
    return array.astype(array.dtype.newbyteorder("="), order="C")


# The formats, each from arrays to bytes and back.


def _to_npz(params: dict[str, Array], metadata: Mapping[str, str]) -> bytes:
    # numpy.savez writes the same format, but the time of day into it, and has no array "file".
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = json.dumps(dict(metadata)).encode() if metadata else b""
        for name, array in params.items():
            npy = io.BytesIO()
            np.save(npy, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy.getvalue())
    return buffer.getvalue()


def _from_npz(data: bytes) -> dict[str, Array]:
    return npz.read(io.BytesIO(data), LARGEST)


def _metadata_from_npz(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.comment or "{}")


def _to_safetensors(params: dict[str, Array], metadata: Mapping[str, str]) -> bytes:
    import safetensors.numpy

    for name, array in params.items():
        if name == "__metadata__":
            raise WeightsError("safetensors keeps the name __metadata__ to itself; choose another")
        if array.dtype.itemsize > 8:
            raise WeightsError(f"{name} has dtype {array.dtype}, which safetensors lacks; use .npz")
    return bytes(safetensors.numpy.save(params, dict(metadata) or None))


def _from_safetensors(data: bytes) -> dict[str, Array]:
    import safetensors.numpy

    try:
        return dict(safetensors.numpy.load(data))
    except KeyError as error:
        raise WeightsError(f"an array has the dtype {error.args[0]}, which NumPy lacks") from error


def _metadata_from_safetensors(data: bytes) -> Any:
    # The file opens with the length of its header (8 bytes, little-endian), which is JSON.
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]).get("__metadata__", {})


def _from_pickle(data: bytes) -> dict[str, Any]:
    _look_through(data)
    record = _Recorder(io.BytesIO(data), encoding="latin1").load()
    if not isinstance(record, dict):
        kind = "NumPy array" if isinstance(record, _Call) else type(record).__name__
        raise WeightsError(f"weights are a dict of named arrays, not a {kind}")
    return {_name(name): _rebuilt(name, value) for name, value in record.items()}


WRITERS: dict[str, Callable[[dict[str, Array], Mapping[str, str]], bytes]] = {
    ".npz": _to_npz,
    ".safetensors": _to_safetensors,
}
READERS: dict[str, Callable[[bytes], Any]] = {
    ".npz": _from_npz,
    ".safetensors": _from_safetensors,
    ".pkl": _from_pickle,
}
METADATA_READERS: dict[str, Callable[[bytes], Any]] = {
    ".npz": _metadata_from_npz,
    ".safetensors": _metadata_from_safetensors,
    ".pkl": lambda data: {},
}


# Reading a pickle without running it.

NAMES = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    # NumPy 2 moved numpy.core; pickles name the one or the other.
    "numpy.core.multiarray._reconstruct": "_reconstruct",
    "numpy._core.multiarray._reconstruct": "_reconstruct",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "_frombuffer",
    "numpy._core.numeric._frombuffer": "_frombuffer",
    # Protocols 0 to 2 have no bytes: they are text to encode, or a call of bytes() for none.
    "_codecs.encode": "encode",
    "__builtin__.bytes": "bytes",
}
"""What a pickle of arrays may name, and what we call it."""


class _Name:
    """Something that a pickle names; to call it is to write down the call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any) -> _Call:
        return _Call(self.name, args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"it changes {self.name}")


class _Call:
    """A call that a pickle asked for, and the state that it then set."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name = name
        self.args = args
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Recorder(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted == "collections.OrderedDict":
            return dict
        if dotted not in NAMES:
            raise WeightsError(
                f"refused, as it names {dotted}; a pickle of weights holds NumPy arrays in a dict, "
                f"and others can run any code"
            )
        return _Name(NAMES[dotted])


FOREIGN = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
"""Opcodes that take something from outside of the file."""


def _look_through(data: bytes) -> None:
    # To go through the opcodes also shows each argument that promises more than there is.
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in FOREIGN:
            raise WeightsError(f"a pickle that is not all in the file ({opcode.name})")
        # Unpickling allocates its memo up to the largest index, which five bytes make 4 billion.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise WeightsError(f"a damaged pickle: memo index {argument} in {len(data)} bytes")


def _rebuilt(name: Any, value: Any) -> Any:
    if not isinstance(value, _Call):
        return value
    try:
        return _rebuilt_array(value)
    except Exception as error:
        raise WeightsError(
            f"{name} is not an array as NumPy pickles them ({reason_of(error)})"
        ) from error


def _rebuilt_array(call: _Call) -> Array:
    """Make the array that a call of one of NumPy's three constructors describes."""
    order = "C"
    if call.name == "_reconstruct":
        _, shape, dtype, fortran, data = call.state
        order = "F" if fortran else "C"
    elif call.name == "_frombuffer":
        data, dtype, shape, order = call.args
    elif call.name == "scalar":
        (dtype, data), shape = call.args, ()
    else:
        raise ValueError(f"but a {call.name}")
    numbers, entries, shape = _bytes(data), _dtype(dtype), _shape(shape)
    if math.prod(shape) * entries.itemsize != len(numbers):
        raise ValueError(f"{len(numbers)} bytes for shape {shape} of {entries}")
    return np.frombuffer(numbers, entries).reshape(shape, order=_order(order))


# A few bytes can make lists in lists whose text fills the memory: only what has the right type is
# shown, or calculated with.


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("its shape is not a tuple of sizes")
    return shape


def _order(order: Any) -> Any:
    if order not in ("C", "F"):
        raise ValueError("its order is neither C nor F")
    return order


def _dtype(call: Any) -> np.dtype[Any]:
    parts = (call.state[1], call.args[0]) if type(call) is _Call and call.name == "dtype" else ()
    name = "".join(parts) if all(type(part) is str for part in parts) else ""
    if not re.fullmatch(r"[<>|][bcfiu]\d{1,2}", name):
        raise ValueError(f"dtype {name[:20]!r}; weights are arrays of integers or floats")
    return np.dtype(name)


def _bytes(data: Any) -> bytes:
    if isinstance(data, _Call) and data.name == "encode":
        text, codec = data.args
        if codec not in ("latin1", "latin-1"):
            shown = repr(codec) if isinstance(codec, str) else f"a {type(codec).__name__}"
            raise ValueError(f"bytes encoded as {shown}")
        return _bytes(text)
    if isinstance(data, _Call) and data.name == "bytes" and not data.args:
        return b""
    # Text stands for the bytes of the same code points: Python 2 had one type for both.
    return data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))
