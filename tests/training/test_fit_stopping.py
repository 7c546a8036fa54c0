"""`fit` without data, for more epochs, until the validation loss rises, with the best epoch."""

import numpy as np
import pytest

from gradlab import fit, network, optim
from gradlab.errors import OptionError

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(40, 3)), RNG.integers(2, size=40)
START = network.init((3, 4, 2), 0)
VALIDATION = (X[:12], LABELS[:12])


def train(**options):
    return fit(network.loss, START, (X, LABELS), batch_size=7, validation=VALIDATION, **options)


def outcome(result):
    epochs = [(e.epoch, e.loss, e.validation_loss) for e in result.history.epochs]
    leaves = {name: leaf.tobytes() for name, leaf in result.params.items()}
    return leaves, result.history.losses, epochs


# Without data


def valley(p):
    return p[0] ** 2 / 20 + p[1] ** 2


@pytest.mark.parametrize("options", [{"iterations": 50}, {"epochs": 50}])
@pytest.mark.parametrize("backend", ["autograd", "tape", "central"])
def test_a_loss_of_the_parameters_alone(options, backend):
    result = fit(valley, np.array([-7.0, 2.0]), backend=backend, learning_rate=0.1, **options)
    # Each step multiplies the coordinates by 1 - η / 10 and 1 - 2 η.
    np.testing.assert_allclose(result.params, [-7 * 0.99**50, 2 * 0.8**50], rtol=1e-6)
    assert len(result.history.losses) == 50
    assert len(result.history.epochs) == (50 if "epochs" in options else 1)


def test_l_bfgs_without_data():
    result = fit(valley, np.array([-7.0, 2.0]), optimizer=optim.lbfgs(), epochs=30)
    assert np.abs(result.params).max() < 1e-6


def test_without_data_there_are_a_hundred_steps_and_an_accuracy_of_the_parameters():
    result = fit(valley, np.array([-7.0, 2.0]), accuracy=lambda p: float(p[1] < 1))
    assert len(result.history.losses) == 100
    assert result.history.epochs[0].accuracy == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, "batch_size=1: there are no data"),
        ({"validation": (X,)}, "validation: there are no data to train on"),
        ({"epochs": 2, "iterations": 3}, "exclude each other"),
    ],
)
def test_options_that_need_data(options, message):
    with pytest.raises(OptionError, match=message):
        fit(valley, np.ones(2), **options)


# More epochs


@pytest.mark.parametrize("optimizer", [optim.sgd(0.1, 0.9), optim.adam(0.01)])
def test_a_training_continues_for_more_epochs(optimizer, tmp_path):
    path = tmp_path / "checkpoint"
    train(epochs=4, optimizer=optimizer, checkpoint=path)
    longer = train(epochs=6, optimizer=optimizer, checkpoint=path, resume=True)
    assert outcome(longer) == outcome(train(epochs=6, optimizer=optimizer))
    with pytest.raises(OptionError, match="epochs was 6 and is 5"):
        train(epochs=5, optimizer=optimizer, checkpoint=path, resume=True)


# The best epoch

LOSSES = [3.0, 2.0, 2.5, 1.0, 1.0, 4.0, 5.0, 6.0]


def scripted(params, x):
    """The validation loss of the epochs is `LOSSES`: a step adds 1 to the parameter."""
    return -params if len(x) == 2 else LOSSES[round(float(params)) - 1] + 0.0 * params


def scripted_fit(**options):
    options = {"epochs": 8, "learning_rate": 1.0, "validation": (np.ones(3),)} | options
    return fit(scripted, 0.0, (np.ones(2),), **options)


@pytest.mark.parametrize(
    ("patience", "epochs"), [(1, 3), (2, 6), (3, 7), (4, 8), (5, 8), (None, 8)]
)
def test_patience_counts_epochs_without_a_new_lowest_loss(patience, epochs, tmp_path):
    for path in (None, tmp_path / "checkpoint"):
        result = scripted_fit(patience=patience, checkpoint=path)
        assert [e.validation_loss for e in result.history.epochs] == LOSSES[:epochs]
        assert result.params == epochs
    again = scripted_fit(patience=patience, checkpoint=path, resume=True)
    assert len(again.history.losses) == epochs  # it has ended, and no step is added


def test_a_training_continues_with_more_patience(tmp_path):
    path = tmp_path / "checkpoint"
    scripted_fit(patience=1, checkpoint=path)
    assert scripted_fit(patience=2, checkpoint=path, resume=True).params == 6


@pytest.mark.parametrize(("patience", "best"), [(1, 2), (2, 4), (None, 4)])
def test_the_best_epoch_is_the_first_of_the_lowest_loss(patience, best):
    assert scripted_fit(patience=patience, keep_best=True).params == best


def test_the_best_epoch_survives_an_interruption(tmp_path):
    path = tmp_path / "checkpoint"
    for end in (1, 3, 5):  # steps in this run
        scripted_fit(
            keep_best=True,
            checkpoint=path,
            resume=True,
            callbacks=[lambda step, end=end: step.iteration >= end],
        )
    assert scripted_fit(keep_best=True, checkpoint=path, resume=True).params == 4
    with pytest.raises(OptionError, match="keep_best was True and is False"):
        scripted_fit(checkpoint=path, resume=True)


def test_before_the_first_epoch_the_best_are_the_last():
    result = train(keep_best=True, epochs=1, callbacks=[lambda step: step.iteration == 2])
    other = train(epochs=1, callbacks=[lambda step: step.iteration == 2])
    assert outcome(result) == outcome(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 2}, "patience=2: give validation data"),
        ({"keep_best": True}, "keep_best=True: give validation data"),
        ({"patience": 0, "validation": VALIDATION}, "patience=0: give an integer from 1"),
        ({"keep_best": "yes", "validation": VALIDATION}, "keep_best='yes': give True or False"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        fit(network.loss, START, (X, LABELS), **options)
