"""Every reader accepts only a regular file of at most a given size, and opens it once."""

import gzip
import io
import json
import os
import threading
import tracemalloc

import numpy as np
import pytest

from gradlab import CentralDifference, datasets, files, fit, targets, weights
from gradlab.command import train
from gradlab.datasets import idx
from gradlab.errors import DataError, GradlabError, OptionError, WeightsError

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")


def gradient_from(path):
    resuming = CentralDifference(resume=path, incremental=False)
    fit(lambda w, x: (w**2).sum(), np.ones(2), (np.zeros((2, 2)),), backend=resuming, epochs=1)


def training_from(path):
    data = (np.zeros((2, 2)),)
    fit(lambda w, x: (w**2).sum(), np.ones(2), data, epochs=1, checkpoint=path, resume=True)


READERS = {
    "own.npz": datasets.load,
    "own.csv": datasets.load,
    "own.csv.gz": datasets.load,
    "own.pkl": datasets.load,
    "images-idx3-ubyte.gz": idx.read,
    "weights.npz": weights.load,
    "metadata.npz": weights.load_metadata,
    "weights.safetensors": weights.load,
    "weights.pkl": weights.load,
    "weights.pkl.gz": weights.load,
    "partial.npz": gradient_from,
    "checkpoint": training_from,
    "losses.py": lambda path: targets.load(f"{path}:loss"),
}


def refusal(read, path):
    """Return the error of a reader, which must come within some seconds."""
    said = []

    def run():
        try:
            read(path)
        except GradlabError as error:
            said.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), f"{path} is read without end"
    assert said, f"{path} is read"
    assert "\n" not in said[0]
    return said[0]


@needs_pipes
@pytest.mark.parametrize("name", READERS)
def test_pipes_and_devices_are_refused(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    assert "is a named pipe, not a regular file" in refusal(READERS[name], path)
    path.unlink()
    for device in ("zero", "null"):
        path.symlink_to(f"/dev/{device}")
        assert "is a device, not a regular file" in refusal(READERS[name], path)
        path.unlink()


@pytest.mark.parametrize("name", READERS)
def test_folders_and_files_without_end_are_refused(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    assert "is a folder" in refusal(READERS[name], path)
    path.rmdir()
    with path.open("wb") as sparse:
        sparse.truncate(2**40)
    tracemalloc.start()
    try:
        said = refusal(READERS[name], path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The size limit comes from the training or the gradient, not from the file.
    assert "larger than the" in said or name in ("partial.npz", "checkpoint")
    assert peak < 2**24


@pytest.mark.parametrize("name", READERS)
def test_missing_files_are_named_or_created(tmp_path, name):
    path = tmp_path / "nowhere" / name
    if name in ("partial.npz", "checkpoint"):
        assert "cannot be written (No such file" in refusal(READERS[name], path)
    else:
        assert "no such file" in refusal(READERS[name], path)


@needs_pipes
def test_a_history_that_is_a_pipe_is_ignored(tmp_path):
    os.mkfifo(tmp_path / "history.json")
    assert not train._may_go_on({"epochs": 1}, tmp_path / "checkpoint", True, tmp_path)


# The check itself


class RefusalError(Exception):
    pass


def test_a_file_of_the_largest_size_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert files.read(path, 3, RefusalError) == b"abc"
    with pytest.raises(RefusalError, match=r"^larger than the 2 bytes that are read$"):
        files.read(path, 2, RefusalError)
    with pytest.raises(RefusalError), files.opened(path, 2, RefusalError):
        pass
    with files.opened(path, None, RefusalError) as file:
        assert file.read() == b"abc"
    (tmp_path / "link").symlink_to(path)
    assert files.read(tmp_path / "link", 3, RefusalError) == b"abc"


@pytest.mark.parametrize("most", [2, 3, 4])
def test_a_growing_file_is_read_only_to_the_limit(tmp_path, monkeypatch, most):
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    class Smaller:
        """The result of fstat, taken before the file grew."""

        st_mode, st_size = path.stat().st_mode, 1

    monkeypatch.setattr(files.os, "fstat", lambda descriptor: Smaller)
    if most < 3:
        with pytest.raises(RefusalError, match="larger than the 2 bytes"):
            files.read(path, most, RefusalError)
    else:
        assert files.read(path, most, RefusalError) == b"abc"


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
def test_impossible_names_are_refused(name):
    for read in (weights.load, datasets.load):
        with pytest.raises((WeightsError, DataError), match="cannot be read"):
            read(f"{name}.npz")
    with pytest.raises(OptionError, match="unknown dataset"):
        datasets.load(name)


def test_unpacking_has_a_limit():
    file = gzip.compress(bytes(1000)) + gzip.compress(bytes(1000))
    assert files.inflated(io.BytesIO(file), 2000, RefusalError) == bytes(2000)
    with pytest.raises(RefusalError, match=r"^unpacks to more than the 1999 bytes that are read$"):
        files.inflated(io.BytesIO(file), 1999, RefusalError)


def test_a_loss_runs_as_it_was_read(tmp_path):
    path = tmp_path / "losses.py"
    path.write_text("params = [1.0]\ndef loss(p): return 1 / 0\nname = (__name__, __file__)\n")
    found = targets.load(f"{path}:loss")
    assert json.dumps(found.params) == "[1.0]"
    said = pytest.raises(OptionError, match=r"ZeroDivisionError: .* \(losses.py, line 2\)")
    with said, targets.one_line_error("losses.py:loss"):
        found.loss(1)
    path.write_text("params = [1.0\n")
    with pytest.raises(OptionError, match=r"losses.py: SyntaxError: .*line 1"):
        targets.load(f"{path}:loss")
