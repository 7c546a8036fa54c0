"""A user's program, as an editor with strict type checking sees it: every name is known.

It is checked, but not run, by `test_typing.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import gradlab
from gradlab import datasets, network, plotting, testing, weights
from gradlab.gradients import Loss, ValueAndGrad

Floats = NDArray[np.float64]
Params = dict[str, Floats]


def loss(params: Params, x: Floats, y: Floats) -> float:
    return float(np.mean((np.tanh(x @ params["w"] + params["b"]) - y) ** 2))


def by_hand(params: Params, x: Floats, y: Floats) -> Params:
    t = np.tanh(x @ params["w"] + params["b"])
    error = 2 * (t - y) * (1 - t**2) / len(x)
    return {"w": x.T @ error, "b": error.sum()}


@dataclass(frozen=True)
class OneSided:
    """A user's backend."""

    name: str = "one-sided"

    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        return gradlab.value_and_grad(loss, gradlab.ForwardDifference(step=1e-7))


def differentiate(params: Params, x: Floats, y: Floats) -> None:
    gradient = gradlab.grad(loss, backend="central")(params, x, y)
    print(gradient["w"])
    value, grads = gradlab.value_and_grad(loss, OneSided())(params, x, y)
    assert_type(value, float)
    print(grads)
    backends: list[gradlab.Backend] = [
        gradlab.Autograd(),
        gradlab.Tape(),
        gradlab.Jax(),
        gradlab.Torch(compile=True),
        gradlab.AutogradForward(),
        gradlab.CentralDifference(step=1e-4, workers=2, resume=Path("partial.npz")),
        gradlab.CentralDifference4(incremental=False),
        gradlab.ComplexStep(),
        gradlab.ForwardDifference(dtype=np.float64),
        gradlab.Richardson(),
        gradlab.SPSA(draws=4, seed=0),
        gradlab.ForwardGradient(seed=np.random.default_rng(0)),
        OneSided(),
        gradlab.find_backend("tape"),
        *(make() for make in gradlab.BACKENDS.values()),
    ]
    print([assert_type(backend.name, str) for backend in backends])
    estimate = gradlab.derivative_with_error(loss, params, x, y)
    print(estimate.value["w"], estimate.error["w"])
    path = gradlab.descend(loss, params, x, y, backend="central", iterations=3)
    print(path[-1]["w"])


def check(params: Params, x: Floats, y: Floats) -> None:
    report = gradlab.check_gradients(loss, params, x, y, gradient=by_hand, mode="entries", seed=0)
    assert_type(report, gradlab.GradientReport)
    assert_type(report.ok, bool)
    if report.verdict == "mismatch":
        for entry in report.mismatches:
            print(assert_type(entry.name, str), assert_type(entry.ratio, float))
        for leaf in report.leaves:
            print(assert_type(leaf.path, str), assert_type(leaf.cause, str), leaf.shape)
    print(report.counts.get("agree", 0), report.resolution < 1e-6, report.to_dict()["ok"])
    testing.assert_gradients_agree(loss, params, x, y, gradient=by_hand)
    figure = assert_type(plotting.gradient_map(report), Figure)
    figure.savefig("map.png")  # pyright: ignore[reportUnknownMemberType]  # matplotlib's own
    assert_type(plotting.gradient_agreement(report), Figure)
    try:
        report.raise_for_mismatch()
    except gradlab.GradlabError as error:
        print(error)


def train() -> None:
    data = assert_type(datasets.load("digits", dtype=np.float32, subset=100), datasets.Dataset)
    x, labels = data.train
    print(x.shape, labels.dtype, assert_type(data.classes, int))
    start = network.init([64, 32, 10], seed=0, activation="tanh", scale="xavier")
    losses: list[float] = []

    def follow(step: gradlab.Step) -> bool:
        losses.append(step.loss)
        return step.epoch is not None and step.epoch.loss < 0.1

    result: gradlab.Fit = gradlab.fit(
        network.loss,
        start,
        data.train,
        backend=gradlab.Tape(exact=True),
        learning_rate=0.2,
        epochs=5,
        seed=0,
        validation=data.test,
        accuracy=network.accuracy,
        callbacks=[follow],
        checkpoint=Path("state"),
        resume=True,
    )
    print(assert_type(network.accuracy(result.params, *data.test), float))
    print(result.interrupted, result.history.losses[-1], result.history.epochs[-1].accuracy)
    weights.save("weights.npz", result.params, metadata={"activation": "tanh"})
    print(weights.load("weights.npz")["W1"].shape, weights.load_metadata("weights.npz"))
    assert_type(plotting.training_curves(result.history), Figure)


def compare() -> None:
    data = datasets.load("digits")
    comparison: gradlab.Comparison = gradlab.compare(
        network.loss,
        network.init([64, 5, 10]),
        data.train,
        backends=["central", gradlab.Autograd()],
        test=data.test,
        accuracy=network.accuracy,
        iterations=5,
    )
    for run in comparison.runs:
        print(assert_type(run.backend, str), assert_type(run.accuracy, float | None), run.together)
        print(assert_type(comparison.speedup(run), float))
    assert_type(plotting.loss_curves({"central": comparison.runs[0].fit.history.losses}), Figure)


def use_the_network(params: Params, x: Floats, activation: Callable[[Any], Any]) -> None:
    hidden = network.sigmoid(x @ params["W1"])
    print(network.softmax(hidden), network.predict(params, x, activation=activation))
    print(network.cross_entropy(hidden, np.array([0])), network.one_hot([0, 1], 2))
