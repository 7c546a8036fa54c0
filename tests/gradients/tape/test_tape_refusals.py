"""Losses that the tape cannot record, and changes that it detects in a replay."""

from __future__ import annotations

from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.tracer import getval
from counting import calls_of
from random_programs import W, X, same

import gradlab
from gradlab import Tape, network
from gradlab.errors import (
    DataError,
    NonFiniteError,
    UntraceableError,
    UntraceableWarning,
)
from gradlab.gradients.autograd import Autograd
from gradlab.params import flatten
from gradlab.program.closure.tokens import HigherDerivativeError
from gradlab.program.record import record

# What is noticed


def noticed(loss: Any, *args: Any, match: str) -> Any:
    """Run an unrecordable loss: require eager autograd's answers, one warning, and no replay."""
    wanted = Autograd().value_and_grad(loss)
    f = Tape().value_and_grad(loss)
    with pytest.warns(UntraceableWarning, match=match) as caught:  # noqa: PT031
        for _ in range(3):
            value, grads = f(*args)
            wanted_value, wanted_grads = wanted(*args)
            assert value == wanted_value
            assert same(flatten(grads)[0][0], flatten(wanted_grads)[0][0])
    assert len(caught) == 1
    assert f.cache_info.replays == 0
    assert f.untraceable in str(caught[0].message)
    assert f.untraceable in f.explain()
    strict = Tape(on_untraceable="error").value_and_grad(loss)
    with pytest.raises(UntraceableError, match=match):
        strict(*args)
    return f


def branching(w: Any) -> Any:
    if w.sum() > 0:
        return (w**2).sum()
    return w.sum()


def looping(w: Any) -> Any:
    while (w * w).sum() > 0.1:
        w = 0.5 * w
    return w.sum()


def masking(w: Any) -> Any:
    return (w[w > 0] ** 2).sum()


LINE = r"test_tape_refusals\.py, line \d+: "


@pytest.mark.parametrize(
    ("loss", "args", "match"),
    [
        (branching, (W,), rf"branches on .* depends on the parameters \(.*{LINE}if w.sum"),
        (looping, (W,), rf"branches on .*{LINE}while"),
        (masking, (W,), rf"boolean mask.*{LINE}return"),
        (lambda w, x: (w[x > 1.5] ** 2).sum(), (W, X), "boolean mask"),
        (lambda w: w[int(anp.argmax(w))] ** 2, (W,), "makes a Python number"),
        (
            lambda w: w[anp.nonzero(w > 0)[0]].sum(),
            (W,),
            "shape of what nonzero returns depends on values",
        ),
        (lambda w, x: (w[:1] * anp.unique(x)).sum(), (W, X), "depends on values"),
        (
            lambda w, r: w.sum() * (2 if r else 3),
            (W, np.random.default_rng(0)),
            "a Generator, whose",
        ),
        (lambda w, i: w.sum() * next(i), (W, iter([1.0] * 9)), "a list_iterator, .*: i "),
    ],
)
def test_losses_that_cannot_be_recorded_are_detected(loss: Any, args: Any, match: str) -> None:
    noticed(loss, *args, match=match)


@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@pytest.mark.parametrize(
    "loss",
    [
        lambda w, x: w[anp.argmax(w).item()] ** 2,
        lambda w, x: (w * float(x.mean())).sum(),
        lambda w, x: (w * max(x.tolist())).sum(),
        lambda w, x: w[0] * float(w[1]) * w.tolist()[2],
    ],
)
def test_python_numbers_are_followed(loss: Any) -> None:
    """A number that the loss computes from an entry is that of the call, also in a replay."""
    f, eager = Tape(verify=None).value_and_grad(loss), gradlab.grad(loss)
    for scale in (1.0, -2.0, 3.0, -4.0):
        w, x = scale * W, scale * X[::-1]
        np.testing.assert_allclose(f(w, x)[1], eager(w, x), rtol=1e-14)


def test_branch_on_data_is_followed_or_detected() -> None:
    """A check of data with the same outcome is replayed; otherwise, eager autograd decides."""

    def loss(w: Any, x: Any) -> Any:
        if (x > 100).any():
            raise DataError("too large")
        return (w * x).sum() if x[0] > 0 else (w * w * x).sum()

    f = Tape(verify=None).value_and_grad(loss)
    for scale in (1.0, 2.0, 3.0, 4.0):
        assert f(W, scale * X)[1].tolist() == (scale * X).tolist()
    assert f.cache_info.recordings == 1
    with pytest.raises(DataError, match="too large"):
        f(W, 1000 * X)
    assert f.untraceable is None
    with pytest.warns(UntraceableWarning, match=rf"branches on its data: .*{LINE}return"):
        assert f(W, -X)[1].tolist() == (-2 * W * X).tolist()
    assert f(W, X)[1].tolist() == X.tolist()


