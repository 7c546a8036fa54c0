"""A training resumed from a checkpoint ends with the bits of an uninterrupted one."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from resumable import crash, fail_with, on_posix, outcome, train

import gradlab
from gradlab import network
from gradlab.errors import CheckpointError, GradlabError

STEPS = 18  # three passes over forty samples in batches of seven


# Killed, and gone on


def killed(*arguments):
    """Run `killed.py`, and return how many trainings it killed."""
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)["kills"]


@on_posix
def test_killed_at_each_system_call_of_a_write_it_ends_in_the_same_bits():
    assert killed("each", 3, 12, 22) == 11


@on_posix
@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_killed_at_every_system_call_it_ends_in_the_same_bits(seed):
    assert killed("each", seed, 1, 10_000) > 50


@on_posix
@pytest.mark.slow
def test_killed_at_hundreds_of_random_moments_it_ends_in_the_same_bits():
    assert killed("random", 1000, 300) >= 300


@pytest.mark.parametrize("every", [None, 1, 4, 1000])
@pytest.mark.parametrize("count", [0, 4, 5, 6, STEPS - 1])
def test_an_error_at_any_step_loses_nothing(path, undisturbed, count, every):
    crash(path, count, checkpoint_every=every)
    seen = []
    result = train(path, resume=True, callbacks=[lambda step: seen.append(step.iteration)])
    assert outcome(result) == undisturbed
    assert seen == list(range(count, STEPS))  # the step in which it crashed is taken again


@pytest.mark.parametrize("backend", ["autograd", "tape", "central"])
def test_resumed_again_and_again_with_draws_with_replacement(path, backend):
    options = {"epochs": None, "iterations": 20, "backend": backend}
    wanted = outcome(train(path.with_name("undisturbed"), **options))
    for count in (3, 7, 8, 15):
        crash(path, count, resume=True, **options)
    assert outcome(train(path, resume=True, **options)) == wanted


def test_arrays_keep_their_layout(path):
    """Linear algebra rounds differently on arrays in column-major order."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 64)), rng.integers(10, size=60)
    start = {name: np.asfortranarray(leaf) for name, leaf in network.init((64, 50, 10), 0).items()}
    options = {"params": start, "data": (x, labels), "batch_size": 20, "seed": 3}
    wanted = outcome(train(**options))
    crash(path, 4, **options)
    result = train(path, resume=True, **options)
    assert outcome(result) == wanted
    assert result.params["W1"].flags.f_contiguous


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_generator_continues_from_its_state(path, kind):
    undisturbed, again = (np.random.Generator(kind(5)) for _ in range(2))
    wanted = outcome(train(seed=undisturbed))
    crash(path, 8, seed=np.random.Generator(kind(5)), checkpoint_every=4)
    assert outcome(train(path, resume=True, seed=again)) == wanted
    assert again.integers(2**60) == undisturbed.integers(2**60)


def test_a_finished_training_is_not_continued(path, undisturbed):
    train(path)

    def fail(params, x, labels):
        raise AssertionError("evaluated")

    fail.__qualname__ = "loss"
    assert outcome(train(path, resume=True, loss=fail)) == undisturbed


def test_without_a_file_a_training_starts_new(path, undisturbed):
    assert outcome(train(path, resume=True)) == undisturbed


def test_a_callback_that_ends_it_is_a_pause(path, undisturbed):
    train(path, callbacks=[lambda step: step.iteration == 7])
    assert outcome(train(path, resume=True)) == undisturbed


def test_a_resumed_training_diverges_again(path):
    options = {"params": {"w": 1.0}, "loss": lambda p, x, y: p["w"] ** 4, "accuracy": None}
    errors = []
    for resume in (False, True):
        with pytest.raises(gradlab.errors.DivergenceError) as caught:
            train(path, resume=resume, learning_rate=10.0, **options)
        errors.append(caught.value)
    assert errors[0].iteration == errors[1].iteration > 0
    assert errors[0].history.losses == errors[1].history.losses


def test_only_the_last_two_checkpoints_are_kept(path):
    train(path, checkpoint_every=4)
    assert {file.name for file in path.parent.iterdir()} == {"checkpoint", "checkpoint.previous"}
    path.unlink()
    assert len(train(path, resume=True, callbacks=[lambda step: True]).history.losses) == 17


def test_files_of_killed_writers_are_removed(path):
    crash(path, 5)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(Path, "unlink", lambda self: None)
        patched.setattr(os, "fsync", fail_with(errno.EIO))
        with pytest.raises(CheckpointError):
            train(path, resume=True)
    assert len(list(path.parent.iterdir())) == 3
    train(path, resume=True)
    assert {file.name for file in path.parent.iterdir()} == {"checkpoint", "checkpoint.previous"}


def test_a_link_stays_a_link(path, undisturbed):
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere" / "file")
    crash(path, 7)
    assert path.is_symlink()
    assert outcome(train(str(path), resume=True)) == undisturbed


def test_two_threads_train_at_once(path, undisturbed):
    found = {}

    def run(name):
        found[name] = outcome(train(path.with_name(name), checkpoint_every=1))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": undisturbed, "b": undisturbed}


# Signals


def test_every_error_is_a_gradlab_error():
    assert issubclass(CheckpointError, GradlabError)
    assert issubclass(CheckpointError, ValueError)
