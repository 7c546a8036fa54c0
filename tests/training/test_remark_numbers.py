"""The thresholds of remarks: each is tested just below and just above.

The numbers that a training would measure are given, so that no training has to run.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from gradlab.errors import TrainingWarning
from gradlab.history import Epoch, History
from gradlab.training.norms import Measured
from gradlab.training.remarks import Remarks, _times
from gradlab.training.vectors import Vector

NAMES = ["W", "b"]
STEADY = [1.0] * 100
LABELS = (np.arange(300.0)[:, None], np.arange(300) % 10)  # ten equally frequent classes
GRADIENT = [np.ones((3, 2)), np.ones(2)]


def step(promise=0.1, loss=1.0, gradients=(1.0, 1.0), updates=(1.0, 1.0), params=(10.0, 10.0)):
    return Measured(
        loss, list(gradients), list(updates), list(params), [1.0] * 2, [100, 4], promise
    )


def said(
    losses, first=None, last=None, *, epochs=1, steps=None, rate=lambda count: 0.1,
    descends=True, data=(), leaves=GRADIENT, peaks=(1.0, 1.0), resumed=False,
):  # fmt: skip
    """Return the remarks at the end of an epoch with these losses."""
    first, last = first or step(), replace(last or step(), peaks=list(peaks))
    steps = len(losses) if steps is None else steps
    remarks = Remarks(NAMES, [True, False], data, steps, rate, descends)
    history = History(list(losses), [Epoch(k + 1, 1.0, None, None, 0.0) for k in range(epochs)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrainingWarning)
        if not resumed:
            remarks.begin(Vector.of(GRADIENT), first)
        remarks.watch_zeros(leaves, len(losses))
        remarks.end_epoch(history, last)
    return [str(w.message) for w in caught]


def one(texts, start):
    """Return whether there is one remark, with this beginning."""
    return len(texts) == 1 and texts[0].startswith(start)


def test_a_training_that_goes_well():
    assert said([1.0, 0.5]) == said(STEADY) == said([2.0, *STEADY], steps=1000) == []


# The loss grows


@pytest.mark.parametrize(("last", "grown"), [(1.99, False), (2.01, True)])
def test_the_loss_of_a_whole_training_grows_to_twice_its_first(last, grown):
    texts = said([1.0] + [last] * 12)
    assert one(texts, "the loss grows, from 1") == grown
    assert bool(said([-1.0] + [last - 2.0] * 12)) == grown
    assert bool(said([1.0] + [9.0] * 11 + [last])) == grown
    assert bool(said([1.0] + [9.0] * 4 + [last] + [9.0] * 7)) == grown


@pytest.mark.parametrize(("last", "grown"), [(99.0, False), (101.0, True)])
def test_an_unfinished_training_grows_a_hundredfold(last, grown):
    """So does a training of at most ten steps, if one of them was too large to be stable."""
    assert bool(said([1.0] + [last] * 12, steps=1000)) == grown
    assert bool(said([1.0, 2.0, last], step(4.1))) == grown
    assert bool(said([1.0, 2.0, last], step(), step(4.1))) == grown
    assert said([1.0, 2.0, last], step(3.9), step(3.9)) == []
    assert said([1.0, 2.0, last], step(4.1), steps=1000) == []
    assert bool(said([1.0] + [last] * 9, step(4.1))) == grown


@pytest.mark.parametrize("losses", [[1.0], [1.0, 0.5]])
def test_few_losses_show_no_growth(losses):
    assert said(losses, step(9.0), step(9.0)) == []


def follows(losses, first, last, **options):
    (text,) = said([1.0, *losses], first, last, epochs=2, **options)
    return "is not the gradient of this loss" in text


GROWING = [1.0 * 1.1**k for k in range(1, 20)]


def test_small_steps_along_the_gradient_cannot_double_a_loss():
    small, large = step(0.49), step(0.51)
    assert follows(GROWING, small, small)
    assert not follows(GROWING, large, small)
    assert not follows(GROWING, small, large)
    assert not follows(GROWING, small, step(0.0))
    assert follows(GROWING, small, step(0.99, loss=2.0))
    assert not follows(GROWING, small, small, descends=False)
    assert not follows(GROWING, small, small, resumed=True)


@pytest.mark.parametrize(("jump", "follow"), [(3.9, True), (4.1, False)])
def test_a_jump_between_two_losses_is_not_a_small_step(jump, follow):
    assert follows([jump] * 15, step(0.1), step(0.1)) == follow


# The learning rate is too large


@pytest.mark.parametrize(("promise", "large"), [(3.9, False), (4.1, True)])
def test_a_step_that_promises_four_times_the_loss_is_too_large(promise, large):
    rising = [1.0] + [1.5] * 11
    for texts in (said(rising, step(promise)), said(rising, step(), step(promise))):
        assert one(texts, "the learning rate (0.1) is too large") == large
    assert bool(said(rising, step(), step(2 * promise, loss=2.0))) == large
    assert said(rising[:10], step(promise)) == []  # too few losses
    assert said([1.0] + [0.9] * 11, step(promise)) == []  # it does not rise
    assert said([1.0] + [1.5] * 10 + [0.0], step(promise)) == []
    assert said(rising, step(promise, loss=-1.0)) == []


@pytest.mark.parametrize(("early", "large"), [(0.5, False), (1.0, True)])
def test_the_mean_of_the_last_epoch_has_to_exceed_the_first_loss(early, large):
    """Of two epochs with 40 losses, the last has 20; half of them are above the first loss."""
    losses = [1.0] + [9.0] * 19 + [early] * 10 + [1.4] * 10
    assert bool(said(losses, step(4.1), epochs=2)) == large
    assert bool(said(losses, step(4.1), epochs=40)) is True  # the last ten


def test_a_step_that_explodes_is_described():
    (text,) = said([1.0] + [1.5] * 11, step(4.1, updates=(9.0, 30.0), params=(10.0, 10.0)))
    assert "the gradient explodes: a step changed b by 3 times its norm" in text
    (text,) = said([1.0] + [1.5] * 11, step(4.1, updates=(9.0, 9.9), params=(10.0, 10.0)))
    assert "explodes" not in text


# All steps together are too small


@pytest.mark.parametrize(("steps", "limit"), [(10, 1e-4), (50, 5e-4), (100, 1e-3), (200, 1e-3)])
def test_all_steps_together_lower_the_loss_by_a_thousandth(steps, limit):
    """With fewer than a hundred steps, the limit is less in proportion."""
    for share, small in ((0.99, True), (1.01, False)):
        tiny = step(share * limit / steps)
        start = f"all {steps} steps together lower the loss"
        assert one(said([1.0] * steps, tiny, tiny), start) == small
        assert one(said([-3.0] * steps, tiny, step(3 * tiny.promise)), start) == small


def test_few_steps_or_none_downhill_are_not_too_small():
    tiny = step(1e-7)
    assert said([1.0] * 9, tiny, tiny) == []
    assert said(STEADY, tiny, step(0.0)) == []
    assert said(STEADY, tiny, step(-1e-7)) == []
    assert said(STEADY, tiny, tiny, resumed=True) == []


@pytest.mark.parametrize(("later", "small"), [(0.49, False), (0.51, True)])
def test_a_loss_that_fell_by_half_was_no_small_training(later, small):
    """With more than a hundred losses, only the last hundred count."""
    tiny = step(1e-7)
    assert bool(said([1.0] * 200 + [later] * 100, tiny, tiny)) == small
    assert bool(said([-1.0] + [-2 + later] * 300, tiny, tiny)) == small


def test_after_the_first_epoch_the_others_are_expected_to_be_alike():
    """The limit of 1,000 steps is a thousandth of the loss: a millionth for each."""
    small, large = step(0.9e-6), step(1.1e-6)
    assert len(said(STEADY, small, small, steps=1000)) == 1
    assert said(STEADY, large, small, steps=1000) == said(STEADY, small, large, steps=1000) == []
    rising = said(STEADY, small, small, steps=1000, rate=lambda count: 1.0 + (count >= 990))
    assert rising == []  # the last steps are twice as large
    assert len(said(STEADY, small, small, steps=1000, rate=lambda count: 2.0 - (count > 500))) == 1
    assert said(STEADY, small, small, steps=1000, rate=lambda count: None) == []


# Guessing


GUESS = float(np.log(10))


@pytest.mark.parametrize(("off", "guesses"), [(0.009, True), (0.011, False), (-0.011, False)])
def test_a_loss_within_a_hundredth_of_guessing(off, guesses):
    losses = [GUESS * (1 + off)] * 100
    expected = "the loss is still that of guessing among 10 classes"
    assert one(said(losses, data=LABELS), expected) == guesses
    assert said(losses[1:], data=LABELS) == []
    assert said(losses, data=LABELS, steps=1000) == []
    assert bool(said([9.0] * 50 + losses, data=LABELS)) == guesses


@pytest.mark.parametrize(("spread", "guesses"), [(0.049, True), (0.051, False)])
def test_noise_of_a_twentieth_hides_what_was_learned(spread, guesses):
    """Twice the standard error of the mean of 100 losses is a fifth of their deviation."""
    losses = [GUESS * (1 + spread * sign) for sign in (1, -1)] * 50
    assert bool(said(losses, data=LABELS)) == guesses


# Leaves that do not move


NONE = [np.zeros((3, 2)), np.ones(2)]


def test_a_gradient_of_zero_is_named():
    assert (
        "of W was exactly 0 in each of 12 steps, up to epoch 1" in said([1.0] * 12, leaves=NONE)[0]
    )
    assert "start with other weights" in said([1.0] * 12, step(gradients=(0, 1)), leaves=NONE)[0]
    assert "and was not at first" in said([1.0] * 12, leaves=NONE)[0]


@pytest.mark.parametrize(
    ("count", "steps", "named"),
    [(1, 1, False), (2, 2, True), (9, 99, False), (10, 99, True)],
)
def test_ten_steps_of_zeros_or_a_whole_training(count, steps, named):
    texts = said([1.0] * count, leaves=NONE, steps=steps)
    assert any("exactly 0" in text for text in texts) == named


def test_no_leaf_is_dead_if_all_are():
    assert said([1.0] * 12, leaves=[np.zeros(2)] * 2) == []
    assert said([1.0] * 12, leaves=[np.ones((0, 2)), np.ones(2)]) == []


def slow(update, param, **options):
    """Return a step in which weights have these root mean squares; biases change by 1."""
    return step(updates=(10 * update, 2.0), params=(10 * param, 2.0), **options)


@pytest.mark.parametrize(("update", "vanishes"), [(0.9e-3, True), (1.1e-3, False)])
def test_weights_that_change_by_a_hundredth_of_their_size_beside_a_change_of_one(update, vanishes):
    moved = slow(update, 0.1)
    texts = said([1.0] * 12, moved, moved, peaks=(update, 1.0))
    assert any("the gradient of W vanishes" in text for text in texts) == vanishes
    assert said([1.0] * 12, step(), moved, peaks=(update, 1.0)) == []  # it moved at first
    assert said([1.0] * 12, moved, step(), peaks=(update, 1.0)) == []
    assert said([1.0] * 12, moved, moved, peaks=(1.1e-3, 1.0)) == []  # one of its entries moves
    assert said([1.0] * 12, slow(update, 0.1, gradients=(0, 1)), moved) == []


def test_how_much_less_the_weights_change_is_said():
    moved = slow(1e-4, 0.1)
    (text,) = said([1.0] * 12, moved, moved, peaks=(2e-4, 4.0))
    assert "a step changes W 5e-05 times as much as b" in text


def test_a_remark_is_made_once_and_not_beside_its_cause():
    losses = [1.0] + [9.0] * 12
    assert one(said(losses, step(4.1), step(4.1)), "the learning rate")  # not that it grows, too


@pytest.mark.parametrize(
    ("ratio", "text"), [(9.9, "1e+01 times"), (10.0, "10 times"), (1e6, "1e+06 times")]
)
def test_ratios_are_whole_numbers_from_ten(ratio, text):
    assert _times(ratio) == text


def test_a_dead_layer_is_named_before_a_small_training():
    """It is pending while fewer than ten steps were seen."""
    tiny = step(1e-7)
    assert said([1.0] * 5, tiny, tiny, leaves=NONE, steps=1000) == []
    assert len(said([1.0] * 5, tiny, tiny, steps=1000)) == 1


def test_later_epochs_that_are_small_do_not_make_a_small_training():
    remarks = Remarks(NAMES, [True, False], (), 1000, lambda count: 0.1, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remarks.begin(Vector.of(GRADIENT), step())
        for epoch, promise in ((1, 0.1), (2, 1e-9)):
            remarks.watch_zeros(GRADIENT, 50)
            history = History([1.0] * 50 * epoch, [Epoch(1, 1.0, None, None, 0.0)] * epoch)
            remarks.end_epoch(history, step(promise))


def test_columns_are_compared_if_steps_follow_the_gradient_downhill():
    x = np.random.default_rng(0).normal(size=(50, 2)) * [1, 1000]
    data = (x, x[:, 0])
    steep = Vector.of([np.array([0.1, 50.0])])
    for promise, descends, expected in ((0.1, True, 1), (0.1, False, 0), (-0.1, True, 0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            remarks = Remarks(["w"], [False], data, 100, lambda count: 0.1, descends)
            remarks.begin(steep, step(promise))
        assert len(caught) == expected
