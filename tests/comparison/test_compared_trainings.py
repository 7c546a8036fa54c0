"""Trainings with several values of an option and several seeds: each is what `fit` gives alone."""

import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest

import gradlab
from gradlab import compare_trainings, network, optim, plotting
from gradlab.errors import DataError, OptionError

RNG = np.random.default_rng(5)
X, LABELS = RNG.random((30, 4)), RNG.integers(3, size=30)
TEST = X[:9], LABELS[:9]
SHORT = {"iterations": 6, "batch_size": 10}
OPTIMISERS = {"sgd": {"optimizer": optim.sgd(0.5)}, "adam": {"optimizer": optim.adam(0.1)}}


def start(seed):
    return network.init([4, 5, 3], seed)


def compared(values=OPTIMISERS, **options):
    given = {"test": TEST, "accuracy": network.accuracy, "over": "optimizer", **SHORT, **options}
    return compare_trainings(network.loss, start, (X, LABELS), values=values, **given)


def line(p, x, y):
    return np.mean((p * x - y) ** 2)


def lines(rates, **options):
    x = np.linspace(-1, 1, 20)
    values = {str(rate): {"learning_rate": rate} for rate in rates}
    return compare_trainings(line, 0.0, (x, 3 * x), values=values, **{"iterations": 5, **options})


def test_each_training_is_that_of_fit():
    trials = compared().trials
    names = [(trial.value, trial.seed) for trial in trials]
    assert names == [(value, seed) for seed in range(3) for value in ("sgd", "adam")]
    for trial in trials:
        alone = gradlab.fit(
            network.loss,
            start(trial.seed),
            (X, LABELS),
            seed=trial.seed,
            **OPTIMISERS[trial.value],
            **SHORT,
        )
        assert trial.fit.history.losses == alone.history.losses
        assert trial.loss == network.loss(alone.params, *TEST)
        assert trial.accuracy == network.accuracy(alone.params, *TEST)


def test_values_may_differ_in_the_loss_the_start_or_the_backend():
    values = {
        "tanh": {"loss": lambda p, x, y: network.loss(p, x, y, activation="tanh")},
        "small": {"params": lambda seed: network.init([4, 5, 3], seed, scale=0.01)},
        "central": {"backend": "central"},
        "plain": {},
    }
    tanh, small, central, plain = compared(values, seeds=[4]).trials
    x, y = TEST
    assert tanh.loss == network.loss(tanh.fit.params, x, y, activation="tanh")
    assert abs(small.fit.history.losses[0] - math.log(3)) < 0.01
    assert central.loss == pytest.approx(plain.loss, rel=1e-6)
    assert central.loss != plain.loss
    assert {trial.seed for trial in (tanh, small, central, plain)} == {4}


def mean(numbers):
    return math.fsum(numbers) / len(numbers)


def spread(numbers):
    squares = [(number - mean(numbers)) ** 2 for number in numbers]
    return math.sqrt(math.fsum(squares) / (len(numbers) - 1))


def test_means_and_spreads_are_those_of_the_seeds():
    trials = compared(seeds=[3, 1, 8])
    losses = [trial.loss for trial in trials.of("adam")]
    shares = [trial.accuracy for trial in trials.of("adam")]
    numbers = trials.summary()["values"][1]
    assert numbers["loss"] == pytest.approx(mean(losses), rel=1e-14)
    assert numbers["loss_spread"] == pytest.approx(spread(losses), rel=1e-12)
    assert numbers["accuracy"] == pytest.approx(mean(shares), rel=1e-14)
    assert numbers["accuracy_spread"] == pytest.approx(spread(shares), rel=1e-12)
    header, rows = trials.table()
    assert header == ["optimizer", "test loss", "test accuracy", "seconds"]
    assert rows[1][1] == f"{mean(losses):.4g} ± {spread(losses):.2g}"
    assert "±" not in rows[1][3]
    percents = [100 * share for share in shares]
    assert rows[1][2] == f"{mean(percents):.2f}% ± {spread(percents):.2f}%"
    assert [run["seed"] for run in numbers["runs"]] == [3, 1, 8]
    assert "adam" in trials._repr_html_()
    assert repr(trials) == "<Trials over optimizer: sgd, adam; 3 seeds>"


