"""Targets for fuzzing: each takes bytes, and may raise only an error of gradlab.

``python harness.py TARGET [FOLDER] [options of libFuzzer]`` searches with atheris for bytes that
reach new code. ``test_fuzz.py`` does so for some seconds, and runs each input in ``corpus/TARGET``
again.
"""

from __future__ import annotations

import atexit
import contextlib
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

try:
    import atheris
except ImportError:  # then only the corpus is tested
    atheris = None


def instrumented():
    """Return the context in which a search imports the modules whose coverage it measures."""
    if __name__ != "__main__":
        return contextlib.nullcontext()
    return atheris.instrument_imports(include=["gradlab", "zipfile", "pickletools"])


with instrumented():
    from gradlab import checkpoints, datasets, story, targets, training, weights
    from gradlab.command import check, console, neutral
    from gradlab.command.main import main as run_command
    from gradlab.datasets import idx
    from gradlab.errors import GradlabError
    from gradlab.gradients import CentralDifference
    from gradlab.gradients.workers.resuming import PARTIAL
    from gradlab.pickles import machine

# In memory if the system has such a folder, because each attempt writes a file. A search ends
# without `atexit`, so its caller names the folder.
MEMORY = os.environ.get("FUZZ_FOLDER", "/dev/shm")
FOLDER = Path(
    tempfile.mkdtemp(prefix="gradlab-fuzz-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
)
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def reader(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a target that reads a file of that name."""

    def target(data: bytes) -> None:
        path = FOLDER / name
        path.write_bytes(data)
        with contextlib.suppress(GradlabError):
            read(path)

    return target


def read_weights(path: Path) -> None:
    """Read weights; those that can be read can also be saved, and are then the same."""
    with contextlib.suppress(GradlabError):
        weights.load_metadata(path)
    params = weights.load(path)
    assert all(np.isfinite(leaf).all() for leaf in params.values())
    weights.save(FOLDER / "again.npz", params)
    again = weights.load(FOLDER / "again.npz")
    assert {name: leaf.tobytes() for name, leaf in again.items()} == {
        name: leaf.tobytes() for name, leaf in params.items()
    }


def read_data(path: Path) -> None:
    """Read a data set: finite samples, and a class for each."""
    for split in (data := datasets.load(path)).train, data.test:
        assert np.isfinite(split.x).all()
        assert len(split.x) == len(split.y) > 0
        assert 0 <= split.y.min() <= split.y.max() < data.classes


def opcodes(data: bytes) -> None:
    """Run a pickle on our machine and on Python's; if both end, the results are equal."""
    try:
        ours = machine.run(data)
    except Exception:  # the caller turns this into an error of gradlab's
        return
    if contains_calls(ours):
        return
    # It has no functions, so Python's machine is harmless, too. The machine in C would allocate
    # memory up to its largest memo index.
    try:
        theirs = pickle._Unpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception:  # ours need not be as strict
        return
    assert repr(ours) == repr(theirs)


def contains_calls(value: object) -> bool:
    """Return whether a structure has a name or a call, or is too large to search."""
    waiting, seen = [value], 0
    while waiting and seen < 1000:
        seen += 1
        part = waiting.pop()
        if isinstance(part, machine.GlobalName | machine.RequestedCall):
            return True
        if isinstance(part, dict):
            waiting += [*part.values()]
        if isinstance(part, list | tuple):
            waiting += part
    return bool(waiting)


# A checkpoint of a small training, whose checksum a fuzzer does not guess.

TRAINING = {
    "loss": lambda w, x: ((w - x) ** 2).mean(),
    "params": np.ones(2),
    "data": (np.zeros((4, 2)),),
    "batch_size": 2,
    "epochs": 2,
}


def with_checksum(line: bytes, data: bytes) -> bytes:
    """Insert the right checksum below the first line of a file that starts with it."""
    if not data.startswith(line):
        return data
    body = data[len(line) + 32 :]
    return line + sha256(body).digest() + body


def checkpoint(data: bytes) -> None:
    """Resume from a checkpoint: from these bytes, or from their contents under a right checksum."""
    path = FOLDER / "checkpoint"
    checkpoints.previous(path).unlink(missing_ok=True)
    path.write_bytes(with_checksum(checkpoints.CHECKPOINT.line, data))
    with contextlib.suppress(GradlabError), warnings.catch_warnings():
        warnings.simplefilter("error")
        result = training.fit(**TRAINING, checkpoint=path, resume=True)
        assert np.isfinite(result.params).all()
        assert len(result.history.losses) == 4


def slopes(data: bytes) -> None:
    """Resume from the file of a numerical gradient."""
    path = FOLDER / "partial"
    path.write_bytes(with_checksum(PARTIAL.line, data))
    backend = CentralDifference(resume=path, incremental=False)
    with contextlib.suppress(GradlabError):
        training.descend(lambda w: (w**2).sum(), np.ones(2), backend=backend, iterations=1)


# The command line, up to where the work would begin.


class ReachedError(GradlabError):
    """Raised in place of the work, when all options were accepted."""


def reached(*args: object, **options: object) -> object:
    """Raise the error in place of the work."""
    raise ReachedError


VERBS = ("compare", "train", "evaluate", "check", "demo", "nothing")
OPTIONS = """
    --backend --dataset --data-dir --subset --layers --activation --iterations --learning-rate
    --momentum --batch-size --seed --epochs --network --samples --mode --params --args --gradient
    --checkpoint-every --resume --version --help --unknown
""".split()


def arguments(data: bytes) -> list[str]:
    """Return arguments: one per line, whose first byte chooses an option."""
    first, *lines = data.split(b"\n")
    words = [VERBS[first[0] % len(VERBS)] if first else ""]
    for line in lines:
        option = OPTIONS[line[0] % len(OPTIONS)] if line else ""
        value = line[1:].decode("utf-8", "replace")
        words += [option, value] if value else [option]
    return words


def command(data: bytes) -> None:
    """Run the command: its exit code must be known, and an error must be one line."""
    here, argv = Path.cwd(), sys.argv
    errors = io.StringIO()
    sys.argv = ["gradlab", *arguments(data)]
    os.chdir(FOLDER)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(errors),
            output_ignored(),
            work_replaced(),
        ):
            code = exit_code(run_command)
    finally:
        sys.argv = argv
        os.chdir(here)
        shutil.rmtree(FOLDER / "gradlab-runs", ignore_errors=True)
    assert code in (0, 1, 2), code
    assert errors.getvalue().count("\n") == (code != 0), errors.getvalue()
    assert neutral.visible(errors.getvalue()) == errors.getvalue()


def exit_code(run: Callable[[], object]) -> object:
    """Return the code with which a function ends the process."""
    try:
        run()
    except SystemExit as end:
        return end.code
    return None


@contextlib.contextmanager
def output_ignored():
    """Redirect the console of the command, which already has the standard output, to nowhere."""
    console.out.file = io.StringIO()
    try:
        yield
    finally:
        console.out.file = None


@contextlib.contextmanager
def work_replaced():
    """Replace training, checking and the demo by an error that shows that they were reached."""
    places = [
        (training.fitting, "progress_bar"),
        (check, "check_gradients"),
        (story, "compute"),
        (targets, "load"),  # which would import any module
    ]
    kept = [getattr(*place) for place in places]
    for place in places:
        setattr(*place, reached)
    try:
        yield
    finally:
        for place, original in zip(places, kept, strict=True):
            setattr(*place, original)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "idx": reader("array", idx.read),
    "idx_gz": reader("array.gz", idx.read),
    "pickle": reader("weights.pkl", read_weights),
    "pickle_gz": reader("weights.pkl.gz", read_weights),
    "opcodes": opcodes,
    "npz": reader("weights.npz", read_weights),
    "safetensors": reader("weights.safetensors", read_weights),
    "data": reader("own.npz", read_data),
    "text": reader("own.csv", read_data),
    "data_pickle": reader("own.pkl", read_data),
    "checkpoint": checkpoint,
    "slopes": slopes,
    "command": command,
}


