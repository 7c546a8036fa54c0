"""The scripts in `examples/`: each shows what its exercise is about, on the digits."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_says_how_it_is_run(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert f"python examples/{path.name}" in text


def test_the_valley_and_the_activations():
    module = example("narrow_valley")
    paths = module["paths"]()
    assert list(paths) == ["sgd", "momentum", "adagrad", "adam"]
    assert max(module["valley"](path[-1]) for path in paths.values()) < 0.2  # it began at 6.45
    factor = 1 - 0.95 * np.array([0.1, 2.0])  # of gradient descent, for each of the two curvatures
    for step, point in enumerate(paths["sgd"]):
        assert point == pytest.approx(np.array([-7.0, 2.0]) * factor**step, rel=1e-12)
    panels = module["figure"](paths).axes
    assert [panel.get_title(loc="left").partition(":")[0] for panel in panels] == list(paths)
    spreads = example("initialisation")["spread_of_activations"]
    assert spreads(0.01, "tanh")[-1] < 0.001  # they vanish
    assert min(spreads(1.0, "tanh")) > 0.9  # they saturate
    assert spreads("he", "relu")[-1] == pytest.approx(0.8, rel=0.2)  # they keep their spread


@pytest.mark.slow
def test_optimisers():
    accuracies = dict(example("optimisers")["on_a_network"]("digits", 5))
    assert min(accuracies[name] for name in ("momentum", "adagrad", "adam")) > 0.8
    assert accuracies["sgd"] < min(accuracies[name] for name in ("momentum", "adagrad", "adam"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the gradient of W1.* vanishes:gradlab.errors.TrainingWarning")
def test_initialisation():
    losses = {
        scale: np.mean(example("initialisation")["training_losses"](scale, "digits", 300)[-20:])
        for scale in (0.01, "he")
    }
    assert losses[0.01] > 2.2  # ln 10: it has learned nothing
    assert losses["he"] < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), [("weight_decay", 0.1), ("dropout", 0.15)])
def test_overfitting(name, option):
    accuracies = example(name)["accuracies"]
    (train, test), (other_train, other_test) = (accuracies(x, "digits", 100) for x in (0.0, option))
    assert train == 1.0
    assert train - test > other_train - other_test
    assert other_test > test


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the gradient of W1.* vanishes:gradlab.errors.TrainingWarning")
def test_batch_norm():
    accuracy = example("batch_norm")["accuracy"]
    assert accuracy(0.01, False, "digits", 20) < 0.3
    assert accuracy(0.01, True, "digits", 20) > 0.8


@pytest.mark.slow
def test_convolution():
    assert example("convolution")["accuracy"]("digits", 20) > 0.88