def test_the_best_has_the_lowest_mean_and_says_with_how_many_seeds():
    trials = compared()
    means = {v: mean([t.loss for t in trials.of(v)]) for v in trials.values}
    assert trials.best == min(means, key=means.get)
    pairs = zip(trials.of("sgd"), trials.of("adam"), strict=True)
    lower = sum((a.loss < b.loss) == (trials.best == "sgd") for a, b in pairs)
    assert trials.headline().endswith(f"the lowest with {lower} of 3 seeds.")
    assert trials.headline().startswith(f"{trials.best} has the lowest test loss, ")


def test_a_training_that_diverges_is_a_result():
    trials = lines([0.1, 1e200], seeds=2)
    bad = trials.of("1e+200")
    assert [trial.loss for trial in bad] == [math.inf, math.inf]
    assert all("diverged" in trial.diverged for trial in bad)
    assert trials.best == "0.1"
    header, rows = trials.table()
    assert header == ["value", "training loss", "diverged", "seconds"]
    assert rows[1][:3] == ["1e+200", "–", "2 of 2"]
    assert rows[0][2] == ""
    numbers = trials.summary()["values"][1]
    assert (numbers["diverged"], numbers["loss"], numbers["loss_spread"]) == (2, None, None)
    both = lines([1e200, 1e201], seeds=1)
    assert both.best is None
    assert both.headline() == "With each value, a training diverged."


def test_a_value_of_which_one_training_diverged_is_not_the_best():
    whole = lines([0.1, 0.2], seeds=2)
    trials = tuple(replace(t, loss=math.inf, diverged="at once") if not t.seed else t
                   for t in whole.trials)  # fmt: skip
    assert replace(whole, trials=trials).best is None


def test_the_last_step_may_be_the_one_that_diverges():
    trials = lines([0.1, 1e200], seeds=1, iterations=1)
    (bad,) = trials.of("1e+200")
    assert len(bad.fit.history.losses) == 1
    assert bad.diverged


@pytest.mark.filterwarnings("ignore:the loss grows:gradlab.errors.TrainingWarning")
def test_huge_finite_losses_have_means_and_spreads():
    trials = lines([0.1, 1e75], seeds=2, iterations=2)
    numbers = trials.summary()["values"][1]
    runs = [run["loss"] for run in numbers["runs"]]
    assert min(runs) > 1e290
    assert numbers["loss"] == pytest.approx(mean(runs), rel=1e-14)
    assert numbers["loss_spread"] == pytest.approx(abs(runs[0] - runs[1]) / math.sqrt(2), rel=1e-12)
    low, high = plotting.loss_bands(trials.losses()).axes[0].get_ylim()
    assert low < 3.0 < max(bad.fit.history.losses[-1] for bad in trials.of("1e+75")) < high


def test_the_axis_of_the_loss_may_end_at_the_largest_number():
    most = np.finfo(float).max
    low, high = plotting.loss_bands({"a": [[1.0, most]], "b": [[1.0]]}).axes[0].get_ylim()
    assert low < 1.0
    assert high == pytest.approx(most, rel=1e-12)  # rounded once in each of two operations


def test_a_loss_without_data():
    def valley(p):
        return p[0] ** 2 / 20 + p[1] ** 2

    trials = compare_trainings(valley, [-7.0, 2.0], values=OPTIMISERS, seeds=1, iterations=9)
    assert trials.table()[0] == ["value", "loss", "seconds"]
    for trial in trials.trials:
        assert trial.loss == valley(trial.fit.params)
    assert trials.summary()["values"][0]["loss_spread"] is None


def test_a_loss_with_a_state_is_judged_without_draws():
    def loss(p, x, y, *, state, rng):
        noise = 0.0 if rng is None else rng.normal(size=len(x))
        return np.mean((p * x + noise - y) ** 2) + state, state + 1.0

    def accuracy(p, x, y, *, state):
        return state / 100

    x = np.linspace(-1, 1, 20)
    trials = compare_trainings(
        loss,
        0.0,
        (x, x),
        values={"a": {"learning_rate": 0.1}, "b": {"learning_rate": 0.2}},
        seeds=1,
        accuracy=accuracy,
        has_aux=True,
        state=np.array(0.0),
        iterations=7,
    )
    for trial in trials.trials:
        error = float(np.mean((trial.fit.params * x - x) ** 2))
        assert trial.loss == pytest.approx(error + 7, rel=1e-15)
        assert trial.accuracy == 0.07


