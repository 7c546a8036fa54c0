"""Which calls share a recording, how many recordings are kept, and the options."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from counting import calls_of
from random_programs import W, X

from gradlab import Tape
from gradlab.errors import (
    OptionError,
    UntraceableWarning,
)
from gradlab.gradients.autograd import Autograd


def test_each_shape_and_dtype_has_its_recording() -> None:
    """A tape for 5 rows, replayed for 1 row, would broadcast and be wrong without an error."""
    f = Tape(verify=None).value_and_grad(lambda w, x: ((x @ w) ** 2).mean())
    rng = np.random.default_rng(0)
    for _ in range(3):
        for n in (5, 2, 1):
            for dtype in (np.float32, np.float64):
                x = rng.random((n, 3)).astype(dtype)
                w = W.astype(dtype)
                _, wanted = Autograd().value_and_grad(lambda w, x=x: ((x @ w) ** 2).mean())(w)
                np.testing.assert_allclose(f(w, x)[1], wanted, rtol=100 * np.finfo(dtype).eps)
    assert f.cache_info.recordings == 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (2, 3),
        (True, 1),
        (1, 1.0),
        (1.0, 1 + 0j),
        (0.0, -0.0),
        ("a", "b"),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], (1, 2)),
        ([1, [2]], [1, [3]]),
        (slice(1), slice(2)),
        (None, ...),
        (np.sin, np.cos),
        (np.float32, np.float64),
    ],
)
def test_each_option_value_has_its_recording(first: Any, second: Any) -> None:
    f = Tape().value_and_grad(lambda w, option: (w * len(repr(option))).sum())
    for _ in range(3):
        for option in (first, second):
            assert f(W, option)[1][0] == len(repr(option))
    assert f.cache_info.recordings == 2


def test_arrays_inside_arguments_are_data() -> None:
    f = Tape(verify=None).value_and_grad(lambda w, batch: (w * batch["x"][0] * batch["k"]).sum())
    for scale in (1.0, 2.0, 3.0, 4.0):
        grads = f(W, {"x": [scale * X], "k": 2, "unused": np.int64(scale)})[1]
        assert grads.tolist() == (2 * scale * X).tolist()
    assert f.cache_info.recordings == 1


def test_each_structure_has_its_recording() -> None:
    f = Tape().value_and_grad(
        lambda p: anp.sum(p["a"]) if isinstance(p, dict) else 2 * anp.sum(p[0])
    )
    for _ in range(3):
        assert f({"a": W})[1]["a"].tolist() == [1, 1, 1]
        assert f([W])[1][0].tolist() == [2, 2, 2]
        assert f((W,))[1][0].tolist() == [2, 2, 2]
        assert f({"a": W, "b": X})[1]["b"].tolist() == [0, 0, 0]
        assert f({"b": X, "a": W})[1]["a"].tolist() == [1, 1, 1]
    assert f.cache_info.recordings == 5


def test_recordings_are_bounded() -> None:
    f = Tape(cache=3, verify=None).value_and_grad(lambda w, x: (w.sum() * x).sum())
    for n in (1, 2, 3, 4, 1, 1):
        f(W, np.ones(n))
    assert f.cache_info == (1, 5, 2, 3)
    with pytest.warns(UntraceableWarning, match="recorded .* replayed"):  # noqa: PT031
        for n in range(5, 20):
            f(W, np.ones(n))


def test_attributes_of_a_list_of_the_users_own_class_are_part_of_the_key() -> None:
    class Scaled(list):  # type: ignore[type-arg]
        scale = 1.0

    data = Scaled([X])
    f = Tape().value_and_grad(lambda w, data: np.sum(w * data[0]) * data.scale)
    for _ in range(4):
        assert f(W, data)[1].tolist() == X.tolist()
    data.scale = 3.0
    assert f(W, data)[1].tolist() == (3 * X).tolist()


def test_loss_is_traced_once() -> None:

    def loss(w: Any, x: Any) -> Any:
        return (anp.tanh(w) * x).sum()

    f = Tape().value_and_grad(loss)
    with calls_of(loss) as calls:
        for i in range(500):
            f(W + i, X * i)
    assert len(calls) == 3  # evaluated, recorded, and compared


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"on_untraceable": "ignore"}, "on_untraceable='ignore'"),
        ({"verify": 0}, "verify=0"),
        ({"cache": 0}, "cache=0"),
        ({"cache": None}, "cache=None"),
    ],
)
def test_useless_options_are_refused(options: Any, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        Tape(**options)


def test_options_of_one_are_allowed() -> None:
    tape = Tape(verify=1, cache=1)
    assert (tape.verify, tape.cache) == (1, 1)
