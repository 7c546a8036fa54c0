"""Many steps in one native call equal single steps: the same bits, errors and remarks."""

from __future__ import annotations

import os
import signal
import warnings
from typing import Any

import numpy as np
import pytest
from lines import bits

import gradlab
from gradlab import Tape, fit, network, optim
from gradlab.errors import DivergenceError, TrainingWarning
from gradlab.gradients import value_and_grad
from gradlab.gradients.tape.compiled import UnsupportedError
from gradlab.training import strides as module
from gradlab.training.loop import Descent

pytestmark = pytest.mark.skipif(
    gradlab.gradients.tape.compiled.is_missing(), reason="llvmlite is not installed"
)

RNG = np.random.default_rng(0)
X, LABELS = RNG.random((200, 6)), RNG.integers(3, size=200)
START = network.init([6, 4, 3], seed=0)

OPTIMISERS = {
    "sgd": optim.sgd(0.5),
    "momentum": optim.sgd(0.2, 0.9),
    "nesterov": optim.sgd(0.2, 0.9, nesterov=True, weight_decay=1e-3),
    "schedule": optim.sgd(lambda count: 1 / (2 + count)),
    "adam": optim.adam(0.05, weight_decay=0.01),
    "rmsprop": optim.rmsprop(0.01),
    "adagrad": optim.adagrad(0.1),
}


class Kept:
    """A compiled tape whose function stays from training to training."""

    name = "kept"

    def __init__(self, loss: Any = network.loss, **options: Any) -> None:
        self.function = value_and_grad(loss, Tape(compile=True, **options))

    def value_and_grad(self, loss: Any) -> Any:
        return self.function


@pytest.fixture(scope="module")
def kept() -> dict[Any, Kept]:
    """Return one function for each dtype, which makes no further comparisons."""
    backends = {dtype: Kept() for dtype in (np.float32, np.float64)}
    for dtype, backend in backends.items():
        train(backend, dtype)
    return backends


def train(backend: Any, dtype: Any = np.float64, **options: Any) -> Any:
    params = {name: leaf.astype(dtype) for name, leaf in START.items()}
    given = {"batch_size": 10, "epochs": 3, "progress": False, "learning_rate": 0.5} | options
    if "optimizer" in options:
        del given["learning_rate"]
    return fit(network.loss, params, (X.astype(dtype), LABELS), backend=backend, **given)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of steps of each native call."""
    counts: list[int] = []
    take = Descent.take_steps

    def counting(self: Any, rows: Any) -> Any:
        found = take(self, rows)
        counts.append(found[-1])
        return found

    monkeypatch.setattr(Descent, "take_steps", counting)
    monkeypatch.setattr(module, "MAX_CALL_SECONDS", 1e9)  # independent of the load of the machine
    return counts


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Descent, "steps_at_once", lambda self: 0)


def norms(result: Any) -> list[Any]:
    return [(e.loss, e.gradient_norms, e.update_norms) for e in result.history.epochs]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_many_steps_have_the_bits_of_single_ones(
    name: str, dtype: Any, kept: Any, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = train(kept[dtype], dtype, optimizer=OPTIMISERS[name])
    assert counted == [19, 20, 20]  # the first step shows how long one takes
    one_by_one(monkeypatch)
    single = train(kept[dtype], dtype, optimizer=OPTIMISERS[name])
    assert len(counted) == 3
    assert bits(many.params) == bits(single.params)
    assert many.history.losses == single.history.losses
    assert norms(many) == norms(single)


def test_rows_drawn_with_replacement(
    kept: Any, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = train(kept[np.float64], epochs=None, iterations=50)
    assert counted == [19, 20, 10]
    one_by_one(monkeypatch)
    assert bits(many.params) == bits(train(kept[np.float64], epochs=None, iterations=50).params)


def squares(params: Any, x: Any, y: Any) -> Any:
    return np.mean((x @ params["w"] - y) ** 2)


@pytest.mark.parametrize("late", [1e308, 1e200, 1e3])
def test_a_training_diverges_at_the_same_step(
    late: float, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter overflows, the loss overflows, or both grow over many steps."""

    def ends() -> Any:
        rates = optim.sgd(lambda count: 0.01 if count < 9 else late)
        with pytest.raises(DivergenceError) as caught:
            fit(
                squares,
                {"w": np.zeros(6)},
                (X, X[:, 0]),
                backend=backend,
                optimizer=rates,
                batch_size=20,
            )
        return caught.value

    backend = Kept(squares)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        fit(squares, {"w": np.zeros(6)}, (X, X[:, 0]), backend=backend, batch_size=20)
        counted.clear()
        many = ends()
        assert sum(counted) > 7
        one_by_one(monkeypatch)
        single = ends()
    assert str(many) == str(single)
    assert many.iteration == single.iteration > 8
    assert bits(many.params) == bits(single.params)
    assert many.history.losses == single.history.losses