def seeds(target: str) -> list[bytes]:
    """Return valid inputs, from which the search starts."""
    array = b"\0\0\x08\1\0\0\0\3abc"
    params = {"W1": np.ones((2, 1), np.float32), "b1": np.zeros(1)}
    if target in ("npz", "safetensors"):
        path = FOLDER / f"seed.{target}"
        weights.save(path, params, metadata={"activation": "relu"})
        return [path.read_bytes()]
    if target == "data_pickle":
        rows = np.zeros((5, 2)), np.arange(5)
        named = {"train_img": rows[0], "train_label": rows[1]}
        return [
            pickle.dumps((rows, rows, rows), 2),
            pickle.dumps(named),
            pickle.dumps([[[1]], [0]]),
        ]
    if target == "opcodes":
        parts = [1, 2.5, "a", None, True, b"b", bytearray(b"c"), 2**70, ["again"], (), (1, 2, 3, 4)]
        sample = {"parts": [*parts, *parts], "nested": {"a": {}}}
        return [pickle.dumps(sample, protocol) for protocol in range(6)]
    if target == "data":
        file = io.BytesIO()
        np.savez(file, x=np.zeros((5, 2)), y=np.arange(5))
        return [file.getvalue()]
    if target == "checkpoint":
        path = FOLDER / "seed"
        training.fit(**TRAINING, checkpoint=path, callbacks=[lambda step: True])
        data = path.read_bytes()
        path.unlink()
        checkpoints.previous(path).unlink()
        return [data]
    if target == "slopes":
        file = io.BytesIO()
        np.savez(
            file, identity=json.dumps({}), **{"slopes 0": np.ones(2), "missing 0": np.ones(2, bool)}
        )
        return [file.getvalue()]
    if target == "command":
        return [
            b"\1\n\x0b3\n\4" + b"50,100",
            b"\0\n\0central\n\0forward",
            b"\3\n\x0c64,3,10\n\x0d5",
        ]
    return {
        "idx": [array, b"\0\0\x0e\2\0\0\0\1\0\0\0\1" + struct.pack(">d", 1.0)],
        "idx_gz": [gzip.compress(array, mtime=0)],
        "pickle": [pickle.dumps(params, protocol) for protocol in range(6)],
        "pickle_gz": [gzip.compress(pickle.dumps([[1.0, 2.0], params["W1"]]), mtime=0)],
        "text": [b"label,a,b\n1,0.5,2\n0,3,4\n", b'"1";"0.5"\r\n"0";"3"\r\n'],
    }[target]


def main(target: str, *options: str) -> None:
    """Search, with the options of libFuzzer."""
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
