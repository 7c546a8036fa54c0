"""Each optimiser's steps agree with its formula, written with whole arrays as in a textbook."""

import numpy as np
import pytest

from gradlab import optim

EPS = np.finfo(np.float64).eps
STEPS = 30
RATES = 0.1 * 0.9 ** np.arange(STEPS)
START = np.array([1.5, -0.3, 0.7, 0.2, -2.0, 1e-3])


def rate(count):
    return RATES[count]


def descent(p, grads, momentum, nesterov=False):
    v = 0.0
    for g, eta in zip(grads, RATES, strict=True):
        v = momentum * v + g
        p = p - eta * (g + momentum * v if nesterov else v)
        yield p


def adagrad(p, grads, eps, initial):
    total = initial
    for g, eta in zip(grads, RATES, strict=True):
        total = total + g**2
        p = p - eta * g / (np.sqrt(total) + eps)
        yield p


def rmsprop(p, grads, decay, eps):
    v = 0.0
    for g, eta in zip(grads, RATES, strict=True):
        v = decay * v + (1 - decay) * g**2
        p = p - eta * g / (np.sqrt(v) + eps)
        yield p


def adam(p, grads, b1, b2, eps, weight_decay=0.0):
    m = v = 0.0
    for t, (g, eta) in enumerate(zip(grads, RATES, strict=True), start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        step = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        p = p - eta * (step + weight_decay * p)
        yield p


FORMULAS = {
    "sgd": (optim.sgd(rate), descent, (0.0,)),
    "momentum": (optim.sgd(rate, 0.8), descent, (0.8,)),
    "nesterov": (optim.sgd(rate, 0.8, nesterov=True), descent, (0.8, True)),
    "adagrad": (optim.adagrad(rate), adagrad, (1e-10, 0.0)),
    "adagrad, initial": (optim.adagrad(rate, initial=0.5, eps=0.1), adagrad, (0.1, 0.5)),
    "rmsprop": (optim.rmsprop(rate), rmsprop, (0.9, 1e-8)),
    "rmsprop, decay": (optim.rmsprop(rate, 0.5, eps=0.1), rmsprop, (0.5, 0.1)),
    "adam": (optim.adam(rate), adam, (0.9, 0.999, 1e-8)),
    "adam, other options": (optim.adam(rate, 0.5, 0.75, eps=0.1), adam, (0.5, 0.75, 0.1)),
    "adamw": (optim.adamw(rate), adam, (0.9, 0.999, 1e-8, 0.01)),
    "adamw, much decay": (
        optim.adamw(rate, weight_decay=0.5),
        adam,
        (0.9, 0.999, 1e-8, 0.5),
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMULAS)
def test_the_steps_of_an_optimiser_are_those_of_its_formula(name, seed):
    rule, formula, options = FORMULAS[name]
    rng = np.random.default_rng(seed)
    # Without zeros: Adagrad and RMSProp divide a first gradient by its own size.
    grads = [rng.uniform(0.1, 1, 6) * rng.choice([-1, 1], 6) for _ in range(STEPS)]
    params, state = START, rule.init(START)
    for count, (g, wanted) in enumerate(zip(grads, formula(START, grads, *options), strict=True)):
        updates, state = rule.update(g, state, params)
        params = params + updates
        assert state["count"] == count + 1
        # A step rounds at most 16 times, and so do its averages.
        largest = max(np.abs(wanted).max(), np.abs(START).max())
        assert np.abs(params - wanted).max() <= 32 * (count + 1) * EPS * 2 * largest


CURVATURES = np.array([1.0, 2.0, 3.0, 5.0, 10.0])


def direction_of(pairs, g):
    """Return -H g, with the inverse Hessian H as a matrix: Nocedal and Wright, (7.16) to (7.20)."""
    H = np.eye(len(g))
    if pairs:
        s, y = pairs[-1]
        H *= s @ y / (y @ y)
    for s, y in pairs:
        V = np.eye(len(g)) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return -H @ g


@pytest.mark.parametrize("memory", [1, 3, 10])
def test_the_steps_of_l_bfgs_are_those_of_the_matrix_that_its_pairs_make(memory):
    """The fourth gradient shows a negative curvature, so its pair is left out."""
    rule, p = optim.lbfgs(rate, memory), np.array([30.0, -10.0, 20.0, 5.0, 10.0])
    state, pairs, before, step = rule.init(p), [], None, None
    for count in range(12):
        g = CURVATURES * p
        if count == 3:
            g = before - 0.5 * step
        if count:
            y = g - before
            pairs = [*pairs, (step, y) if step @ y > 0 else None][-memory:]
        wanted = RATES[count] * direction_of([pair for pair in pairs if pair], g)
        if not count:
            wanted /= np.abs(g).sum()
        updates, state = rule.update(g, state, p)
        # One unit per operation of at most 2 products of 5 entries for each pair, twice for the
        # matrix, enlarged by at most the ratio of the curvatures.
        bound = 2 * 2 * (memory + 1) * 5 * 4 * EPS * 10 * np.abs(wanted).max()
        assert np.abs(updates - wanted).max() <= bound, count
        step, before = updates, g
        p = p + updates


def test_a_warmup_rises_to_the_first_rate_of_its_schedule():
    rising = optim.warmup(lambda count: 0.5 - 0.1 * count, steps=3)
    np.testing.assert_allclose([rising(t) for t in range(6)], [0.125, 0.25, 0.375, 0.5, 0.4, 0.3])
