"""A diagnosis names the planted fault, and finds nothing in a training that goes well."""

import json
from functools import partial

import numpy as np
import pytest

import gradlab
from gradlab import network, optim
from gradlab.command.networks import outputs_of
from gradlab.diagnosis import diagnose, findings
from gradlab.diagnosis.sweep import Trained
from gradlab.diagnosis.units import Layer, layer
from gradlab.errors import DivergenceError, OptionError
from gradlab.history import Epoch

RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=60)
X = RNG.normal(size=(3, 4))[LABELS] * 3 + RNG.normal(size=(60, 4))
START = network.init([4, 4, 3], 0, activation="relu")


def loss(params, x, y):
    return network.loss(params, x, y, activation="relu")


def wrong(params, x, y):
    """Return the gradient with the last biases' part twice as large."""
    grads = gradlab.grad(loss)(params, x, y)
    return grads | {"b2": 2 * grads["b2"]}


def found(start=START, data=(X, LABELS), **options):
    options = {"backend": "tape", "learning_rate": 0.1, "epochs": 12, "batch_size": 20} | options
    hidden = partial(outputs_of, activation="relu")
    return diagnose(options.pop("loss", loss), start, data, hidden=hidden, **options)


def about(diagnosis):
    return {finding.about: finding.remedy for finding in diagnosis.remedies}


def test_a_training_that_goes_well_has_no_finding():
    assert about(found(epochs=40)) == {}


FAULTS = {
    "a rate too small": ({"learning_rate": 1e-6}, "learning rate", "raise the learning rate to"),
    "a rate too large": ({"learning_rate": 30.0}, "learning rate", "lower the learning rate to"),
    "a rate that diverges": ({"loss": lambda p, x, y: loss(p, x, y) ** 2 + p["W1"][0, 0] ** 4,
                              "learning_rate": 1e6}, "fit says", "lower the learning rate"),
    "dead from the start": ({"start": START | {"b1": np.full(4, -1e3)}}, "dead units", "start"),
    "a wrong gradient": ({"backend": gradlab.ByHand(wrong)}, "gradient", "check_gradients"),
    "labels of noise": ({"data": (X, np.arange(60) % 3), "learning_rate": 1e-3,
                         "start": network.init([4, 1, 3], 0, scale=1e-3)}, "learning rate",
                        "no rate helps"),
}  # fmt: skip


LONG = {"a rate too large", "a rate that diverges", "labels of noise", "a wrong gradient"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in FAULTS],
)
def test_a_planted_fault_is_named(name):
    options, what, remedy = FAULTS[name]
    assert remedy in about(found(**options))[what]


def test_all_of_it_can_be_written_and_printed():
    diagnosis = found(epochs=1, test=(X, LABELS))
    summary = json.loads(json.dumps(diagnosis.summary()))
    assert {f["about"] for f in summary["findings"]} >= {"gradient", "learning rate", "one step"}
    assert diagnosis.headline() in str(diagnosis)
    assert diagnosis.headline() in repr(diagnosis)
    assert all(finding.about in diagnosis._repr_html_() for finding in diagnosis.findings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": optim.lbfgs(), "learning_rate": None, "batch_size": None, "epochs": 3},
        {"optimizer": optim.adam(optim.cosine(0.1, 36)), "learning_rate": None},
        {"backend": "spsa", "epochs": 2},
    ],
)
def test_other_optimisers_and_backends(options):
    diagnosis = found(**options)
    assert diagnosis.rate in (1.0, 0.1)
    if options.get("backend") == "spsa":
        assert "only on average" in diagnosis.findings[0].text
    assert any(trained.rate == diagnosis.rate for trained in diagnosis.sweep)


def test_a_loss_of_the_parameters_alone():
    diagnosis = diagnose(lambda p: (p**2).sum(), np.ones(3), learning_rate=0.1, iterations=60)
    assert about(diagnosis) == {}
    assert diagnosis.layers == {}


def test_what_cannot_be_diagnosed_is_refused():
    with pytest.raises(OptionError, match="has_aux=True: a diagnosis takes losses without"):
        found(has_aux=True)
    with pytest.raises(OptionError, match=r"checkpoint=.*: a diagnosis trains several times"):
        found(checkpoint="state")
    with pytest.raises(
        TypeError, match="unknown option of diagnose 'epoch': did you mean 'epochs'"
    ):
        found(epoch=3)
    with pytest.raises(DivergenceError, match="before the first step"):
        found(start=START | {"W1": START["W1"] * 1e200, "W2": START["W2"] * 1e200})


def test_units_are_dead_if_they_return_the_same_for_all_samples():
    assert layer(np.array([[0.0, 3.0], [0.0, 3.0]])) == Layer(2, 2, 0.0)
    assert layer(np.array([[-1.0, 0.999], [1.0, -0.995]])) == Layer(2, 0, 1.0)
    assert layer(np.array([[0.0, 0.999], [0.0, 0.2]])).saturated == 1.0 - 0.25
    assert layer(np.array([[0.0, 0.5], [0.0, 0.2]])).saturated == 0.0  # as relu returns
    assert layer(np.array([[np.nan, 1.0], [0.0, 0.2]])).saturated == 0.0


def test_a_few_dead_units_are_common_with_relu():
    (few,) = findings.of_units({"start": [Layer(30, 15, 0.0)], "end": [Layer(30, 18, 0.0)]})
    assert few.text == "at the start, 15 of 30 in layer 1; at the end, 18 of 30 in layer 1"
    assert few.remedy == ""
    (many,) = findings.of_units({"start": [Layer(30, 15, 0.0)], "end": [Layer(30, 19, 0.0)]})
    assert "the training" in many.remedy
    (first,) = findings.of_units({"start": [Layer(30, 19, 0.0)], "end": [Layer(30, 19, 0.0)]})
    assert "start with other weights" in first.remedy


def test_overfitting_and_length():
    def epochs(*pairs):
        return [Epoch(i, a, b, None, 0.1) for i, (a, b) in enumerate(pairs, start=1)]

    (finding,) = findings.of_overfitting(epochs((2, 1.0), (1, 0.5), (0.5, 0.6)))
    assert "lowest after epoch 2, 0.5000, and has risen to 0.6000" in finding.text
    assert findings.of_overfitting(epochs((2, 1.0), (1, 0.5), (0.5, 0.54))) == []
    assert findings.of_overfitting(epochs((2, None), (1, None))) == []
    assert [f.about for f in findings.of_length(epochs((2, 1), (1, 1)))] == ["length"]
    assert findings.of_length(epochs((2, 1), (1.95, 1))) == []


def test_a_rate_that_serves_needs_no_remedy():
    tried = (Trained(0.1, 1.0), Trained(1.0, 0.5), Trained(10.0, np.inf))
    assert findings.of_sweep(tried, 0.1, 2.0, 100, None).remedy == ""
    assert "raise" in findings.of_sweep(tried, 0.1, 1.2, 100, None).remedy
    assert "diverges" in findings.of_sweep(tried, 10.0, 2.0, 100, None).text
    assert "guessing among 3" in findings.of_sweep(tried, 0.1, 2.0, 1, (0.501, 0.52, 3)).text