def test_ctrl_c_keeps_the_complete_trainings():
    steps = []

    def stop(step):
        steps.append(step)
        if len(steps) == 3 * 6 + 2:  # in the second seed's second training
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        trials = compared(callbacks=[stop])
    finally:
        signal.signal(signal.SIGINT, before)
    assert trials.interrupted
    done = [(trial.value, trial.seed) for trial in trials.trials]
    assert done == [("sgd", 0), ("adam", 0), ("sgd", 1)]
    assert trials.summary()["interrupted"]
    assert all(len(trial.fit.history.losses) == 6 for trial in trials.trials)


def test_the_summary_is_ready_for_json():
    summary = json.loads(json.dumps(compared().summary()))
    assert summary["over"] == "optimizer"
    assert [value["value"] for value in summary["values"]] == ["sgd", "adam"]
    assert [run["iterations"] for run in summary["values"][0]["runs"]] == [6, 6, 6]


ONE = {"a": {}}
TWO = {"a": {}, "b": {}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"values": ONE}, "values: cannot compare a; give"),
        ({"values": {}}, "values: cannot compare nothing; give"),
        ({"values": ["a", "b"]}, "values=['a', 'b']: give"),
        ({"values": {"a": {}, "b": optim.sgd(0.1)}}, "values: b is a SGD; give its options"),
        ({"values": TWO, "seeds": 0}, "seeds=0: give a number from 1"),
        ({"values": TWO, "seeds": []}, r"seeds=[]: give different integers"),
        ({"values": TWO, "seeds": [1, 1]}, r"seeds=[1, 1]: give different integers"),
        ({"values": TWO, "seeds": "12"}, "seeds='12': give a number from 1"),
        ({"values": TWO, "seed": 3}, "seed=3: give seeds="),
        ({"values": {"a": {}, "b": {"checkpoint": "f"}}}, "checkpoint='f': a checkpoint belongs"),
        ({"values": TWO, "accuracy": 0.9}, "accuracy=0.9: give a function"),
        ({"values": TWO, "iterations": 0}, "iterations=0: give an integer"),
    ],
)
def test_wrong_options_are_named(options, told):
    with pytest.raises(OptionError) as error:
        compared(**options)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_test_data_are_named_before_the_first_training():
    with pytest.raises(DataError, match="test data: 2 samples of x, but 1 of y"):
        compared(test=(X[:2], LABELS[:1]), callbacks=[lambda step: pytest.fail("it trained")])


def test_the_figure_shows_the_mean_and_the_range():
    axes = plotting.loss_bands({"a": [[3.0, 2.0], [1.0, 1.0]], "b": [[2.0, 1.5]]}).axes[0]
    mean, single = axes.lines
    assert list(mean.get_ydata()) == [2.0, 1.5]
    assert list(single.get_ydata()) == [2.0, 1.5]
    (band,) = axes.collections
    assert set(band.get_paths()[0].vertices[:, 1]) >= {1.0, 3.0, 2.0}
    many = plotting.loss_bands({"a": [list(range(1, 1001))]}).axes[0].lines[0]
    assert list(many.get_ydata()) == [10 * i + 5.5 for i in range(100)]


def test_the_figure_takes_trainings_that_ended_early():
    figure = plotting.loss_bands({"a": [[3.0, 2.0], [1.0]], "b": [[]], "c": [[math.inf, 2.0]]})
    first, last = figure.axes[0].lines
    assert list(first.get_ydata()) == [2.0]
    assert list(last.get_ydata()) == [math.inf, 2.0]


def test_histograms_show_how_outputs_are_distributed():
    values = np.array([-1.0] * 7 + [0.0] * 2 + [2.0])
    figure = plotting.activation_histograms({"a": [values, 3 * values], "b": [values, values]})
    assert len(figure.axes) == 4
    first, second = figure.axes[:2]
    heights = [bar.get_height() for bar in first.patches]
    assert (heights[0], heights[10], heights[-1], sum(heights)) == (7, 2, 1, 10)
    assert [label.get_text() for label in first.get_xticklabels()] == ["-1", "2"]
    assert second.get_title(loc="left") == f"layer 2: {3 * np.std(values):.2g}"


def test_histograms_take_any_outputs():
    odd = [np.zeros(4), np.array([1.0, np.inf]), np.array([np.nan]), np.array([-1e308, 1e308])]
    shown = plotting.activation_histograms({"odd": odd})
    names = [axes.get_title(loc="left") for axes in shown.axes]
    assert names == ["layer 1: 0", *(f"layer {i}: not finite" for i in (2, 3, 4))]
    assert len(plotting.activation_histograms({"deep": 40 * [np.arange(3.0)]}).axes) == 6
