"""Which calls machine code answers, and which it leaves to NumPy or to eager autograd."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from counting import calls_of

import gradlab
from gradlab import Tape, network
from gradlab.errors import GradlabError, OptionError
from gradlab.gradients.autograd import Autograd
from gradlab.params import flatten
from gradlab.program.references import are_unheld

RNG = np.random.default_rng(0)
PARAMS = network.init([20, 9, 3], 0)
X, LABELS = RNG.random((5, 20)), np.array([0, 2, 1, 1, 0])


def test_compile_takes_true_false_or_auto() -> None:
    with pytest.raises(OptionError, match="compile='yes'"):
        Tape(compile="yes")  # type: ignore[arg-type]


def test_without_llvmlite_numpy_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    f = Tape(compile=True).value_and_grad(lambda w: (w**2).sum())
    assert f(np.arange(3.0))[0] == 5
    assert "llvmlite is not installed: pip install 'gradlab[compiled]'" in f.explain()


needs_llvmlite = pytest.mark.skipif(
    gradlab.gradients.tape.compiled.is_missing(), reason="llvmlite is not installed"
)


@pytest.fixture(scope="module")
def compiled() -> Any:
    """Return the gradient of a network, compiled and compared with eager autograd."""
    f = Tape(compile=True, verify=None).value_and_grad(network.loss)
    for scale in (1.0, 1.1, 1.2):
        f({name: scale * leaf for name, leaf in PARAMS.items()}, X * scale, LABELS)
    return f


class Counted:
    """How many calls of a gradient machine code has answered."""

    def __init__(self, f: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = 0
        tape = f._latest
        run = tape.run_natively

        def counted(*given: Any) -> tuple[float, float]:
            found = run(*given)
            self.answers += np.isfinite(found[0])
            return found

        monkeypatch.setattr(tape, "run_natively", counted)


def outcome(f: Any, args: Any) -> Any:
    try:
        value, grads = f(*args)
    except GradlabError as error:
        return type(error), str(error)
    return value, flatten(grads)[0]


def changed(name: str, value: float) -> Any:
    params = {key: leaf.copy() for key, leaf in PARAMS.items()}
    params[name].flat[2] = value
    return params, X, LABELS


ANSWERED = {
    "as it was recorded": (PARAMS, X, LABELS),
    "large entries": (PARAMS, 1e4 * X, LABELS),
    "denormal numbers": (PARAMS, 1e-310 * X, LABELS),
    "ties and zeros": ({name: 0 * leaf for name, leaf in PARAMS.items()}, X, LABELS),
    "negative zeros": ({name: -0.0 * leaf for name, leaf in PARAMS.items()}, X, LABELS),
    "read only": (PARAMS, np.frombuffer(X.tobytes()).reshape(X.shape), LABELS),
    "another label": (PARAMS, X, np.array([2, 2, 2, 0, 1])),
}
DECLINED = {
    "strided": (PARAMS, np.repeat(X, 2, 0)[::2], LABELS),
    "in the order of columns": (
        {name: np.asfortranarray(leaf) for name, leaf in PARAMS.items()},
        X,
        LABELS,
    ),
    "unaligned": (
        PARAMS,
        np.frombuffer(b"0" + X.tobytes(), offset=1).reshape(X.shape),
        LABELS,
    ),
    "a label out of range": (PARAMS, X, np.array([0, 3, 0, 0, 0])),
    "NaN in a weight": changed("W1", np.nan),
    "infinite weight": changed("W2", np.inf),
    "infinite bias": changed("b1", -np.inf),
    "a weight whose square overflows": changed("W2", 1e200),
}


@needs_llvmlite
@pytest.mark.parametrize("case", [*ANSWERED, *DECLINED])
def test_calls_have_the_outcome_of_eager_autograd(
    case: str, compiled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result, or the error, is that of eager autograd, whichever way computes it."""
    counted = Counted(compiled, monkeypatch)
    args = {**ANSWERED, **DECLINED}[case]
    found, wanted = outcome(compiled, args), outcome(Autograd().value_and_grad(network.loss), args)
    assert counted.answers == (case in ANSWERED)
    assert type(found[0]) is type(wanted[0])
    if isinstance(wanted[0], float):
        assert found[0] == pytest.approx(wanted[0], rel=1e-12)
        for a, b in zip(found[1], wanted[1], strict=True):
            assert np.max(np.abs(a - b)) <= 1e-12 * np.max(np.abs(b))
    else:
        assert found == wanted


