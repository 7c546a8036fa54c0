"""The figures of the benchmarks are readable on a phone, with any set of contenders."""

import sys
from pathlib import Path

import figures
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accuracy
import checker_outputs
import checker_power
import functions
import gradient_speed
import memory
import numerical_speed
import parallel_speed
import scaling
import tape_speed
import training
from common import Ratio

from gradlab.plotting.style import PHONE_WIDTH

SCREEN = 360
"""Pixels across that a narrow phone has for a figure."""
LEGIBLE = 8.5
"""Pixels of the smallest text there."""


def ratio(value):
    return Ratio(value, 0.9 * value, 1.1 * value)


def speeds(settings):
    """Return results of every contender on three networks, with realistic times."""
    return [
        gradient_speed.Result(
            network, p, batch, dtype, name, seconds, [seconds], ratio(seconds / 1e-3), 9, 1e-9,
            16 if seconds > 1 else None,
        )
        for batch, dtype in settings
        for network, p in (("64-32-10", 2410), ("196-50-10", 10360), ("784-50-100-10", 45360))
        for i, name in enumerate(gradient_speed.CONTENDERS)
        for seconds in [p * 1e-4 * (1 + i) if i < 6 else 1e-4 * (1 + i / 20)]
    ]  # fmt: skip


def taped(kinds):
    return [
        tape_speed.Result(f"{kind} {batch}", name, batch * 1e-5 * (1 + i), ratio(0.5), 1e-16)
        for kind in kinds
        for batch in tape_speed.BATCHES
        for i, name in enumerate(tape_speed.CONTENDERS)
    ]


def scaled():
    results = [
        scaling.Result("n", p, name, 1e-6 * p ** (1 - i / 8), 9, ratio(p ** (1 - i / 8)), 0.0, 16)
        for i, name in enumerate(scaling.CONTENDERS)
        for p in (118, 1_017, 10_043, 100_147, 1_001_503)
    ]
    slopes = [
        scaling.Slope(name, of, 1 - i / 8, 0.1, 1e-6, 118, 1_001_503)
        for i, name in enumerate(scaling.CONTENDERS)
        for of in ("seconds", "evaluations")
    ]
    return scaling.figure(results, slopes, "Sigmoid networks 4h-h-10, batch 10, float64")


def judged(kinds=checker_power.KINDS):
    outcomes = ("right", "false alarm", "miss", "inconclusive", "not run")
    answers = {
        name: [
            checker_power.Answer("case", kind, 0, outcomes[(i + k) % 5], "", 9.0, 1.0)
            for i, kind in enumerate(kinds)
        ]
        for k, name in enumerate(checker_power.ENTRANTS)
    }
    return checker_power.figure(answers, "Wrong verdicts by kind of loss")


def curves():
    steps = [10.0**-k for k in range(1, 17)]
    side = accuracy.Side(2.0, 2, 1.0, 1e-4, 0.1)
    results = [
        accuracy.Result(
            name, dtype, 1e-5, 1e-10, 1e-5, 1e-10, side, None, steps,
            [max(1e-16 / h, h**2) for h in steps],
        )
        for dtype in accuracy.DTYPES
        for name in accuracy.METHODS
    ]  # fmt: skip
    return accuracy.figure(
        results, "The error of a numerical gradient over the step, network 6-5-4"
    )


FIGURES = {
    "accuracy": curves,
    "checker_power": judged,
    "checker_outputs": lambda: judged(checker_outputs.KINDS),
    "functions": lambda: functions.figure(
        [
            functions.Result(name, 1.0, 2.0, ratio(share), 9.0, 9, 9, 0.0)
            for name, share in {"convolution by einsum": 0.5, "spring chain": 1.7}.items()
        ]
    ),
    "gradient_speed": lambda: gradient_speed.figure(speeds([(100, "float64")]), "Cost, 1 thread"),
    "gradient_speed, all": lambda: gradient_speed.figure(
        speeds([(n, dtype) for n in (1, 10, 100, 1000) for dtype in ("float64", "float32")]),
        "The cost of one gradient: sigmoid networks, 1 thread",
    ),
    "memory": lambda: memory.figure(
        [
            memory.Result(name, dtype, 9, 4.0 + i, 4.0)
            for dtype in ("float64", "float32")
            for i, name in enumerate({**memory.AT_ONCE, **memory.BY_ENTRY})
        ]
    ),
    "numerical_speed": lambda: numerical_speed.figure(
        [
            numerical_speed.Result(problem, 45360, name, 30 * 0.1**i, ratio(10.0**i), 0.0)
            for problem in numerical_speed.PROBLEMS
            for i, name in enumerate(["plain loop", "SciPy 3-point", "engine, 2 threads"])
        ]
    ),
    "numerical_speed, quick": lambda: numerical_speed.figure(
        [
            numerical_speed.Result("sigmoid", 45360, name, seconds, ratio(1 / seconds), 0.0)
            for name, seconds in {"plain loop": 29.3, "engine, 1 thread": 0.295}.items()
        ]
    ),
    "parallel_speed": lambda: parallel_speed.figure(
        [
            parallel_speed.Result(loss, name, 2.0 / (1 + i), ratio(1.0 + i))
            for loss in parallel_speed.LOSSES
            for i, name in enumerate(["workers=1", "this process", "a permanent pool of 2"])
        ]
    ),
    "scaling": scaled,
    "tape_speed": lambda: tape_speed.figure(taped(["relu float64 lse"]), ["tape", "autograd"]),
    "tape_speed, all": lambda: tape_speed.figure(
        taped(
            f"{net} {dtype} {form}"
            for dtype in ("float32", "float64")
            for net in tape_speed.NETWORKS
            for form in tape_speed.FORMS
        ),
        list(tape_speed.CONTENDERS),
    ),
    "training": lambda: training.figure(
        [
            training.Result(name, 0.01 * (1 + i), ratio(0.5), 0.3)
            for i, name in enumerate(training.CONTENDERS)
        ]
    ),
}  # fmt: skip


SLOW = ("gradient_speed, all", "tape_speed, all", "numerical_speed")
"""Figures of many panels, which take a second and more to lay out."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FIGURES],
)
def test_a_figure_is_read_on_a_phone(name):
    figure = FIGURES[name]()
    figures.require_readable(figure)
    figures.require_ticks(figure)
    assert figure.get_figwidth() == PHONE_WIDTH
    texts = [text for text in figure.findobj(figures.Text) if text.get_text().strip()]
    smallest = min(text.get_fontsize() for text in texts) / 72 * SCREEN / PHONE_WIDTH
    assert smallest >= LEGIBLE


def test_every_kind_of_case_and_every_contender_has_a_name_that_says_what_it_is():
    assert set(checker_power.MEANT) == set(checker_power.KINDS)
    assert set(numerical_speed.CALLED) == set(numerical_speed.PROBLEMS)
    assert set(training.NAMES) == set(training.CONTENDERS)
    names = [gradient_speed.CALLED.get(name, name) for name in gradient_speed.CONTENDERS]
    assert len({name.lower() for name in names}) == len(names)


def test_bars_are_sorted():
    for name in ("functions", "training"):
        (axes,) = FIGURES[name]().axes
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == sorted(widths)
