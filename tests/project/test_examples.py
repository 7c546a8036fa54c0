"""The scripts in `examples/` show the subject of their exercise, on the digits."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import gradlab

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_shows_its_command(path):
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


def test_the_gradients_of_the_layers():
    rng = np.random.default_rng(0)
    symbols = rng.integers(10, size=(2, 6))
    losses = {
        "two_layers": ((4, 5, 3), rng.random((3, 4)), np.array([0, 2, 1])),
        "lstm": ((3, 2, 3), rng.normal(size=(2, 4, 3)), np.array([0, 2])),
        "attention": ((), symbols, symbols[:, ::-1]),
    }
    for name, (sizes, *batch) in losses.items():
        module = example(name)
        gradlab.check_gradients(module["loss"], module["init"](*sizes), *batch).raise_for_mismatch()


def test_an_lstm_and_layer_norm_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng, module = np.random.default_rng(0), example("lstm")
    params, x = module["init"](4, 6, 3), rng.normal(size=(2, 5, 4))
    params["b"] = rng.normal(size=24)
    theirs = torch.nn.LSTM(4, 6, batch_first=True, dtype=torch.float64)
    forget, write, output, new = (slice(6 * i, 6 * i + 6) for i in range(4))
    order = np.concatenate([np.arange(24)[gate] for gate in (write, forget, new, output)])
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.from_numpy(params["Wx"].T[order]))
        theirs.weight_hh_l0.copy_(torch.from_numpy(params["Wh"].T[order]))
        theirs.bias_ih_l0.copy_(torch.from_numpy(params["b"][order]))
        theirs.bias_hh_l0.zero_()
        expected = theirs(torch.from_numpy(x))[0][:, -1].numpy()
    np.testing.assert_allclose(module["lstm"](params, x), expected, rtol=1e-12, atol=1e-13)
    attention, functional = example("attention"), torch.nn.functional
    q, k, v = rng.normal(size=(3, 2, 6, 32))
    expected = functional.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v))).numpy()
    np.testing.assert_allclose(attention["attention"](q, k, v)[0], expected, rtol=1e-12, atol=1e-13)
    scale, shift = rng.normal(size=(2, 32))
    expected = functional.layer_norm(*map(torch.from_numpy, (q,)), (32,)).numpy() * scale + shift
    np.testing.assert_allclose(
        attention["layer_norm"](q, scale, shift), expected, rtol=1e-12, atol=1e-13
    )


def test_attention_reverses_sequences():
    module = example("attention")
    params, share = module["trained"](200)
    assert share > 0.99  # guessing: 0.1
    weights = module["logits"](params, np.array([[3, 1, 4, 1, 5, 9]]))[1][0]
    assert np.argmax(weights, axis=1).tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.slow
def test_two_layers_the_lstm_and_the_search():
    assert example("two_layers")["trained"]("digits", 200)[2] > 0.86
    assert example("lstm")["accuracy"]("digits", 30) > 0.88
    (best, *_, worst) = example("search")["trials"]("digits", 8, 50)
    assert best[0] > 0.85
    assert worst[0] < best[0]


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
    assert losses[0.01] > 2.2  # ln 10 is the loss before training
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