@needs_llvmlite
def test_arrays_that_the_loss_closes_over_are_read_at_each_call() -> None:
    held = np.array([1.0, 2.0, 3.0])
    f = Tape(compile=True, verify=None).value_and_grad(lambda w: (anp.sin(w) * held).sum())
    w = np.array([0.5, 0.25, 0.125])
    for scale in (1.0, 1.0, 3.0, 0.5):
        held *= scale
        value, grads = f(w)
        assert value == pytest.approx((np.sin(w) * held).sum(), rel=1e-14)
        np.testing.assert_allclose(grads, np.cos(w) * held, rtol=1e-14)


@needs_llvmlite
def test_results_do_not_share_memory(compiled: Any) -> None:
    first, second = (compiled(PARAMS, X, LABELS)[1] for _ in range(2))
    for a, b in zip(first.values(), second.values(), strict=True):
        assert not np.shares_memory(a, b)
        assert np.array_equal(a, b)


@needs_llvmlite
def test_out_is_written_into(compiled: Any) -> None:
    out = {name: np.empty_like(leaf) for name, leaf in PARAMS.items()}
    value, found = compiled(PARAMS, X, LABELS, out=out)
    assert found is out
    wanted = compiled(PARAMS, X, LABELS)
    assert value == wanted[0]
    for name, leaf in out.items():
        assert np.array_equal(leaf, wanted[1][name])


@needs_llvmlite
def test_a_result_over_an_array_that_the_loss_closes_over_is_declined() -> None:
    """The machine code checks the addresses of the result."""
    held = np.arange(4.0)
    f = Tape(compile=True).value_and_grad(lambda w: (anp.sin(w) * held[1:3]).sum())
    w = np.ones(2)
    f(w)
    native = f._latest.native.build()
    assert np.isfinite(native((w, np.zeros(2))))
    assert native((w, held[1:3])) == native((w, held[2:])) == -np.inf
    assert np.isfinite(native((w, held[:1].repeat(2))))


@needs_llvmlite
def test_out_over_an_input_is_refused(compiled: Any) -> None:
    with pytest.raises(GradlabError, match="memory"):
        compiled(PARAMS, X, LABELS, out=PARAMS)


@needs_llvmlite
@pytest.mark.parametrize(
    "wrong",
    [
        lambda array: array.astype(np.float32),
        lambda array: array[:-1].copy(),
        lambda array: array.ravel()[None],
        lambda array: array.tolist(),
        lambda array: array.view(type("Own", (np.ndarray,), {})),
        lambda array: array.byteswap().view(array.dtype.newbyteorder()),
        lambda array: np.ma.masked_array(array),
    ],
)
def test_other_arrays_are_declined(wrong: Any, compiled: Any) -> None:
    native = compiled._latest.native.build()
    outs = [np.zeros_like(leaf) for leaf in PARAMS.values()]
    given = [*PARAMS.values(), X, LABELS, *outs]
    for position in (0, 4, 6):
        other = [*given]
        other[position] = wrong(given[position])
        assert native(tuple(other)) == -np.inf
    assert native(tuple(given[:-1])) == -np.inf


