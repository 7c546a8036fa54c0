"""Early ends of a training, by Ctrl-C or by divergence."""

import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from lines import LINE, Constant, Recorder, X, Y, bits, distance_loss, fit_line, line_loss
from optional import each_backend
from processes import PATIENCE, running

import gradlab
from gradlab import fit
from gradlab.errors import DivergenceError, NonFiniteError

# Losses of the batches alone.
pytestmark = pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")


# Ctrl-C


def test_ctrl_c_in_a_callback_returns_what_was_reached():
    def press(step):
        if step.iteration == 5:
            raise KeyboardInterrupt

    result = fit_line(batch_size=5, epochs=10, callbacks=[press])
    stopped = fit_line(batch_size=5, epochs=10, callbacks=[lambda step: step.iteration == 5])
    assert result.interrupted
    assert bits(result.params) == bits(stopped.params)
    assert result.history.losses == stopped.history.losses


@each_backend(name for name in gradlab.BACKENDS if name != "jax")  # it calls the loss once
def test_ctrl_c_in_the_loss_returns_the_steps_before(backend):
    calls = []
    # The tape calls it twice for the first step; torch once on NumPy's arrays, to compare.
    last = 3 if backend == "tape" else 38

    def pressing(params, x, y):
        calls.append(None)
        if len(calls) == last:
            raise KeyboardInterrupt
        return line_loss(params, x, y)

    result = fit_line(pressing, batch_size=5, epochs=10, backend=backend)
    assert result.interrupted
    done = len(result.history.losses)
    assert done == {"autograd": 37, "torch": 36, "tape": 1, "central": 7, "forward": 9}.get(
        backend, done
    )
    again = fit_line(batch_size=5, epochs=None, iterations=None, backend=backend, callbacks=[
        lambda step: step.iteration == done - 1
    ])  # fmt: skip
    assert bits(result.params) == bits(again.params)


def test_ctrl_c_before_the_first_step_returns_the_start():
    def press(params, x, y):
        raise KeyboardInterrupt

    result = fit_line(press)
    assert result.interrupted
    assert result.history.losses == []
    assert bits(result.params) == bits(LINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_a_real_sigint():
    script = """
        import signal
        import numpy as np
        from gradlab import fit
        signal.signal(signal.SIGINT, signal.default_int_handler)
        x = np.linspace(-1, 1, 50)
        result = fit(
            lambda p, x: ((p * x - x) ** 2).mean(), 0.0, (x,),
            epochs=10**6, learning_rate=1e-3,
            callbacks=[lambda step: print("ready", flush=True) if step.iteration == 3 else None],
        )
        n = len(result.history.losses)
        print(result.interrupted, 4 <= n, np.isfinite(result.params), 0 < result.params < 2)
    """
    with running(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(gradlab.__file__).parents[1])},
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
    assert errors == ""
    assert output.split() == ["True"] * 4
    assert process.returncode == 0


# Divergence


def nan_at(call):
    calls = []

    def loss(params, x, y):
        calls.append(None)
        return line_loss(params, x, y) * (np.nan if len(calls) == call else 1.0)

    return loss


@pytest.mark.parametrize("iteration", [0, 1, 6])
def test_a_nan_names_its_iteration_and_keeps_the_last_good_parameters(iteration):
    seen = Recorder()
    advice = r"lower the learning rate, 0\.1, to 0\.01" if iteration else "before the first step"
    with pytest.raises(
        DivergenceError, match=rf"iteration {iteration}: the loss is nan.*{advice}"
    ) as caught:
        fit_line(nan_at(iteration + 1), batch_size=5, epochs=4, callbacks=[seen])
    assert caught.value.iteration == iteration
    assert len(caught.value.history.losses) == iteration
    assert len(caught.value.history.epochs) == iteration // 4
    good = seen.steps[-1].params if seen.steps else LINE
    assert bits(caught.value.params) == bits(good)


@pytest.mark.filterwarnings("ignore:the learning rate:gradlab.errors.TrainingWarning")
@pytest.mark.parametrize("learning_rate", [1e3, 1e30, 1e160, 1e308])
@each_backend()
def test_a_learning_rate_that_is_far_too_large(learning_rate, backend):
    with pytest.raises(DivergenceError, match="diverged at iteration") as caught:
        fit_line(learning_rate=learning_rate, epochs=1000, backend=backend)
    error = caught.value
    assert error.iteration == len(error.history.losses)
    assert np.isfinite(error.history.losses).all()
    assert np.isfinite(list(error.params.values())).all()
    # The kept parameters belong to the last recorded loss.
    assert math.isclose(line_loss(error.params, X, Y), error.history.losses[-1], rel_tol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_backend_that_returns_a_gradient_that_is_not_finite(value):
    backend = Constant(1.0, {"slope": 1.0, "offset": value})
    with pytest.raises(DivergenceError, match=r"iteration 0: .*offset is (nan|-?inf)") as caught:
        fit_line(backend=backend)
    assert bits(caught.value.params) == bits(LINE)
    assert isinstance(caught.value.__cause__, NonFiniteError)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_backend_that_returns_a_loss_that_is_not_finite(value):
    with pytest.raises(DivergenceError, match=r"iteration 0: the loss is"):
        fit_line(backend=Constant(value, LINE))


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_last_step_that_ends_infinite(epochs):
    # 1.7e308 is nearly the largest number: the last step goes one tenth beyond it.
    backend = Constant(1.0, 1e308)
    options = {"backend": backend, "learning_rate": 1.9 / epochs, "epochs": epochs}
    with pytest.raises(DivergenceError, match=rf"iteration {epochs}: params is -inf") as caught:
        fit(lambda p, x: p * 0.0, 0.0, (X,), **options)
    assert np.isfinite(caught.value.params)
    assert len(caught.value.history.losses) == epochs


def test_float32_overflows_on_its_own_terms():
    start = {"slope": np.float32(0), "offset": np.float32(0)}
    with pytest.raises(DivergenceError) as caught:
        fit_line(params=start, learning_rate=1e4, epochs=1000)
    assert all(leaf.dtype == np.float32 for leaf in caught.value.params.values())
    assert all(np.isfinite(leaf) for leaf in caught.value.params.values())


@pytest.mark.parametrize("option", ["validation", "accuracy"])
def test_no_warning_leaks_from_an_epoch_that_ended_too_far_away(option):
    watch = {"validation": (X, Y)} if option == "validation" else {"accuracy": line_loss}
    with pytest.raises(DivergenceError):
        fit_line(learning_rate=1e200, epochs=3, **watch)


def test_ctrl_c_does_not_return_parameters_that_are_not_finite():
    def press(step):
        raise KeyboardInterrupt

    backend = Constant(1.0, 1e308)
    with pytest.raises(DivergenceError):
        fit(distance_loss, 0.0, (X,), backend=backend, learning_rate=2.0, callbacks=[press])
