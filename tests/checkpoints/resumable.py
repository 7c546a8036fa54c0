"""A small training that can be interrupted, and its outcome."""

import os

import numpy as np
import pytest
from crashing import CrashError, crash_at

from gradlab import fit, network

X = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.random.default_rng(1).integers(2, size=40)
START = network.init((3, 4, 2), 0)

on_posix = pytest.mark.skipif(os.name != "posix", reason="forks and signals of POSIX")


def train(path=None, *, resume=False, **changed):
    options = {
        "loss": network.loss,
        "params": START,
        "data": (X, LABELS),
        "momentum": 0.5,
        "batch_size": 7,
        "epochs": 3,
        "accuracy": network.accuracy,
    } | changed
    return fit(**options, checkpoint=path, resume=resume)


def outcome(result):
    epochs = [(e.epoch, e.loss, e.validation_loss, e.accuracy) for e in result.history.epochs]
    bits = {name: leaf.tobytes() for name, leaf in result.params.items()}
    return bits, result.history.losses, epochs


def crash(path, count, **options):
    with pytest.raises(CrashError):
        train(path, callbacks=[crash_at(count)], **options)


def fail_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail
