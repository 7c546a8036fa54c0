"""Each backend detects changes of what a loss reads besides its arguments.

The scenarios are in `surroundings/`. The tape, the finite differences, JAX and PyTorch are compared
with a fresh evaluation, before and after the change. Most changes are followed; a loss with others
is evaluated at each call, with one warning.
"""

import contextlib
import itertools
import sys
import threading
import warnings
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optional import LIBRARIES, is_installed, unless_missing
from surroundings.not_followed import counter
from surroundings.registry import EAGER, SEEN, Scenario, W, model

import gradlab
from gradlab.errors import UntraceableWarning
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape import Tape

BACKENDS = ["tape", "central", "jax", "torch"]
CLOSE = {"central": 1e-8}
"""Relative tolerance: h² f'''/6 and ε f/h with h = ε^⅓; the rest rounds."""


# Before and after


def quietly(function: Any, *args: Any) -> tuple[Any, list[Any]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UntraceableWarning)
        return function(*args), [w for w in caught if w.category is UntraceableWarning]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have PyTorch's operations replayed after two calls, and modules forgotten."""
    with contextlib.suppress(ImportError):
        monkeypatch.setattr("gradlab.gradients.torch.EAGER_CALLS", 2)
    yield
    sys.modules.pop("settings_of_a_user", None)


def require_right(backend: str, scenario: Callable[[], Scenario]) -> list[Any]:
    """Compare a backend with a fresh evaluation, before and after a change; return warnings."""
    loss, args, change = scenario()
    options: Any = Tape(verify=None) if backend == "tape" else backend
    f = gradlab.value_and_grad(loss, options)
    found = []
    for step in range(2):
        if step:
            change()
        for _ in range(4):
            (value, gradient), warned = quietly(f, W, *args)
            found += warned
        wanted, expected = quietly(Autograd().value_and_grad(loss), W, *args)[0]
        rel = CLOSE.get(backend, 1e-12)
        assert value == pytest.approx(wanted, rel=rel)
        assert gradient == pytest.approx(expected, rel=rel)
    assert len(found) <= 1, [str(w.message) for w in found]
    return found


QUICK = {
    "global_in_a_generator_expression",
    "entry_of_a_dict",
    "array_that_is_written_into",
    "bound_method_as_an_argument",
    "counter",
    "generator_of_random_numbers",
}
"""Scenarios that all backends go through in the quick suite; the tape goes through all."""


def cases(scenarios: list[Callable[[], Scenario]]) -> list[Any]:
    """Return each scenario with each backend; those that compile for a second are slow."""
    found = []
    for scenario in scenarios:
        for backend in BACKENDS:
            name = f"{scenario.__name__}-{backend}"
            case = unless_missing(backend, (scenario, backend), name)
            is_quick = backend == "tape" or scenario.__name__ in QUICK
            marks = [*case.marks, *([] if is_quick else [pytest.mark.slow])]
            found.append(pytest.param(scenario, backend, marks=marks, id=name))
    return found


@pytest.mark.parametrize(("scenario", "backend"), cases(SEEN))
def test_a_change_is_detected(scenario: Callable[[], Scenario], backend: str) -> None:
    warned = require_right(backend, scenario)
    assert not warned, str(warned[0].message)


@pytest.mark.parametrize(("scenario", "backend"), cases(EAGER))
def test_losses_that_cannot_be_tracked_are_not_replayed(
    scenario: Callable[[], Scenario], backend: str
) -> None:
    state = np.random.get_state()  # noqa: NPY002  some draw from it
    warned = require_right(backend, scenario)
    np.random.set_state(state)  # noqa: NPY002
    assert len(warned) == (backend in ("tape", "jax"))


# What is recorded, and how often


def test_equal_values_are_replayed() -> None:
    """Functions are created again with the same code, and containers with the same entries."""

    def loss(w: Any, f: Any, options: Any) -> Any:
        return np.sum(f(w)) * options["scale"]

    f = Tape(verify=None).value_and_grad(loss)

    def scaling(scale: float) -> Any:
        return lambda w: scale * w

    for _ in range(20):
        assert f(W, scaling(2.0), {"scale": 3.0})[1].tolist() == [6.0, 6.0, 6.0]
    assert f.cache_info.recordings == 1
    assert f.cache_info.replays == 19


def test_values_that_the_loss_does_not_name_do_not_matter() -> None:
    """A loss is replayed although its trainer keeps a log."""
    trainer = model()
    trainer.log, trainer.rng = [], np.random.default_rng(0)
    f = Tape(verify=None).value_and_grad(trainer.loss)
    for i in range(20):
        f(W)
        trainer.log.append(trainer.rng.random())
        trainer.step = i
    assert f.cache_info.recordings == 1


def test_a_value_that_is_kept_at_the_first_call() -> None:
    """The loss changes what it reads once, and is recorded at the next call."""
    cache: dict[str, float] = {}

    def loss(w: Any) -> Any:
        if "scale" not in cache:
            cache["scale"] = 2.0
        return np.sum(cache["scale"] * w)

    f = Tape(verify=None).value_and_grad(loss)
    for _ in range(5):
        assert f(W)[1].tolist() == [2.0, 2.0, 2.0]
    assert f.cache_info.recordings == 1
    assert f.untraceable is None


def test_a_warning_names_the_value_that_cannot_be_tracked() -> None:
    held = SimpleNamespace(parts=[itertools.count()])
    f = gradlab.grad(lambda w: np.sum(w) * (next(held.parts[0]) + 1), "tape")
    match = r"held\.parts\[0\] is a count, whose state cannot be seen \(the loss is defined in .*"
    with pytest.warns(UntraceableWarning, match=match):
        f(W)
    g = gradlab.grad(counter()[0], "tape")
    g(W)
    with pytest.warns(UntraceableWarning, match=r"it changes held\.calls in each call, which a "):
        g(W)


@pytest.mark.parametrize("kind", [UserDict, MappingProxyType, OrderedDict])
@pytest.mark.parametrize("backend", ["autograd", "tape", "central"])
def test_mappings_as_parameters(backend: str, kind: Any) -> None:
    f = gradlab.value_and_grad(lambda p, x: np.sum(p["w"] * x) * p["b"], backend)
    x = np.array([1.0, 2.0, 3.0])
    for i in range(4):
        value, gradient = f(kind({"w": W + i, "b": 2.0}), x * (i + 1))
        assert value == pytest.approx(2 * np.sum((W + i) * x * (i + 1)), rel=1e-14)
        assert gradient["w"] == pytest.approx(2 * x * (i + 1), rel=1e-8)


def test_keys_of_parameters_that_are_equal() -> None:
    f = gradlab.grad(lambda p: np.sum(next(iter(p.values())) ** 2), "tape")
    for _ in range(3):
        for key in (1, True, 1.0):
            (found,) = f({key: W})
            assert type(found) is type(key)


@pytest.mark.parametrize("backend", ["tape", *LIBRARIES])
def test_a_dict_that_a_callback_anneals(backend: str) -> None:
    """All trainings end with the same weights: jax and torch compile the new rate, too."""
    if not is_installed(backend):
        pytest.skip(f"{LIBRARIES[backend]} is not installed")
    ends = {}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    for name in ("autograd", backend):
        options = {"decay": 1.0}

        def loss(w: Any, x: Any, y: Any, options: Any = options) -> Any:
            return np.mean((x @ w - y) ** 2) + options["decay"] * np.sum(w * w)

        def anneal(step: Any, options: Any = options) -> None:
            options["decay"] = 0.5 ** (step.iteration // 5)

        result = quietly(
            lambda loss, anneal, name: gradlab.fit(
                loss, W, (x, y), backend=name, batch_size=5, epochs=4, callbacks=[anneal]
            ),
            loss,
            anneal,
            name,
        )[0]
        ends[name] = result.params
    assert ends[backend] == pytest.approx(ends["autograd"], rel=1e-12)


def test_threads_that_change_what_the_loss_reads() -> None:
    """A key is computed while another thread changes the size of a dict."""
    options: dict[str, float] = {"scale": 2.0}
    f = Tape(verify=None).value_and_grad(lambda w: np.sum(options["scale"] * w))
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            options["other"] = 1.0
            options.pop("other")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(50):
            assert quietly(f, W)[0][1].tolist() == [2.0, 2.0, 2.0]
    finally:
        stop.set()
        thread.join()
