"""``gradlab train`` with an optimiser, a schedule, saved weights, more epochs, early stopping."""

import json

import numpy as np
import pytest

from gradlab import datasets, fit, network, optim, weights

TRAIN = ("train", "--layers", "5", "--subset", "200", "--batch-size", "50")  # 4 steps an epoch


def trained(gradlab, output, *args):
    code, _, err = gradlab(*TRAIN, "--output", output, *args)
    assert (code, err) == (0, "")
    history = json.loads((output / "history.json").read_text())
    return weights.load(output / "weights.npz"), history


OPTIONS = {
    "--optimizer adam --schedule cosine --warmup 2 --weight-decay 0.1 --clip 1": optim.adam(
        optim.warmup(optim.cosine(0.001, 6), 2), weight_decay=0.1, clip=1.0
    ),
    "--optimizer adamw --learning-rate 0.01": optim.adamw(0.01),
    "--optimizer rmsprop --schedule step": optim.rmsprop(optim.step(0.001, 3)),
    "--optimizer adagrad": optim.adagrad(0.05),
    "--momentum 0.5 --clip 0.5": optim.sgd(0.1, 0.5, clip=0.5),
    "": optim.sgd(0.1, 0.9),
}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_optimiser_is_that_of_the_options(gradlab, tmp_path, options):
    found, _ = trained(gradlab, tmp_path / "run", "--epochs", "2", *options.split())
    data = datasets.load("digits", subset=200)
    wanted = fit(
        network.loss,
        network.init([64, 5, 10], 0),
        data.train,
        backend="autograd",
        optimizer=OPTIONS[options],
        batch_size=50,
        epochs=2,
    )
    for name, leaf in wanted.params.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-9, atol=1e-12)


def test_l_bfgs_takes_all_samples(gradlab, tmp_path):
    output = tmp_path / "run"
    code, _, err = gradlab("train", "--subset", "150", "--optimizer", "lbfgs", "--output", output)
    assert (code, err) == (0, "")
    history = json.loads((output / "history.json").read_text())
    assert history["options"]["batch_size"] == 150
    assert len(history["losses"]) == 20
    assert history["losses"][-1] < 0.5 * history["losses"][0]


def test_more_epochs_end_as_the_longer_training(gradlab, tmp_path):
    keep = ("--checkpoint", tmp_path / "state", "--optimizer", "adam")
    trained(gradlab, tmp_path / "run", *keep, "--epochs", "2")
    longer, history = trained(gradlab, tmp_path / "run", *keep, "--epochs", "3", "--resume")
    wanted, undisturbed = trained(gradlab, tmp_path / "all", *keep[2:], "--epochs", "3")
    assert history["losses"] == undisturbed["losses"]
    assert history["options"] == undisturbed["options"]
    for name, leaf in wanted.items():
        assert np.array_equal(longer[name], leaf)
    code, _, err = gradlab(*TRAIN, *keep, "--epochs", "2", "--resume", "--output", tmp_path / "run")
    assert code != 0
    assert "run" in err


def test_a_training_begins_with_saved_weights(gradlab, tmp_path):
    first, _ = trained(gradlab, tmp_path / "a", "--epochs", "1", "--activation", "tanh")
    file = tmp_path / "a" / "weights.npz"
    # Steps so small that nothing changes but the last digits.
    second, history = trained(
        gradlab, tmp_path / "b", "--epochs", "1", "--start-from", file, "--learning-rate", "1e-12"
    )
    assert history["options"]["activation"] == "tanh"
    assert history["options"]["sizes"] == [64, 5, 10]
    for name, leaf in first.items():
        np.testing.assert_allclose(second[name], leaf, rtol=1e-6, atol=1e-9)


def test_a_training_ends_early_and_keeps_the_best_weights(gradlab, tmp_path):
    """The learning rate is too large, so the test loss soon rises."""
    loud = ("--learning-rate", "5", "--epochs", "30")
    _, whole = trained(gradlab, tmp_path / "whole", *loud)
    losses = [epoch["validation_loss"] for epoch in whole["epochs"]]
    found, history = trained(gradlab, tmp_path / "early", *loud, "--patience", "2", "--keep-best")
    reached = [epoch["validation_loss"] for epoch in history["epochs"]]
    assert reached == losses[: len(reached)]
    assert len(reached) < 30
    best = int(np.argmin(reached))
    assert len(reached) - 1 - best == 2
    test = datasets.load("digits").test
    assert network.loss(found, *test) == pytest.approx(reached[best], rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optimizer adma", "--optimizer adma: unknown optimizer 'adma': did you mean 'adam'?"),
        ("--schedule linear", "--schedule linear: unknown schedule 'linear'"),
        ("--optimizer adam --momentum 0.5", "--momentum 0.5: adam takes no momentum"),
        ("--optimizer lbfgs --clip 1", "--clip: lbfgs does not take it"),
        ("--optimizer lbfgs", "--batch-size 50: this optimizer takes all samples"),
        ("--learning-rate -1", "--learning-rate -1.0: give a positive number"),
        ("--warmup -1", "--warmup -1: give an integer from 0"),
        ("--weight-decay -1", "--weight-decay -1.0: give 0 or a positive number"),
        ("--patience 0", "--patience 0: give an integer from 1"),
        ("--start-from nowhere.npz", "nowhere.npz"),
    ],
)
def test_options_that_do_not_fit_are_named(gradlab, options, message):
    code, _, err = gradlab(*TRAIN, *options.split())
    assert code != 0
    assert message in " ".join(err.split())