@needs_llvmlite
def test_relu_at_zero_and_largest_entries_that_tie() -> None:
    """The tape documents half the slope at the kink, and equal parts for equal maxima."""

    def loss(w: Any) -> Any:
        return anp.sum(anp.maximum(w, 0.0)) + anp.max(w) * 2.0

    w = np.array([0.0, -1.0, 2.0, 2.0])
    f = Tape(compile=True).value_and_grad(loss)
    assert f(w)[0] == 8
    np.testing.assert_array_equal(f(w)[1], [0.5, 0, 2, 2])
    assert "\ncompiled: " in f.explain()


@needs_llvmlite
def test_an_unsupported_program_is_explained() -> None:
    f = Tape(compile=True).value_and_grad(lambda w: anp.linalg.det(w))
    assert f(np.eye(2))[0] == 1
    assert "\nnot compiled: det" in f.explain()


@needs_llvmlite
def test_exact_is_replayed_by_numpy() -> None:
    f = Tape(compile=True, exact=True).value_and_grad(lambda w: (w**2).sum())
    f(np.ones(2))
    assert "\nnot compiled: the program is replayed exactly" in f.explain()


@needs_llvmlite
def test_other_calls_are_not_answered_directly(compiled: Any) -> None:
    """Calls with another order of names or another batch are right."""
    eager = Autograd().value_and_grad(network.loss)
    compiled(PARAMS, X, LABELS)
    assert compiled._direct is not None
    backwards = dict(reversed(PARAMS.items()))
    for args in ((backwards, X, LABELS), (PARAMS, X[:2], LABELS[:2]), (PARAMS, X, LABELS)) * 2:
        found, wanted = compiled(*args), eager(*args)
        assert [*found[1]] == [*args[0]]
        assert found[0] == pytest.approx(wanted[0], rel=1e-12)
        for name in wanted[1]:
            np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=1e-9, atol=1e-14)


@needs_llvmlite
def test_direct_calls_are_compared_at_changes_and_at_intervals() -> None:

    def loss(w: Any, x: Any) -> Any:
        return (anp.tanh(w) * x).sum()

    f = Tape(compile=True, verify=10).value_and_grad(loss)
    w, x = np.arange(1.0, 4.0), np.array([0.5, 2.0, 1.0])
    f(w, x)
    compared = []
    for call in range(1, 40):
        point = w + (call >= 5) * call, x if call < 8 else x + call
        with calls_of(loss) as calls:
            f(*point)
        compared += [call] * bool(calls)
    assert compared == [1, 5, 8, 10, 20, 30]
    assert f.cache_info.replays == 39


@needs_llvmlite
def test_values_taken_out_of_their_box_are_noticed_in_direct_calls() -> None:
    f = Tape(compile=True).value_and_grad(lambda w, x: (w * x * anp.float64(len(NOTED))).sum())
    NOTED[:] = [1]
    w, x = np.ones(3), np.arange(3.0)
    for _ in range(5):
        assert f(w, x)[0] == 3
    NOTED.append(2)
    assert f(w, x)[0] == 6


NOTED: list[int] = []


@needs_llvmlite
def test_threads_share_no_memory() -> None:
    f = Tape(compile=True, verify=None).value_and_grad(network.loss)
    scales = [1 + 0.1 * k for k in range(8)]
    points = [{name: scale * leaf for name, leaf in PARAMS.items()} for scale in scales]
    wanted = [f(point, X, LABELS) for point in points for _ in range(2)][1::2]

    def work(position: int) -> bool:
        for _ in range(200):
            value, grads = f(points[position], X, LABELS)
            same = all(np.array_equal(grads[n], wanted[position][1][n]) for n in grads)
            if value != wanted[position][0] or not same:
                return False
        return True

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(work, range(8)))


@needs_llvmlite
def test_machine_code_is_dropped_if_only_the_exact_program_agrees() -> None:
    """Direct calls end together with the machine code."""
    f = Tape(compile=True, verify=5).value_and_grad(lambda w, x: (anp.sin(x * w) * 1.0).sum())
    w, x = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    wanted = [f(w, x) for _ in range(4)][-1]
    assert f._direct is not None
    f._latest.compile(exact=True)
    value, grads = f(w, x)
    assert value == pytest.approx(wanted[0], rel=1e-15)
    np.testing.assert_allclose(grads, wanted[1], rtol=1e-15)