def test_labels_are_checked_in_a_replay() -> None:
    params = network.init((2, 3), seed=0)
    f = Tape(verify=None).value_and_grad(network.loss)
    x = np.ones((4, 2))
    for _ in range(4):
        f(params, x, np.array([0, 1, 2, 0]))
    with pytest.raises(DataError, match="label 3 is out of range"):
        f(params, x, np.array([0, 1, 3, 0]))
    assert f.untraceable is None
    assert f.cache_info.recordings == 1


def test_random_numbers_inside_the_loss_are_detected() -> None:
    """A known generator is detected at once; one that the loss creates, at the comparison."""
    rng = np.random.default_rng(0)
    f = Tape().value_and_grad(lambda w: (w * rng.random(3)).sum())
    with pytest.warns(UntraceableWarning, match="rng is a Generator, whose state"):
        first = f(W)[1]
    assert not np.array_equal(first, f(W)[1])  # drawn anew
    f = Tape().value_and_grad(lambda w: (w * np.random.default_rng().random(3)).sum())
    with pytest.warns(UntraceableWarning, match="such as random numbers"):
        first = f(W)[1]
    assert not np.array_equal(first, f(W)[1])


scale_of_the_module = 2.0


def test_rebound_variables_are_detected() -> None:
    """If a free variable, global or attribute changes, the loss is recorded again."""
    global scale_of_the_module
    mask, factor = np.ones(3), 2.0

    def loss(w: Any) -> Any:
        return (w * mask * factor * scale_of_the_module).sum()

    class Model:
        def __init__(self) -> None:
            self.factor = 2.0

        def loss(self, w: Any, power: Any = 1) -> Any:
            return (w**power * self.factor).sum()

    f = Tape(verify=None).value_and_grad(loss)
    with calls_of(loss) as calls:
        for _ in range(4):
            assert f(W)[1].tolist() == [4, 4, 4]
        factor = 3.0
        assert f(W)[1].tolist() == [6, 6, 6]
        mask = 2 * mask
        assert f(W)[1].tolist() == [12, 12, 12]
        scale_of_the_module = 1.0
        try:
            assert f(W)[1].tolist() == [6, 6, 6]
        finally:
            scale_of_the_module = 2.0
        assert f(W)[1].tolist() == [12, 12, 12]
    assert f.cache_info.recordings == 4
    assert len(calls) == 10  # twice a recording, and two replays that were compared
    model = Model()
    g = Tape(verify=None).value_and_grad(partial(model.loss, power=2))
    for _ in range(3):
        assert g(W)[1].tolist() == (4 * W).tolist()
    model.factor = 3.0
    assert g(W)[1].tolist() == (6 * W).tolist()
    assert g.cache_info.recordings == 2


def test_branches_whose_values_share_memory() -> None:
    """where(c, x, xᵀ) reads both branches for the last time."""

    def loss(w: Any, c: Any) -> Any:
        x = w + 1.0
        return (anp.where(c, x, x.T) * w).sum()

    rng = np.random.default_rng(0)
    f = Tape(exact=True, verify=None).value_and_grad(loss)
    for _ in range(4):
        w, c = rng.random((4, 4)), rng.random((4, 4)) > 0.5
        value, grads = f(w, c)
    wanted_value, wanted = Autograd().value_and_grad(loss)(w, c)
    assert value == wanted_value
    assert same(grads, wanted)


def test_value_taken_out_of_its_box_is_detected_at_other_parameters() -> None:
    f = Tape().value_and_grad(lambda w: (w * getval(w).sum()).sum())

    def taken_out(w: Any) -> Any:
        return (w * (np.sum(getval(getval(w))) > 0)).sum()

    g = Tape().value_and_grad(taken_out)
    assert g(W)[1].tolist() == g(W)[1].tolist() == [1, 1, 1]
    with pytest.warns(UntraceableWarning, match="its replay differs"):
        assert g(-W)[1].tolist() == [0, 0, 0]
    # Only autograd's own box is opened here, and the value is still recorded.
    for scale in (1.0, 1.0, 2.0):
        value, grads = f(scale * W)
        assert value == (scale * 1.5) ** 2
        assert grads.tolist() == [scale * 1.5] * 3
    assert f.untraceable is None