def test_a_refused_step_is_taken_alone(
    kept: Any, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradlab.training.many import ManySteps

    take = ManySteps.take
    monkeypatch.setattr(
        ManySteps, "take", lambda self, point, rows, count: take(self, point, rows[:3], count)
    )
    many = train(kept[np.float64])
    assert max(counted) == 3
    monkeypatch.setattr(ManySteps, "take", lambda self, point, rows, count: ([], np.zeros((4, 1))))
    assert bits(many.params) == bits(train(kept[np.float64]).params)
    assert counted[-1] == 0
    assert counted.count(0) == 1  # it does not try again


def test_gradients_of_zero_are_seen(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(params: Any, x: Any, y: Any) -> Any:
        return np.mean((x @ params["w"] + np.maximum(0, x @ params["dead"] - 100) - y) ** 2)

    start = {"w": np.zeros(6), "dead": np.ones(6)}
    remarks = []
    for _ in range(2):
        with pytest.warns(TrainingWarning) as caught:
            fit(loss, start, (X, X[:, 0]), backend=Tape(compile=True), batch_size=6, epochs=2)
        remarks.append([str(one.message) for one in caught])
        one_by_one(monkeypatch)
    assert remarks[0] == remarks[1]
    assert any("gradient of dead was exactly 0 in each of 34 steps" in text for text in remarks[0])
    assert sum(counted) > 50  # the last batch of an epoch has 2 rows


def test_comparisons_with_eager_autograd_stay(counted: list[int]) -> None:
    backend = Kept(verify=8)
    result = train(backend)
    assert max(counted) == 7
    assert sum(counted) > 30
    info = backend.function.cache_info
    assert info.replays + info.recordings == len(result.history.losses)


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": [lambda step: None]},
        {"optimizer": optim.sgd(0.1, clip=1.0)},
        {"backend": "tape"},
        {"backend": "autograd"},
    ],
)
def test_other_trainings_take_single_steps(
    options: dict[str, Any], kept: Any, counted: list[int]
) -> None:
    train(options.pop("backend", kept[np.float64]), epochs=2, **options)
    assert not counted


def test_a_checkpoint_keeps_numpys_bits(counted: list[int], tmp_path: Any) -> None:
    train(Tape(compile=True), checkpoint=tmp_path / "state")
    assert not counted


def test_arrays_by_columns_take_single_steps(kept: Any, counted: list[int]) -> None:
    by_columns = {name: np.asfortranarray(leaf) for name, leaf in START.items()}
    for params, data in ((START, (np.asfortranarray(X), LABELS)), (by_columns, (X, LABELS))):
        fit(network.loss, params, data, backend=kept[np.float64], epochs=2, batch_size=10)
    assert set(counted) <= {0}


def test_leaves_of_two_dtypes_take_single_steps(counted: list[int]) -> None:
    start = {
        name: leaf.astype(np.float32 if name == "b1" else float) for name, leaf in START.items()
    }
    fit(network.loss, start, (X, LABELS), backend=Tape(compile=True), epochs=2, batch_size=10)
    assert not counted


def test_an_update_that_is_not_known_is_refused() -> None:
    from gradlab.gradients.tape.compiled.steps import recorded

    def bends(p: Any, g: Any, old: Any, new: Any, out: Any, spare: Any) -> None:
        np.tanh(g, out=out)

    def leaves_the_state(p: Any, g: Any, old: Any, new: Any, out: Any, spare: Any) -> None:
        np.add(p, g, out=out)

    def reads_what_is_not_written(p: Any, g: Any, old: Any, new: Any, out: Any, spare: Any) -> None:
        np.add(p, spare, out=out)

    for rule, slots, message in (
        (bends, 0, "tanh"),
        (leaves_the_state, 1, "leaves an array as it was"),
        (reads_what_is_not_written, 0, "add"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            recorded(rule, np.dtype(float), slots)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_comes_after_the_native_call(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlab.training.many import ManySteps

    take = ManySteps.take

    def interrupted(self: Any, point: Any, rows: Any, count: int) -> Any:
        found = take(self, point, rows, count)
        signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(ManySteps, "take", interrupted)
    result = train(kept[np.float64])
    assert result.interrupted
    monkeypatch.undo()
    done = len(result.history.losses)
    assert 2 <= done < 60
    again = fit(
        network.loss, START, (X, LABELS), backend=kept[np.float64], batch_size=10, epochs=3,
        learning_rate=0.5, callbacks=[lambda step: step.iteration + 1 == done],
    )  # fmt: skip
    assert bits(again.params) == bits(result.params)
    assert again.history.losses == result.history.losses


def test_a_native_call_is_short(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock advances by 3 ms per step, so that 6 steps fit into 20 ms."""
    clock, counts = [0.0], []
    step, take = Descent.step, Descent.take_steps

    def one(self: Any, batch: Any) -> Any:
        clock[0] += 0.003
        return step(self, batch)

    def many(self: Any, rows: Any) -> Any:
        clock[0] += 0.003 * len(rows)
        counts.append(len(rows))
        return take(self, rows)

    monkeypatch.setattr(Descent, "step", one)
    monkeypatch.setattr(Descent, "take_steps", many)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    train(kept[np.float64])
    assert max(counts) == 6
