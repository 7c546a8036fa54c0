"""`fit` with an optimiser: the steps of the optimiser, kept in checkpoints, without allocations."""

import tracemalloc
from itertools import pairwise

import numpy as np
import optional  # noqa: F401  (JAX is imported before a test begins)
import pytest
from crashing import CrashError, crash_at

import gradlab
from gradlab import fit, network, optim
from gradlab.errors import DivergenceError, OptionError

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(40, 3)), RNG.integers(2, size=40)
START = network.init((3, 4, 2), 0)

OPTIMISERS = {
    "sgd": optim.sgd(0.1),
    "momentum": optim.sgd(0.1, 0.9),
    "nesterov": optim.sgd(optim.step(0.2, 5), 0.9, nesterov=True),
    "adagrad": optim.adagrad(0.1, initial=0.5),
    "rmsprop": optim.rmsprop(0.01, weight_decay=0.1),
    "adam": optim.adam(optim.warmup(optim.cosine(0.01, 15), 3)),
    "adamw": optim.adamw(0.01, clip=0.1),
    "lbfgs": optim.lbfgs(0.5, 3),
}


def train(optimizer, **options):
    options = {"epochs": 3, "batch_size": 7, "optimizer": optimizer} | options
    if getattr(optimizer, "whole_data", False):
        options |= {"batch_size": None, "epochs": 18}
    return fit(network.loss, START, (X, LABELS), **options)


def bits(result):
    return {name: leaf.tobytes() for name, leaf in result.params.items()}, result.history.losses


@pytest.mark.parametrize("backend", ["autograd", "tape"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_fit_takes_the_steps_of_the_optimiser(name, backend):
    """Whole blocks and leaves have the same arithmetic, except for the sums of a norm."""
    rule, params = OPTIMISERS[name], START
    state, seen = rule.init(START), []

    def watched(step):
        nonlocal params, state
        for path, leaf in step.params.items():
            np.testing.assert_allclose(leaf, params[path], rtol=1e-12, atol=1e-14)
        updates, state = rule.update(step.grads, state, step.params)
        params = {path: leaf + updates[path] for path, leaf in step.params.items()}
        seen.append(step.iteration)

    result = train(rule, backend=backend, callbacks=[watched])
    assert seen == list(range(18))
    for path, leaf in result.params.items():
        np.testing.assert_allclose(leaf, params[path], rtol=1e-12, atol=1e-14)
    # Without a callback, the same arrays serve all steps.
    again = train(rule, backend=backend)
    for path, leaf in result.params.items():
        np.testing.assert_allclose(leaf, again.params[path], rtol=1e-10, atol=1e-12)


def test_the_memory_order_of_a_gradient_does_not_matter():
    def loss(p, x):
        return np.sum(np.sin(p["w"]) * x[0]) + np.sum(p["b"])

    def gradient(p, x):
        return {"w": np.asfortranarray(np.cos(p["w"]) * x[0]), "b": np.ones((4, 2))[::2, 0]}

    start = {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(2)}
    data, options = (np.arange(12.0).reshape(2, 2, 3),), {"batch_size": 1, "epochs": 2}
    wanted = fit(loss, start, data, **options)
    result = fit(loss, start, data, gradient=gradient, **options)
    for path, leaf in wanted.params.items():
        np.testing.assert_allclose(result.params[path], leaf, rtol=1e-14)


def optax_adam():
    optax = pytest.importorskip("optax", reason="optax is not installed")
    return optax.adamw(optax.cosine_decay_schedule(0.01, 20), weight_decay=0.01)


@pytest.mark.parametrize("name", [*OPTIMISERS, "optax"])
def test_a_training_that_crashed_resumes_to_the_same_bits(name, tmp_path):
    rule = optax_adam() if name == "optax" else OPTIMISERS[name]
    wanted = train(rule)
    path = tmp_path / "checkpoint"
    for count in (6,) if name == "optax" else (0, 6, 13):  # JAX compiles again each time
        with pytest.raises(CrashError):
            train(rule, checkpoint=path, resume=True, callbacks=[crash_at(count)])
    assert bits(train(rule, checkpoint=path, resume=True)) == bits(wanted)


def test_a_checkpoint_of_another_optimiser_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    train(optim.adam(0.01), checkpoint=path)
    for other in (optim.adam(0.02), optim.adam(0.01, weight_decay=0.1), optim.rmsprop(0.01)):
        with pytest.raises(OptionError, match=r"optimizer was Adam\(.*0.01\) and is"):
            train(other, checkpoint=path, resume=True)
    with pytest.raises(OptionError, match=r"learning_rate was None and is 0.1"):
        train(None, checkpoint=path, resume=True)


def test_the_short_way_is_sgd():
    short = train(None, learning_rate=0.2, momentum=0.5)
    assert bits(short) == bits(train(optim.sgd(0.2, 0.5)))
    falling = optim.step(0.2, 7)
    assert bits(train(None, learning_rate=falling)) == bits(train(optim.sgd(falling)))


@pytest.mark.parametrize("name", ["momentum", "adamw", "rmsprop", "lbfgs"])
def test_a_step_allocates_nothing(name):
    """After the first steps, a step allocates less than 50 kB; the parameters take 80 kB."""
    params = network.init((200, 50, 10), seed=0)
    x, labels = np.random.default_rng(0).random((500, 200)), np.arange(500) % 10
    levels = []

    class Watched(type(OPTIMISERS[name])):
        def write(self, *args):
            super().write(*args)
            levels.append(tracemalloc.get_traced_memory())
            tracemalloc.reset_peak()

    rule = Watched(**vars(OPTIMISERS[name]))
    options = {"epochs": 30} if rule.whole_data else {"epochs": 6, "batch_size": 100}
    tracemalloc.start()
    try:
        fit(network.loss, params, (x, labels), backend="tape", optimizer=rule, **options)
    finally:
        tracemalloc.stop()
    steady = levels[15:]
    assert len(steady) == 15
    assert max(p - current for (current, _), (_, p) in pairwise(steady)) < 50_000


# Optimisers of optax


def test_optax_adam_is_adam():
    """Float64 parameters are updated in float64, whatever JAX's own setting is."""
    optax = pytest.importorskip("optax", reason="optax is not installed")
    theirs, ours = train(optax.adam(0.01)), train(optim.adam(0.01))
    for path, leaf in ours.params.items():
        assert theirs.params[path].dtype == np.float64
        np.testing.assert_allclose(theirs.params[path], leaf, rtol=1e-12, atol=1e-14)


class Plain:
    """Gradient descent with a state of mixed kinds, in the order of a dict that changes."""

    def init(self, params):
        return {"steps": 0, "none": None, "flag": True, "last": [np.float32(0)]}

    def update(self, grads, state, params):
        assert state["none"] is None
        updates = {name: -0.1 * g for name, g in grads.items()}
        last = [np.float32(1)]
        after = {"last": last, "flag": not state["flag"], "none": None, "steps": state["steps"] + 1}
        return updates, after


def test_a_users_object_with_the_protocol(tmp_path):
    path = tmp_path / "checkpoint"
    wanted = train(optim.sgd(0.1))
    with pytest.raises(CrashError):
        train(Plain(), checkpoint=path, callbacks=[crash_at(8)])
    assert bits(train(Plain(), checkpoint=path, resume=True)) == bits(wanted)


def test_structures_with_numbers_are_passed_on():
    start = {"a": 1.0, "b": [np.zeros(2), np.float32(2.0)]}

    class Descent:
        def init(self, params):
            return ()

        def update(self, grads, state, params):
            assert type(params["a"]) is np.float64
            return {"b": [-grads["b"][0], -grads["b"][1]], "a": -grads["a"]}, state

    def loss(p, x):
        return (p["a"] - x.mean()) ** 2 / 2 + ((p["b"][0] - 3) ** 2).sum() / 2 + p["b"][1] ** 2 / 2

    result = fit(loss, start, (np.ones(4),), optimizer=Descent(), epochs=1)
    assert result.params["a"] == 1.0
    np.testing.assert_array_equal(result.params["b"][0], [3, 3])
    assert result.params["b"][1] == 0
    assert result.params["b"][1].dtype == np.float32


class Changing(Plain):
    def update(self, grads, state, params):
        updates, state = super().update(grads, state, params)
        return updates, state | {"last": [np.zeros(2)]}


class Growing(Plain):
    def update(self, grads, state, params):
        updates, state = super().update(grads, state, params)
        return updates, state | {"more": 1}


class Single(Plain):
    def update(self, grads, state, params):
        return grads


class Texts(Plain):
    def init(self, params):
        return {"name": "plain"}


class Infinite(Plain):
    def update(self, grads, state, params):
        return {name: g + np.inf for name, g in grads.items()}, state


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("adam", "optimizer='adam': give an optimizer of gradlab.optim"),
        (optim.Optimiser, "give an optimizer of gradlab.optim"),
        (Plain, "give an optimizer of gradlab.optim"),
        (Changing(), r"last\[0\] in its state .* at step 0"),
        (Growing(), "more in its state"),
        (Single(), r"did not return \(updates, state\)"),
        (Texts(), "name has dtype"),
    ],
)
def test_objects_that_are_not_optimisers_are_refused(optimizer, message):
    with pytest.raises(OptionError, match=message):
        train(optimizer)