def test_replays_are_compared_at_intervals() -> None:

    def loss(w: Any, x: Any) -> Any:
        return (w * x).sum()

    f = Tape(verify=10).value_and_grad(loss)
    never = Tape(verify=None).value_and_grad(loss)
    steps = [(W, X), (W, X), (W, X), (W + 1, X), (W + 2, X), (W, X + 1), (W, X + 2), (W, X)]
    counts = []
    with calls_of(loss) as calls:
        for w, x in steps:
            f(w, x)
            counts.append(len(calls))
        # Recorded; compared at the second replay, at other parameters, and with other data.
        assert counts == [2, 3, 3, 4, 4, 5, 5, 5]
        for _ in range(20):
            f(W, X)
        assert len(calls) == 7  # the tenth replay and the twentieth
        calls.clear()
        for _ in range(50):
            never(W, X)
        assert len(calls) == 3


def test_function_that_magnifies_round_off_is_replayed_exactly() -> None:
    """A comparison finds a difference, which the program without rewritten arithmetic has not.

    w · w · w is rounded twice, and differs from w³ in its last place for a share of all entries, on
    any machine.
    """

    def loss(w: Any) -> Any:
        return ((w**3 + 1.0) - w**3 - 1.0).sum() * 1e12

    f = Tape().value_and_grad(loss)
    w = np.linspace(0.7, 2.3, 200)
    for scale in (1.0, 1.5, 2.5):
        value, grads = f(scale * w)
        wanted = Autograd().value_and_grad(loss)(scale * w)
        assert value == wanted[0]
        assert same(grads, wanted[1])
    assert f.untraceable is None


def test_exception_of_a_replay_is_the_losses_own() -> None:
    def loss(a: Any) -> Any:
        return anp.sum(anp.linalg.cholesky(a))

    f = Tape(exact=True).value_and_grad(loss)
    good = np.array([[2.0, 0.5], [0.5, 1.0]])
    for _ in range(3):
        f(good)
    with pytest.raises(np.linalg.LinAlgError):
        f(-good)
    assert f.untraceable is None
    assert f(good)[0] == Autograd().value_and_grad(loss)(good)[0]


def test_replay_that_is_not_finite_is_an_error_with_its_place() -> None:
    f = Tape().value_and_grad(lambda p: anp.sqrt(p["w"]).sum())
    for _ in range(3):
        f({"w": np.ones(2)})
    with (
        np.errstate(divide="ignore"),
        pytest.raises(NonFiniteError, match=r"gradient is inf at w\[1\]"),
    ):
        f({"w": np.array([1.0, 0.0])})
    with pytest.raises(NonFiniteError, match=r"w\[0\] is nan"):
        f({"w": np.array([np.nan, 1.0])})
    assert f({"w": np.full(2, 1e300)})[0] == 2e150  # large is not infinite


def test_a_replayed_gradient_that_is_not_finite_is_never_returned() -> None:
    """This also holds if no replay is compared with the loss."""
    f = Tape(verify=None).value_and_grad(lambda w: anp.sqrt(w).sum())
    for scale in (1.0, 2.0, 3.0):
        f(np.full(2, scale))
    with np.errstate(divide="ignore"), pytest.raises(NonFiniteError, match="gradient is inf"):
        f(np.array([1.0, 0.0]))


# Of a loss that is not recorded


def test_out_with_an_eager_loss() -> None:
    f = Tape().value_and_grad(branching)
    out = np.empty(3)
    with pytest.warns(UntraceableWarning):
        f(W, out=out)
    assert f(W, out=out) == (5.25, out)
    assert out.tolist() == (2 * W).tolist()


@pytest.mark.parametrize(
    "inner", [lambda x, y: np.sum(x * x), lambda x, y: np.sum(x * y), lambda x, y: np.sum(y * x)]
)
def test_a_value_of_another_recording_is_refused(inner: Any) -> None:
    """As a constant of the inner recording, it would lose its derivative."""

    def outer(x: Any) -> Any:
        record(lambda y: inner(x, y), np.ones(2), ())
        return np.sum(x)

    with pytest.raises(HigherDerivativeError, match="the tape computes only first derivatives"):
        record(outer, np.ones(2), ())