@needs_llvmlite
def test_an_index_that_nothing_reads_still_raises() -> None:
    def loss(w: Any, labels: Any) -> Any:
        w[labels]
        return np.sum(w**2)

    f = Tape(compile=True, verify=None).value_and_grad(loss)
    for _ in range(3):
        f(np.ones(2), np.array([0, 1]))
    assert "\nnot compiled: gather, which nothing reads" in f.explain()
    with pytest.raises(IndexError):
        f(np.ones(2), np.array([0, 2]))


@needs_llvmlite
def test_other_data_that_a_direct_call_finds_are_compared() -> None:
    """The data are sampled, so the next comparison may miss what this one finds."""

    def loss(w: Any, x: Any) -> Any:
        return np.sum(w * x.sum())

    w, x = np.ones(3), RNG.random((50, 50))
    f = Tape(compile=True, verify=None).value_and_grad(loss)
    for _ in range(3):
        f(w, x.copy())
    x[0, 1] += 1.0  # an entry that is in no sample
    with calls_of(loss) as calls:
        for _ in range(4):
            f(w, x.copy())
    assert len(calls) == 1


@needs_llvmlite
def test_direct_calls_identify_leaves_by_name() -> None:
    """Two leaves of one shape in another order differ only in their names."""
    f = Tape(compile=True).value_and_grad(lambda p: (p["a"] ** 2).sum() + 3 * p["b"].sum())
    params = {"a": np.arange(3.0), "b": np.ones(3)}
    for _ in range(4):
        f(params)
    value, grads = f({"b": np.ones(3), "a": np.arange(3.0)})
    assert value == 14
    assert grads["a"].tolist() == [0, 2, 4]


@needs_llvmlite
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_detected_even_if_the_loss_is_finite(bad: float) -> None:
    def loss(params: Any, x: Any) -> Any:
        return np.sum(np.where(x @ params["W"] > 0, 1.0, 2.0)) + np.sum(params["b"] ** 2)

    params, x = {"W": RNG.normal(size=(9, 12)), "b": np.ones(2)}, RNG.normal(size=(40, 9))
    f = Tape(compile=True).value_and_grad(loss)
    for _ in range(4):
        f(params, x)
    assert "1 products" in f.explain()
    params["W"][8, 11] = bad
    with pytest.raises(GradlabError, match="W"):
        f(params, x)


@needs_llvmlite
def test_a_product_with_a_matrix_that_the_loss_closes_over() -> None:
    held = RNG.normal(size=(12, 9))
    f = Tape(compile=True).value_and_grad(lambda w: (anp.dot(w, held) ** 2).sum())
    w = RNG.normal(size=(8, 12))
    value, grads = f(w)
    assert "compiled: 2 products" in f.explain()
    assert value == pytest.approx(np.sum((w @ held) ** 2), rel=1e-14)
    np.testing.assert_allclose(grads, 2 * w @ held @ held.T, rtol=1e-12)


@pytest.mark.parametrize("choice", [False, pytest.param(True, marks=needs_llvmlite)])
def test_a_caller_holds_a_gradient_before_its_arrays_can_be_taken_again(choice: bool) -> None:
    """Another thread may take arrays that have no other reference at any moment."""
    f = Tape(compile=choice, verify=None).value_and_grad(network.loss)
    for _ in range(4):
        f(PARAMS, X, LABELS)
    held = []

    class Kept(list[Any]):
        def append(self, arrays: Any) -> None:
            held.append(not are_unheld(arrays))
            super().append(arrays)

    f._latest._kept = Kept(f._latest._kept)
    f(PARAMS, X, LABELS)
    assert held == [True]
