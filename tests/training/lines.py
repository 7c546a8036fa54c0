"""A line to fit, with backends and callbacks that several tests of the trainer use."""

import numpy as np
from hypothesis import settings

import gradlab
from gradlab import fit

few = settings(max_examples=30, deadline=None)

X = np.linspace(-1, 1, 20)
Y = 3 * X + 1
LINE = {"slope": 0.0, "offset": 0.0}


def line_loss(params, x, y):
    return ((params["slope"] * x + params["offset"] - y) ** 2).mean()


def fit_line(loss=line_loss, params=LINE, data=(X, Y), **options):
    return fit(loss, params, data, **options)


def distance_loss(p, x):
    """Compute half the squared distance, whose gradient is p - mean(x)."""
    return 0.5 * ((p - x) ** 2).mean()


class Exact:
    """A user's backend, with the derivative of `distance_loss` by hand."""

    name = "by hand"

    def value_and_grad(self, loss):
        return lambda p, x: (float(loss(p, x)), p - x.mean())


class Constant:
    """A backend that returns a given value and gradient, whatever the loss."""

    name = "constant"

    def __init__(self, value, grads):
        self.value, self.grads = value, grads

    def value_and_grad(self, loss):
        return lambda params, *args: (self.value, self.grads)


class Recorder:
    """A callback that keeps every step, and may return a value."""

    def __init__(self, answer=None):
        self.steps, self.answer = [], answer

    def __call__(self, step):
        self.steps.append(step)
        return self.answer(step) if self.answer else None


def bits(params):
    return [leaf.tobytes() for _, leaf in gradlab.params.named_leaves(params)]


def closeness(params, x, y):
    return float(np.mean(abs(params["slope"] * x + params["offset"] - y) < 1))
