"""Save and load parameters: ``.npz``, ``.safetensors``, and pickles without executing them.

Reading a pickle neither imports nor calls what it names; see `gradlab.pickles`. `as_network`
converts weights of other programs, with other names and shapes, into the form of
`gradlab.network`.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from gradlab import files, npz, pickles
from gradlab.errors import WeightsError, reason_of
from gradlab.params import Array, entry, first
from gradlab.translation import as_network as as_network

MAX_FILE_BYTES = 2**30
"""Largest size of a file, and of all its arrays together, in bytes: 134 million parameters in
float64. A damaged or hostile file must not be able to fill the memory."""

MAX_UNPACKED_BYTES = 2**29
"""Largest unpacked size of a compressed pickle, in bytes. All of it is held in memory, beside its
arrays."""

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
        Further information, such as the network's activation. It is stored where NumPy and other
        readers ignore it: in the archive's comment or the safetensors header.

    Raises
    ------
    WeightsError
        If `params` is not such a mapping (nested ones are not), the suffix is unknown, or the
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
    if _suffix(path) == ".pkl":
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
        A file that ends in ``.npz``, ``.safetensors``, ``.pkl``, ``.pickle`` or ``.pkl.gz``. A
        pickle must hold arrays (or numbers) in dicts, lists and tuples, as ``pickle.dump`` wrote
        them under any version of NumPy and any protocol; it is parsed, not executed.

    Returns
    -------
    dict of str to ndarray
        New arrays of the file's shapes and dtypes, in the machine's byte order. A
        ``.safetensors`` file does not keep the order of the names. An array in a list or in a dict
        of a pickle is named by its path, such as ``0`` or ``layers.0.W``.

    Raises
    ------
    WeightsError
        If there is no such file, it is damaged, in another format or larger than 1 GiB, a pickle
        names anything but NumPy arrays, or an array does not hold finite real numbers.

    Examples
    --------
    >>> import tempfile
    >>> import pickle
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
        raise WeightsError(f"{path!r} is not a path: give the name of a file")
    return _read(Path(path), READERS, _checked)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the metadata that `save` stored; an empty dict from a file that has none.

    Raises
    ------
    WeightsError
        If the file does not exist, is damaged, or has another format.

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
            raise WeightsError("its metadata do not map names to text")
        return metadata

    return _read(Path(path), METADATA_READERS, checked)


def _read(
    path: Path, readers: Mapping[str, Callable[[bytes], Any]], check: Callable[[Any], T]
) -> T:
    refusal = files.refusing(path, WeightsError)
    if files.is_folder(path):
        raise refusal("is a folder; name the file, such as weights.npz in it")
    read, suffix = _format_of(path, readers), _suffix(path)
    data = files.read(path, MAX_FILE_BYTES, refusal)
    if suffix == ".pkl" and data.startswith(files.GZIP_MAGIC):
        data = bytes(files.inflated(io.BytesIO(data), MAX_UNPACKED_BYTES, refusal))
    if not data:
        raise refusal("the file is empty")
    try:
        return check(read(data))
    except (WeightsError, npz.ArrayError) as error:
        raise refusal(str(error)) from None
    # A damaged file may raise anything, from the parsers of zip, NumPy, JSON and pickle.
    except Exception as error:
        if what := _foreign(data, suffix):
            raise refusal(f"not a {suffix} file of arrays, but {what}") from None
        if isinstance(error, pickles.PickleError):
            raise refusal(str(error)) from None
        raise refusal(
            f"not a {suffix} file of arrays, or a damaged one ({reason_of(error)})"
        ) from error


TORCH_FILE_ADVICE = (
    "a PyTorch file: save its state dict as safetensors, with "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


def _foreign(data: bytes, suffix: str) -> str | None:
    """Describe a file that does not match its suffix, if its bytes show what it is."""
    if data.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):  # PyTorch before 1.6
        return TORCH_FILE_ADVICE
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return "an HDF5 file, as Keras writes it: save its arrays with numpy.savez"
    if data.startswith(b"PK\3\4") and suffix != ".npz":
        with suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(name.endswith("/data.pkl") for name in archive.namelist()):
                return TORCH_FILE_ADVICE
        return "a zip archive; if it holds arrays, rename it to end in .npz"
    if suffix == ".pkl" and 0 < data.count(b"\n") == data.count(b"\r\n"):
        return (
            "one that was damaged in transfer: each of its line ends became CR LF; copy it again, "
            "in binary mode"
        )
    return None


PICKLE_SUFFIXES = (".pkl", ".pickle", ".pkl.gz", ".pickle.gz")


def _suffix(path: Path) -> str:
    """Return the suffix that gives a file's format."""
    return ".pkl" if path.name.lower().endswith(PICKLE_SUFFIXES) else path.suffix.lower()


def _format_of(path: Path, formats: Mapping[str, Callable[P, T]]) -> Callable[P, T]:
    suffix = _suffix(path)
    if suffix in (".pt", ".pth"):
        raise WeightsError(f"{path}: {TORCH_FILE_ADVICE}")
    if suffix not in formats:
        known = ", ".join(formats)
        raise WeightsError(f"{path}: unknown suffix {path.suffix!r}; name a file in {known}")
    return formats[suffix]


def _checked(params: Any) -> dict[str, Array]:
    """Return the arrays of a flat mapping, contiguous and in the machine's byte order."""
    if not isinstance(params, Mapping):
        raise WeightsError(f"weights are a dict of named arrays, not a {type(params).__name__}")
    if not params:
        raise WeightsError("it has no arrays")
    return {_name(name): _array(name, value) for name, value in params.items()}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        shown = repr(name) if isinstance(name, str | int) else f"a {type(name).__name__}"
        raise WeightsError(
            f"{shown[:100]} cannot name an array; use a string of printable characters"
        )
    if len(name) > pickles.MAX_KEY_CHARACTERS:
        raise WeightsError(
            f"{name[:40]}... cannot name an array; use {pickles.MAX_KEY_CHARACTERS} characters at "
            "most"
        )
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
        index = first(~np.isfinite(array))
        raise WeightsError(f"{entry(name, index)} is {array[index]}; every entry must be finite")
    return array.astype(array.dtype.newbyteorder("="), order="C")


# The formats, each from arrays to bytes and back.


def _to_npz(params: dict[str, Array], metadata: Mapping[str, str]) -> bytes:
    # numpy.savez writes the same format, but stores the time of day and allows no array "file".
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = json.dumps(dict(metadata)).encode() if metadata else b""
        for name, array in params.items():
            npy = io.BytesIO()
            np.save(npy, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy.getvalue())
    return buffer.getvalue()


def _metadata_from_npz(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.comment or "{}")


def _to_safetensors(params: dict[str, Array], metadata: Mapping[str, str]) -> bytes:
    import safetensors.numpy

    for name, array in params.items():
        if name == "__metadata__":
            raise WeightsError("safetensors reserves the name __metadata__; choose another")
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


WRITERS: dict[str, Callable[[dict[str, Array], Mapping[str, str]], bytes]] = {
    ".npz": _to_npz,
    ".safetensors": _to_safetensors,
}
READERS: dict[str, Callable[[bytes], Any]] = {
    ".npz": lambda data: npz.read(io.BytesIO(data), MAX_FILE_BYTES),
    ".safetensors": _from_safetensors,
    ".pkl": lambda data: pickles.read(data, MAX_FILE_BYTES),
}
METADATA_READERS: dict[str, Callable[[bytes], Any]] = {
    ".npz": _metadata_from_npz,
    ".safetensors": _metadata_from_safetensors,
    ".pkl": lambda data: {},
}
