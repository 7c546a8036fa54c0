"""Each optimiser's steps agree with PyTorch and optax, with written formulas, and with limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optional import is_installed

from gradlab import optim
from gradlab.errors import NonFiniteError, OptionError, ParameterError

STEPS = 100
EPS = np.finfo(np.float64).eps
START = {"w": np.array([[1.5, -0.3, 0.7], [0.2, -2.0, 1e-3]]), "b": np.array([0.5, -1.0])}
SHAPES = {name: leaf.shape for name, leaf in START.items()}

needs_torch = pytest.mark.skipif(not is_installed("torch"), reason="PyTorch is not installed")


def gradients(steps=STEPS, seed=0):
    """Draw gradients of very different sizes, with some entries that are exactly 0."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield {
            name: rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3) * (rng.random(shape) > 0.1)
            for name, shape in SHAPES.items()
        }


def trajectory(optimiser, grads):
    """Return the parameters after each step."""
    params, state, path = START, optimiser.init(START), []
    for slopes in grads:
        updates, state = optimiser.update(slopes, state, params)
        params = {name: leaf + np.asarray(updates[name]) for name, leaf in params.items()}
        path.append(params)
    return path


def assert_round_off(ours, theirs):
    """Require equal paths up to the round-off of the steps.

    A step adds a rounded update to a rounded parameter. The update comes from at most 16 rounded
    operations, and so do its averages, whose errors decay as they do themselves. So each step adds
    errors of at most 32 units in the last place of the largest parameter or update until then.
    """
    largest = 0.0
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        largest = max(largest, *(np.abs(leaf).max() for leaf in mine.values()))
        for name, leaf in mine.items():
            assert np.abs(leaf - other[name]).max() <= 32 * step * EPS * 2 * largest, (name, step)


# Against PyTorch

