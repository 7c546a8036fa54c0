"""Early stopping of a training, from the validation losses alone."""

import pytest

from gradlab.errors import OptionError
from gradlab.history import Epoch, History
from gradlab.training.stopping import Stopping, best


def history(*losses):
    return History([], [Epoch(k + 1, 0.0, loss, None, 0.0) for k, loss in enumerate(losses)])


@pytest.mark.parametrize(
    ("losses", "position"),
    [([3.0, 1.0, 2.0], 1), ([1.0], 0), ([2.0, 1.0, 1.0], 1), ([None, 2.0, 1.0], 2)],
)
def test_the_first_of_the_lowest_losses_is_the_best(losses, position):
    assert best(history(*losses)) == position


@pytest.mark.parametrize(
    ("patience", "losses", "over"),
    [
        (1, [1.0], False),
        (1, [1.0, 2.0], True),
        (1, [2.0, 1.0], False),
        (2, [1.0, 2.0], False),
        (2, [1.0, 2.0, 1.0], True),
        (2, [1.0, 2.0, 0.5], False),
        (None, [1.0] * 99, False),
        (1, [], False),
    ],
)
def test_patience_is_the_number_of_epochs_since_the_best(patience, losses, over):
    assert Stopping(patience, keep_best=False).is_over(history(*losses)) is over


@pytest.mark.parametrize(
    ("patience", "keep_best", "validation", "message"),
    [
        (3, False, None, "patience=3: give validation data"),
        (None, True, None, "keep_best=True: give validation data"),
        (2, True, None, "keep_best=True: give validation data"),
        (0, False, (), "patience=0"),
        (None, 1, (), "keep_best=1: give True or False"),
        (None, None, (), "keep_best=None: give True or False"),
    ],
)
def test_what_cannot_be_decided_is_refused(patience, keep_best, validation, message):
    with pytest.raises(OptionError, match=message):
        Stopping.of(patience, keep_best, validation)


def test_options_that_fit():
    assert Stopping.of(None, False, None) == Stopping(None, False)
    assert Stopping.of(3, True, ()) == Stopping(3, True)
    assert Stopping.of(3, False, ()) == Stopping(3, False)