def test_updates_that_are_not_finite_end_the_training():
    with pytest.raises(DivergenceError, match=r"lower the learning rate$"):
        train(Infinite())


def test_the_advice_names_the_rate_of_the_step():
    rising = optim.sgd(lambda count: 10.0 ** (20 * count), 0.9)
    with pytest.raises(DivergenceError, match=r"lower the learning rate, 1e\+\d+, to 0.1"):
        fit(lambda p, x: (p**4).sum() + x.sum(), np.ones(2), (np.ones(40),), optimizer=rising)


@pytest.mark.parametrize("options", [{"learning_rate": 0.1}, {"momentum": 0.5}])
def test_an_optimiser_has_its_own_rate(options):
    with pytest.raises(OptionError, match=f"give an optimizer or a {next(iter(options))}, not"):
        train(optim.adam(0.1), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 20}, "batch_size=20: this optimizer takes all samples"),
        ({"iterations": 5}, "iterations=5: this optimizer takes all samples"),
    ],
)
def test_l_bfgs_takes_all_data(options, message):
    with pytest.raises(OptionError, match=message):
        fit(network.loss, START, (X, LABELS), optimizer=optim.lbfgs(), **options)


def test_l_bfgs_needs_few_passes():
    """For logistic regression with a penalty, it gets a hundred times closer than descent."""

    def loss(w, x, labels):
        return np.mean(np.log1p(np.exp(-(2 * labels - 1) * (x @ w)))) + 0.05 * np.sum(w**2)

    gradients = []
    for rule in (optim.lbfgs(), optim.sgd(1.0)):
        options = {"optimizer": rule, "batch_size": 40, "epochs": 15}
        reached = fit(loss, np.zeros(3), (X, LABELS), **options).params
        gradients.append(np.linalg.norm(gradlab.grad(loss)(reached, X, LABELS)))
    assert gradients[0] < 0.01 * gradients[1]