TORCH = {
    "sgd": (optim.sgd(0.1), "SGD", {"lr": 0.1}),
    "momentum": (optim.sgd(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        optim.sgd(0.1, 0.9, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "adagrad": (optim.adagrad(0.1), "Adagrad", {"lr": 0.1}),
    "adagrad, initial": (
        optim.adagrad(0.1, initial=0.5, eps=1e-3),
        "Adagrad",
        {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "rmsprop": (optim.rmsprop(0.01), "RMSprop", {"lr": 0.01, "alpha": 0.9}),
    "rmsprop, decay": (
        optim.rmsprop(0.01, 0.99, eps=1e-2),
        "RMSprop",
        {"lr": 0.01, "alpha": 0.99, "eps": 1e-2},
    ),
    "adam": (optim.adam(0.01), "Adam", {"lr": 0.01}),
    "adam, other options": (
        optim.adam(0.01, 0.5, 0.9, eps=1e-2),
        "Adam",
        {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-2},
    ),
    "adamw": (optim.adamw(0.01), "AdamW", {"lr": 0.01}),
    "adamw, much decay": (
        optim.adamw(0.1, weight_decay=0.5),
        "AdamW",
        {"lr": 0.1, "weight_decay": 0.5},
    ),
}


def torch_path(optimiser, options, grads, schedule=None):
    import torch

    params = {name: torch.tensor(leaf) for name, leaf in START.items()}
    theirs = getattr(torch.optim, optimiser)(list(params.values()), **options)
    schedule = schedule and schedule(theirs)
    path = []
    for slopes in grads:
        for name, leaf in params.items():
            leaf.grad = torch.tensor(slopes[name])
        theirs.step()
        if schedule:
            schedule.step()
        path.append({name: leaf.numpy().copy() for name, leaf in params.items()})
    return path


@needs_torch
@pytest.mark.parametrize("name", TORCH)
def test_a_hundred_steps_are_those_of_pytorch(name):
    ours, theirs, options = TORCH[name]
    grads = list(gradients())
    assert_round_off(trajectory(ours, grads), torch_path(theirs, options, grads))


SCHEDULES = {
    "step": (
        optim.step(0.1, every=30, factor=0.5),
        lambda o, s: s.StepLR(o, step_size=30, gamma=0.5),
    ),
    "cosine": (
        optim.cosine(0.1, steps=STEPS, end=0.01),
        lambda o, s: s.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.01),
    ),
    "warmup": (
        optim.warmup(0.1, steps=9),
        lambda o, s: s.LinearLR(o, start_factor=0.1, total_iters=9),
    ),
}


@needs_torch
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_hundred_steps_of_a_schedule_are_those_of_pytorch(name):
    import torch

    rate, theirs = SCHEDULES[name]
    grads = list(gradients())
    wanted = torch_path("SGD", {"lr": 0.1}, grads, lambda o: theirs(o, torch.optim.lr_scheduler))
    # PyTorch multiplies the rate of the step before: its round-off grows with the steps.
    for mine, other in zip(trajectory(optim.sgd(rate), grads), wanted, strict=True):
        for leaf in SHAPES:
            np.testing.assert_allclose(mine[leaf], other[leaf], rtol=0, atol=1e3 * STEPS**2 * EPS)


CURVATURES = np.array([1.0, 2.0, 3.0, 5.0, 10.0])


@needs_torch
@pytest.mark.parametrize("memory", [1, 3, 10])
def test_the_steps_of_l_bfgs_are_those_of_pytorch(memory):
    """The gradients are the same, so that only the directions' own round-off differs.

    That is one unit per operation and entry of at most 2 * memory products, enlarged by at most the
    ratio of the curvatures.
    """
    import torch

    # Far from the minimum, since PyTorch leaves out steps with s · y below 1e-10.
    x = torch.tensor(np.array([300.0, -100.0, 200.0, 50.0, 100.0]))
    theirs = torch.optim.LBFGS(
        [x], lr=0.5, max_iter=1, history_size=memory, tolerance_grad=0, tolerance_change=0
    )
    ours = optim.lbfgs(0.5, memory)
    state = ours.init(x.numpy())
    for _ in range(20):
        before = x.numpy().copy()
        slopes = CURVATURES * before + 1e-5 * before**3
        x.grad = torch.tensor(slopes)
        update, state = ours.update(slopes, state, before)
        theirs.step(lambda: torch.tensor(1.0))
        wanted = x.numpy() - before
        bound = 2 * memory * len(before) * 4 * EPS * 10 * np.abs(wanted).max()
        # The rounding of PyTorch's own parameter.
        assert np.abs(update - wanted).max() <= bound + EPS * np.abs(before).max()


# Against optax


def optax_pairs():
    import optax

    falling = optax.cosine_decay_schedule(0.1, 60, alpha=0.1)
    return {
        "sgd": (
            optim.sgd(optim.cosine(0.1, 60, end=0.01), 0.5, nesterov=True, clip=1.0),
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(falling, 0.5, nesterov=True)),
        ),
        # optax adds ε below the root.
        "adagrad": (
            optim.adagrad(0.1, initial=0.1, eps=0),
            optax.adagrad(0.1, initial_accumulator_value=0.1, eps=0),
        ),
        "rmsprop": (
            optim.rmsprop(0.01, 0.9, eps=1e-3),
            optax.rmsprop(0.01, 0.9, eps=1e-3, eps_in_sqrt=False),
        ),
        "adamw": (
            optim.adamw(0.01, weight_decay=0.3, clip=2.0),
            optax.chain(optax.clip_by_global_norm(2.0), optax.adamw(0.01, weight_decay=0.3)),
        ),
    }


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adamw"])
def test_a_hundred_steps_are_those_of_optax(name):
    optax = pytest.importorskip("optax", reason="optax is not installed")
    import jax

    grads = list(gradients())
    with jax.enable_x64(True):
        ours, theirs = optax_pairs()[name]
        compiled = optax.GradientTransformation(jax.jit(theirs.init), jax.jit(theirs.update))
        wanted = trajectory(compiled, grads)
    assert_round_off(trajectory(ours, grads), wanted)


# Formulas written out


def test_two_steps_of_adam_written_out():
    rule, p, g = optim.adam(0.1, 0.5, 0.75, eps=0.5), np.array([2.0]), np.array([4.0])
    first, state = rule.update(g, rule.init(p), p)
    np.testing.assert_allclose(first, [-0.1 * 4 / (4 + 0.5)], rtol=8 * EPS)
    assert state == {"count": 1, "m": np.array([2.0]), "v": np.array([4.0])}
    second, state = rule.update(np.array([-2.0]), state, p + first)
    m, v = 0.5 * 2 - 0.5 * 2, 0.75 * 4 + 0.25 * 4
    assert (state["m"], state["v"]) == (m, v)
    np.testing.assert_allclose(second, [-0.1 * m / 0.75 / (np.sqrt(v / (1 - 0.75**2)) + 0.5)])


@pytest.mark.parametrize("norm", [0.5, 1.0, 2.0])
def test_clipping_leaves_the_direction_and_bounds_the_norm(norm):
    grads = {"w": np.array([0.6, 0.0]), "b": 0.8}
    rule = optim.sgd(1.0, clip=norm)
    updates, _ = rule.update(grads, rule.init(grads), grads)
    factor = min(1.0, norm)
    np.testing.assert_allclose(updates["w"], [-0.6 * factor, 0], rtol=8 * EPS)
    np.testing.assert_allclose(updates["b"], -0.8 * factor, rtol=8 * EPS)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float64", 1e200), ("float64", 1e-200), ("float32", 1e30), ("float32", 1e-30)],
)
def test_a_norm_whose_squares_overflow_or_underflow_is_right(dtype, size):
    grads = np.array([3 * size, 4 * size], dtype)
    rule = optim.sgd(1.0, clip=size)
    updates, _ = rule.update(grads, rule.init(grads), grads)
    assert updates.dtype == dtype
    np.testing.assert_allclose(updates / size, [-0.6, -0.8], rtol=8 * np.finfo(dtype).eps)


def test_weight_decay_without_a_gradient_shrinks_the_parameters():
    """Each step then multiplies the parameters by 1 - η λ, for every optimiser."""
    p = np.array([2.0, -4.0])
    for rule in (optim.sgd(0.5, 0.9), optim.adam(0.5), optim.rmsprop(0.5), optim.adagrad(0.5)):
        decaying = type(rule)(**{**vars(rule), "weight_decay": 0.25})
        updates, _ = decaying.update(np.zeros(2), decaying.init(p), p)
        np.testing.assert_array_equal(updates, -0.125 * p)


RULES = {
    "sgd": optim.sgd(0.01),
    "momentum": optim.sgd(0.01, 0.9),
    "nesterov": optim.sgd(0.01, 0.9, nesterov=True),
    "adagrad": optim.adagrad(0.01),
    "rmsprop": optim.rmsprop(0.01),
    "adam": optim.adam(0.01),
    "adamw": optim.adamw(0.01, clip=1.0),
    "lbfgs": optim.lbfgs(0.5, 3),
}


@pytest.mark.parametrize("name", RULES)
def test_a_step_does_not_change_its_arguments(name):
    rule = RULES[name]
    params = {"a": np.ones((2, 2)), "rest": (1.0, np.zeros(0))}
    grads = {"a": np.full((2, 2), 3.0), "rest": (np.float64(2.0), np.zeros(0))}
    state = rule.init(params)
    updates, after = rule.update(grads, state, params)
    again, _ = rule.update(grads, state, params)
    assert (params["a"] == 1).all()
    assert (grads["a"] == 3).all()
    assert state["count"] == 0
    assert after["count"] == 1
    np.testing.assert_array_equal(updates["a"], again["a"])
    assert type(updates["rest"][0]) is np.float64
    # A second step leaves the first one's state as it was.
    kept = {slot: np.array(after[slot]["a"]) for slot in rule.slots}
    rule.update(grads, after, params)
    for slot, leaf in kept.items():
        np.testing.assert_array_equal(after[slot]["a"], leaf)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_gradient_of_zeros_only_decays_the_parameters(name, dtype):
    params = np.ones(3, dtype)
    for rule in (RULES[name],):
        state = rule.init(params)
        for _ in range(3):
            updates, state = rule.update(np.zeros(3, dtype), state, params)
            decay = rule.weight_decay * 0.01
            assert updates.dtype == dtype
            np.testing.assert_allclose(updates, -decay * params, rtol=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_l_bfgs_with_all_pairs_solves_a_quadratic(seed, n):
    """It converges almost like Newton's method: n independent changes of the gradient suffice."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    hessian = root @ root.T / n + np.eye(n)
    x, rule = rng.normal(size=n), optim.lbfgs()
    first, state = np.linalg.norm(hessian @ x), rule.init(x)
    for _ in range(40):
        update, state = rule.update(hessian @ x, state, x)
        x = x + update
    assert np.linalg.norm(hessian @ x) <= 1e-6 * first


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_a_square_that_overflows_is_an_error_and_not_a_step_of_zero(name):
    rule, params = RULES[name], np.ones(2, np.float32)
    with pytest.raises(NonFiniteError, match="overflows float32, at entries up to 2e"):
        rule.update(np.array([1.0, 2e30], np.float32), rule.init(params), params)


# Schedules


@given(st.integers(0, 300))
def test_schedules_are_their_formulas(t):
    assert optim.constant(0.3)(t) == 0.3
    assert optim.step(0.3, 7, 0.5)(t) == 0.3 * 0.5 ** (t // 7)
    share = np.cos(np.pi * min(t, 200) / 200)
    assert optim.cosine(0.3, 200, 0.1)(t) == pytest.approx(0.2 + 0.1 * share, rel=1e-14)
    inner = optim.step(0.3, 7)
    wanted = 0.3 * (t + 1) / 11 if t < 10 else inner(t - 10)
    assert optim.warmup(inner, 10)(t) == pytest.approx(wanted, rel=1e-15)


@pytest.mark.parametrize("answer", [np.nan, np.inf, -0.1, "fast", None])
def test_a_schedule_that_returns_an_invalid_rate_is_named(answer):
    rule, p = optim.sgd(lambda count: answer), np.ones(2)
    with pytest.raises(OptionError, match=r"schedule of the learning rate returned .* at step 0"):
        rule.update(p, rule.init(p), p)


# What is refused


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: optim.sgd(0), "learning_rate=0: give a positive number, or a schedule"),
        (lambda: optim.sgd("fast"), "learning_rate='fast'"),
        (lambda: optim.sgd(0.1, 1.0), "momentum=1.0"),
        (lambda: optim.sgd(0.1, nesterov=True), "nesterov=True: give a momentum"),
        (lambda: optim.adam(0.1, b1=1.0), "b1=1.0"),
        (lambda: optim.adam(0.1, b2=-0.1), "b2=-0.1"),
        (lambda: optim.adam(0.1, eps=-1), "eps=-1"),
        (lambda: optim.adam(0.1, clip=0), "clip=0"),
        (lambda: optim.adamw(0.1, weight_decay=-1), "weight_decay=-1"),
        (lambda: optim.rmsprop(0.1, 1.5), "decay=1.5"),
        (lambda: optim.rmsprop(0.1, eps=np.nan), "eps=nan"),
        (lambda: optim.adagrad(0.1, initial=-1), "initial=-1"),
        (lambda: optim.adagrad(0.1, eps="small"), "eps='small'"),
        (lambda: optim.lbfgs(memory=0), "memory=0"),
        (lambda: optim.constant(-1), "learning_rate=-1"),
        (lambda: optim.step(0.1, 0), "every=0"),
        (lambda: optim.step(0.1, 5, 2.0), "factor=2.0"),
        (lambda: optim.cosine(0.1, 0), "steps=0"),
        (lambda: optim.cosine(0.1, 10, -1), "end=-1"),
        (lambda: optim.warmup(0.1, 0), "steps=0"),
        (lambda: optim.warmup(-0.1, 5), "learning_rate=-0.1"),
    ],
)
def test_options_out_of_range_are_named(create, message):
    with pytest.raises(OptionError, match=message):
        create()


def test_structures_that_do_not_fit_are_named():
    rule = RULES["adam"]
    state = rule.init(START)
    with pytest.raises(ParameterError, match="the gradient lacks b"):
        rule.update({"w": START["w"]}, state, START)
    with pytest.raises(ParameterError, match="the state's m has"):
        rule.update({"w": START["w"]}, state, {"w": START["w"]})
