"""SIGINT and SIGTERM are deferred where they are held, and raised where they are allowed."""

import os
import signal
import threading
import time
import weakref

import numpy as np
import pytest

import gradlab
from gradlab import checkpoints, interrupts
from gradlab.errors import DivergenceError
from gradlab.interrupts import allowed, forget, held

on_posix = pytest.mark.skipif(os.name != "posix", reason="forks and signals of POSIX")


@pytest.fixture(autouse=True)
def handlers():
    """Enable Ctrl-C, also if the suite runs in the background, and restore the handlers."""
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, note)
    for number, handler in before.items():
        signal.signal(number, handler)


noted: list[int] = []


def note(number, frame):
    noted.append(number)


def press(number=signal.SIGINT):
    signal.raise_signal(number)


def test_a_signal_waits_for_the_end_of_the_outermost_block():
    done = []

    def work():
        with held():
            with held():
                press()
                done.append("inner")
            press()
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_an_allowed_signal_is_raised_at_once_and_the_next_one_waits():
    done = []

    def work():
        try:
            with allowed():
                try:
                    press()
                    done.append("not reached")
                finally:
                    press()  # while the first one is being raised
                    done.append("cleaned up")
        finally:
            press()
            done.append("in order")

    with pytest.raises(KeyboardInterrupt), held():
        work()
    assert done == ["cleaned up", "in order"]


def test_a_deferred_signal_is_raised_when_next_allowed():
    with held():
        press()
        with pytest.raises(KeyboardInterrupt), allowed():
            raise AssertionError("reached")
        press()
        assert forget()
        assert not forget()


def test_a_block_within_allowed_defers_signals():
    done = []

    def work():
        with held():
            press()
            done.append("held")
        done.append("not reached")

    with pytest.raises(KeyboardInterrupt), held(), allowed():
        work()
    assert done == ["held"]


def test_a_propagating_error_does_not_lose_the_signal():
    def fail():
        press()
        raise ValueError("wrong")

    with pytest.raises(KeyboardInterrupt) as caught, held():
        fail()
    assert isinstance(caught.value.__context__, ValueError)


def test_code_that_swallows_ctrl_c_is_interrupted_again_later(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: clock[0])
    with held(), allowed():
        with pytest.raises(KeyboardInterrupt):
            press()
        press()  # it waits
        assert forget()
        clock[0] += interrupts.MIN_SECONDS_BETWEEN_RAISES + 1
        with pytest.raises(KeyboardInterrupt):
            press()


class Noisy:
    """Raises an interrupt when it is deleted, where Python drops exceptions."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


class Quiet:
    pass


class NoisyKey(str):
    """A key that interrupts the program at each look-up."""

    def __hash__(self):
        signal.raise_signal(signal.SIGINT)
        return 0


def delete():
    Noisy()


def call_back():
    """Delete a value in a dictionary that then removes its key."""
    names, value = weakref.WeakValueDictionary(), Quiet()
    with held():  # notes the signal of the insertion
        names[NoisyKey("key")] = value
        forget()
    del value


@pytest.mark.parametrize("interrupt", [delete, call_back])
def test_a_signal_that_python_would_drop_comes_again(interrupt):
    def work():
        with held(), allowed():
            interrupt()
            for _ in range(6000):  # until the signal comes, a minute at most
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_sigterm_ends_the_program_in_order():
    with pytest.raises(SystemExit) as stop, held():
        press(signal.SIGTERM)
    assert stop.value.code == 128 + signal.SIGTERM


def test_handlers_of_the_program_are_called():
    signal.signal(signal.SIGTERM, note)
    noted.clear()
    with held():
        press(signal.SIGTERM)
        assert noted == []
        with allowed():
            assert noted == [signal.SIGTERM]
            press(signal.SIGTERM)
            press(signal.SIGTERM)
    assert noted == 3 * [signal.SIGTERM]


def test_another_thread_holds_nothing():
    heard = []

    def work():
        with held(), allowed():
            heard.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [signal.default_int_handler]


def test_allowed_does_nothing_outside_held():
    with pytest.raises(KeyboardInterrupt), allowed():
        press()


@on_posix
def test_a_forked_process_has_the_handlers_of_the_program():
    with held():
        pid = os.fork()
        if pid == 0:
            fine = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            fine &= signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            os._exit(7 if fine else 1)
        assert os.waitpid(pid, 0)[1] >> 8 == 7


# Trainings


def loss(params, x, y):
    return np.mean((params * x - y) ** 2)


DATA = np.ones(20), np.zeros(20)


def test_ctrl_c_twice_ends_a_training_with_what_was_reached(tmp_path, monkeypatch):
    """The second Ctrl-C comes during the write of the checkpoint, and must not prevent it."""
    write = checkpoints.Keeper._write

    def pressed(self):
        press()
        write(self)

    monkeypatch.setattr(checkpoints.Keeper, "_write", pressed)
    callbacks = [lambda step: press() if step.iteration == 3 else None]
    result = gradlab.fit(
        loss, 1.0, DATA, callbacks=callbacks, checkpoint=tmp_path / "state",
        checkpoint_every=100, batch_size=10,
    )  # fmt: skip
    assert result.interrupted
    assert len(result.history.losses) == 4
    monkeypatch.undo()
    again = gradlab.fit(loss, 1.0, DATA, checkpoint=tmp_path / "state", resume=True,
                        checkpoint_every=100, batch_size=10)  # fmt: skip
    whole = gradlab.fit(loss, 1.0, DATA, batch_size=10)
    assert again.history.losses == whole.history.losses


def test_a_divergence_is_raised_while_a_training_defers_signals():
    with pytest.raises(DivergenceError):
        gradlab.fit(lambda p, x, y: p**4, 1.0, DATA, learning_rate=10.0)
