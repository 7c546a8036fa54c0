"""Checkpoints that do not fit the options or are damaged: an error or a warning says why."""

import tracemalloc
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from resumable import LABELS, START, X, crash, outcome, train
from stored import forged

import gradlab
from gradlab import checkpoints, fit, network, stores
from gradlab.errors import CheckpointError, CheckpointWarning, OptionError

# Other options

DIFFERENT = {
    "learning_rate was 0.1 and is 0.2": {"learning_rate": 0.2},
    "momentum was 0.5 and is 0.0": {"momentum": 0.0},
    "batch_size was 7 and is 8": {"batch_size": 8},
    "epochs was 3 and is 2": {"epochs": 2},
    "iterations was None and is 5": {"iterations": 5, "epochs": None},
    "seed was 0 and is 1": {"seed": 1},
    "seed was 0 and is ": {"seed": np.random.default_rng(0)},
    "backend was autograd and is central": {"backend": "central"},
    r"backend was autograd and is central\(step=0.001\)": {
        "backend": gradlab.CentralDifference(step=1e-3)
    },
    r"loss was loss and is loss\(activation='relu'\)": {
        "loss": partial(network.loss, activation="relu")
    },
    "accuracy was accuracy and is None": {"accuracy": None},
    "params was .* and is ": {"params": network.init((3, 4, 2), 1)},
    r"params was \(3, 4\), .* and is \(3, 5\)": {"params": network.init((3, 5, 2), 0)},
    "data was .* and is ": {"data": (2 * X, LABELS)},
    r"data was \(40, 3\).* and is \(39, 3\)": {"data": (X[1:], LABELS[1:])},
    "validation was .* and is ": {"validation": (X, LABELS)},
}


@pytest.mark.parametrize("message", DIFFERENT)
def test_other_options_are_named(path, undisturbed, message):
    crash(path, 7)
    with pytest.raises(OptionError, match=f"another training .*{message}"):
        train(path, resume=True, **DIFFERENT[message])
    assert outcome(train(path, resume=True)) == undisturbed


def test_a_shorter_training_is_distinguished_from_a_damaged_one(path, monkeypatch):
    train(path, epochs=100, checkpoint_every=1000)
    monkeypatch.setattr(
        stores, "HEADER_ALLOWANCE", 1000
    )  # so that the file is longer than it may be
    with pytest.raises(OptionError, match="epochs was 100 and is 3"):
        train(path, resume=True)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    checkpoints.previous(path).unlink()
    with pytest.raises(CheckpointError, match="longer than one of this training can be"):
        train(path, resume=True, epochs=100)


def test_a_file_that_is_far_too_long_is_not_read_to_its_end(path):
    train(path)
    checkpoints.previous(path).unlink()
    with path.open("r+b") as stream:
        stream.truncate(2**28)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="longer than one of this training can be"):
            train(path, resume=True)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**26


def test_the_number_of_workers_may_change(path, undisturbed):
    options = {"backend": "central"}
    wanted = outcome(train(**options))
    crash(path, 7, **options)
    backend = gradlab.CentralDifference(workers=map)
    assert outcome(train(path, resume=True, backend=backend)) == wanted


def test_another_backend_continues_on_request(path, undisturbed):
    crash(path, 7, backend="central")
    bits, losses, _ = outcome(train(path, resume="another backend"))
    assert bits != undisturbed[0]
    np.testing.assert_allclose(losses, undisturbed[1], rtol=1e-6)  # a central difference's error
    with pytest.raises(OptionError, match="backend was autograd and is tape"):
        train(path, resume=True, backend="tape")


def test_an_existing_checkpoint_is_not_overwritten(path):
    train(path)
    with pytest.raises(OptionError, match=r"checkpoint='.*': already exists; continue from it"):
        train(path)
    path.unlink()  # the previous one counts, too
    with pytest.raises(OptionError, match="already exists"):
        train(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": 3}, "checkpoint=3: give the path of a file"),
        ({"checkpoint": "c", "checkpoint_every": 0}, "checkpoint_every=0: give an integer from 1"),
        ({"checkpoint": "c", "resume": "yes"}, "resume='yes': give True, False"),
        ({"checkpoint_every": 5}, "checkpoint_every=5: name the file, too"),
        ({"resume": True}, "resume=True: name the file, too"),
        ({"checkpoint": "."}, "checkpoint='.': is a folder; name a file"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(OptionError, match=message):
        fit(network.loss, START, (X, LABELS), **options)


# Damaged


@given(st.data())
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(sound, undisturbed, data):
    last, before = sound
    where = data.draw(st.integers(0, len(last) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "append"]))
    if kind == "flip":
        bit = 1 << data.draw(st.integers(0, 7))
        damaged = last[:where] + bytes([last[where] ^ bit]) + last[where + 1 :]
    else:
        damaged = last[:where] if kind == "cut" else last + last[:where] + b"x"
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=str(path)):
            train(path, resume=True)
        assert path.read_bytes() == damaged
        checkpoints.previous(path).write_bytes(before)
        if b"checkpoint 2\n" not in damaged and b"\n" in damaged[:22]:
            return  # the version, too, may be damaged: an error
        with pytest.warns(CheckpointWarning, match="continuing from the previous one, of step 6"):
            assert outcome(train(path, resume=True)) == undisturbed


def test_a_damaged_checkpoint_never_replaces_a_valid_one(path, sound):
    last, before = sound
    path.write_bytes(last[:-1])
    checkpoints.previous(path).write_bytes(before)
    with pytest.warns(CheckpointWarning):
        crash(path, 6, resume=True)
    for file in (path, checkpoints.previous(path)):
        assert file.read_bytes() == before


def test_two_damaged_checkpoints_are_both_named(path, sound):
    path.write_bytes(sound[0][:100])
    checkpoints.previous(path).write_bytes(sound[1][:-5])
    with pytest.raises(CheckpointError, match=r"checkpoint: .*; .*checkpoint.previous: .*; remove"):
        train(path, resume=True)


def test_another_version_is_not_called_damaged(path, sound):
    path.write_bytes(sound[0].replace(b"checkpoint 2\n", b"checkpoint 1\n"))
    checkpoints.previous(path).write_bytes(sound[1])
    with pytest.raises(CheckpointError, match="has the format 1, of another version"):
        train(path, resume=True)


def test_other_files_are_not_checkpoints(path):
    path.write_bytes(b"x,y\n1,2\n")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        train(path, resume=True)
    assert path.read_bytes() == b"x,y\n1,2\n"


FORGERIES = {
    "steps beyond the end": lambda h, a: (h | {"steps": 19}, a + bytes(56)),
    "negative steps": lambda h, a: (h | {"steps": -1}, a),
    "true steps": lambda h, a: (h | {"steps": True}, a),
    "steps of the size of memory": lambda h, a: (h | {"steps": 10**15}, a),
    "an integer without end": lambda h, a: (b'{"steps": ' + b"9" * 9000 + b"}", a),
    "nesting without end": lambda h, a: (b"[" * 9000, a),
    "a list": lambda h, a: ([], a),
    "no options": lambda h, a: (h | {"options": None}, a),
    "arrays of objects": lambda h, a: (h | {"arrays": [["|O", [1]]]}, a),
    "arrays of terabytes": lambda h, a: (h | {"arrays": [["<f8", [2**40]]]}, a),
    "missing bytes": lambda h, a: (h, a[:-8]),
    "bytes left over": lambda h, a: (h, a + bytes(8)),
    "NaN in the parameters": lambda h, a: (h, np.array(np.nan).tobytes() + a[8:]),
    "NaN in the seconds": lambda h, a: (h | {"seconds": float("nan")}, a),
    "too many epochs": lambda h, a: (h | {"epochs": 4}, a + bytes(64)),
    "fewer epochs": lambda h, a: (h | {"epochs": 1}, a),
    # An epoch is four numbers, and two norms for each of two leaves.
    "an epoch without a loss": lambda h, a: (h, a[:-64] + np.array(np.nan).tobytes() + a[-56:]),
    "a negative norm": lambda h, a: (h, a[:-8] + np.array(-1.0).tobytes()),
    "a missing norm": lambda h, a: (h, a[:-8] + np.array(np.nan).tobytes()),
    "a generator of another kind": lambda h, a: (
        h | {"generator": h["generator"] | {"bit_generator": "MT19937"}},
        a,
    ),
    "a generator of nothing": lambda h, a: (h | {"generator": {}}, a),
    "a generator beyond its bits": lambda h, a: (
        h | {"generator": h["generator"] | {"state": {"state": 2**200, "inc": -1}}},
        a,
    ),
    "a generator of objects": lambda h, a: (
        h | {"generator": {"dtype": "object", "array": [1]}},
        a,
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_checkpoint_is_refused(path, sound, forgery):
    path.write_bytes(forged(sound[0], FORGERIES[forgery]))
    with pytest.raises(CheckpointError, match="checkpoint: not a checkpoint that gradlab wrote"):
        train(path, resume=True)


def test_a_forgery_without_changes_is_accepted(path, sound, undisturbed):
    path.write_bytes(forged(sound[0], lambda header, arrays: (header, arrays)))
    assert outcome(train(path, resume=True)) == undisturbed


@given(st.binary(max_size=200))
@example(checkpoints.CHECKPOINT.line)
@example(b"gradlab checkpoint ")
@example(b"")
def test_other_damage_ends_in_a_gradlab_error(data):
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            train(path, resume=True)
