"""Random sequences of operations: stopping and resuming a trainer, using a tape's cache."""

import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gradlab import Autograd, CentralDifference, Tape, checkpoints, fit, network
from gradlab.errors import CheckpointWarning, OptionError

# The trainer

X = np.random.default_rng(0).normal(size=(20, 3))
LABELS = np.random.default_rng(1).integers(2, size=20)
START = network.init((3, 4, 2), 0)
BACKENDS = {
    "autograd": Autograd(),
    "tape": Tape(exact=True),
    "central": CentralDifference(),
}
STEPS, A_PASS, SIZE, RATE, MOMENTUM = 12, 3, 7, 0.1, 0.5


class StoppedError(Exception):
    pass


def reference(backends):
    """Return parameters and losses after steps with these backends, by the trainer's formula."""
    rng = np.random.default_rng(0)
    params, velocity = START, {name: np.zeros_like(leaf) for name, leaf in START.items()}
    losses = []
    for step, backend in enumerate(backends):
        if step % A_PASS == 0:
            order = rng.permutation(len(X))
        rows = order[step % A_PASS * SIZE :][:SIZE]
        f = BACKENDS[backend].value_and_grad(network.loss)
        value, grads = f(params, X[rows], LABELS[rows])
        velocity = {name: MOMENTUM * v + grads[name] for name, v in velocity.items()}
        params = {name: p - RATE * velocity[name] for name, p in params.items()}
        losses.append(value)
    return {name: leaf.tobytes() for name, leaf in params.items()}, losses


class Training(RuleBasedStateMachine):
    """A training that is started, stopped, resumed, damaged, and passed to another backend."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name, "checkpoint")
        self.backend = "autograd"
        self.taken = []  # the backend of each step that is in the checkpoint
        self.damaged = False

    def train(self, end=None, how="error", every=None, resume=True):
        """Continue to a step, and stop there; return the outcome if there is one."""
        seen = []

        def callback(step):
            seen.append(step.iteration)
            if step.iteration == end:
                if how == "pause":
                    return True
                raise {"error": StoppedError, "ctrl-c": KeyboardInterrupt}[how]
            return False

        options = {"backend": BACKENDS[self.backend], "checkpoint_every": every, "resume": resume}
        options |= {"learning_rate": RATE, "momentum": MOMENTUM, "batch_size": SIZE, "epochs": 4}
        result = None
        with suppress(StoppedError):
            result = fit(
                network.loss,
                START,
                (X, LABELS),
                checkpoint=self.path,
                callbacks=[callback],
                **options,
            )
        first = seen[0] if seen else STEPS
        # A damaged checkpoint loses steps; nothing else does.
        assert first <= len(self.taken) if self.damaged else first == len(self.taken)
        self.damaged = False
        kept = len(seen) - (end in seen and how != "pause")
        self.taken = self.taken[:first] + [self.backend] * kept
        return result

    @rule(
        count=st.integers(0, 5),
        how=st.sampled_from(["error", "pause", "ctrl-c"]),
        every=st.sampled_from([None, 1, 2, 100]),
    )
    @precondition(lambda self: not self.damaged)
    def go_on(self, count, how, every):
        self.train(len(self.taken) + count, how, every)

    @rule(backend=st.sampled_from([*BACKENDS]))
    @precondition(lambda self: not self.damaged)
    def change_backend(self, backend):
        if backend == self.backend:
            return
        there, self.backend = self.path.exists(), backend
        if there:
            with pytest.raises(OptionError, match="backend was"):
                self.train()
            self.train(len(self.taken), resume="another backend")

    @rule(data=st.data())
    @precondition(lambda self: not self.damaged and checkpoints.previous(self.path).exists())
    def damage(self, data):
        content = bytearray(self.path.read_bytes())
        content[data.draw(st.integers(30, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        self.path.write_bytes(content)
        self.damaged = True
        # The previous one may be of another backend; the warning comes first.
        with pytest.warns(CheckpointWarning, match="continuing from the previous one"):
            self.train(0, resume="another backend")

    def teardown(self):
        with self.folder:
            result = self.train()
            bits, losses = reference(self.taken)
            assert len(self.taken) == STEPS
            assert {name: leaf.tobytes() for name, leaf in result.params.items()} == bits
            assert result.history.losses == losses


TestTraining = Training.TestCase
TestTraining.settings = settings(max_examples=10, stateful_step_count=8, deadline=None)


# The tape's cache


def loss(params, x, power=2, scale=1.0):
    weights, shift = params["layer"] if isinstance(params, dict) else params
    return scale * (np.tanh(x @ weights + shift) ** power).mean()


structures = st.sampled_from([dict, tuple, list])
shapes = st.tuples(st.integers(1, 4), st.integers(1, 3))
dtypes = st.sampled_from([np.float32, np.float64])


def drawn(seed, structure, shape, dtype):
    rng = np.random.default_rng(seed)
    d, n = shape
    params = [rng.normal(size=d).astype(dtype), rng.normal(size=()).astype(dtype)]
    x = rng.normal(size=(n, d)).astype(dtype)
    return ({"layer": params} if structure is dict else structure(params)), x


def leaves(grads):
    weights, shift = grads["layer"] if isinstance(grads, dict) else grads
    return [weights, shift]


def agree(found, wanted):
    """Return whether a gradient is eager autograd's, except for some units in the last place."""
    for leaf, right in zip(leaves(found), leaves(wanted), strict=True):
        assert np.shape(leaf) == np.shape(right)
        assert np.asarray(leaf).dtype == np.asarray(right).dtype
        bound = 64 * np.finfo(np.asarray(right).dtype).eps
        np.testing.assert_allclose(leaf, right, rtol=0, atol=bound * (1 + np.max(np.abs(right))))


class Cache(RuleBasedStateMachine):
    """One tape of a loss, called with structures, shapes and dtypes in any order, by any thread."""

    def __init__(self):
        super().__init__()
        self.size = 3
        self.f = Tape(cache=self.size).value_and_grad(loss)
        self.given = []

    def check(self, seed, *kind, power=2, scale=1.0):
        params, x = drawn(seed, *kind)
        _, wanted = Autograd().value_and_grad(loss)(params, x, power, scale)
        _, grads = self.f(params, x, power, scale)
        agree(grads, wanted)
        return grads

    @rule(
        seed=st.integers(0, 99),
        structure=structures,
        shape=shapes,
        dtype=dtypes,
        power=st.integers(1, 3),
        scale=st.sampled_from([1.0, -2.0]),
    )
    def call(self, seed, structure, shape, dtype, power, scale):
        grads = self.check(seed, structure, shape, dtype, power=power, scale=scale)
        self.given.append((grads, [np.copy(leaf) for leaf in leaves(grads)]))
        del self.given[:-5]

    @rule(kinds=st.lists(st.tuples(structures, shapes, dtypes), min_size=2, max_size=4))
    def call_from_threads(self, kinds):
        failures = []

        def run(i, kind):
            try:
                for seed in range(3):
                    self.check(10 * i + seed, *kind)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=pair) for pair in enumerate(kinds)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    @invariant()
    def what_was_given_is_not_written_into(self):
        for grads, kept in self.given:
            for leaf, copy in zip(leaves(grads), kept, strict=True):
                np.testing.assert_array_equal(leaf, copy)

    @invariant()
    def the_cache_is_no_larger_than_it_may_be(self):
        assert self.f.cache_info.size <= self.size


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestCache = pytest.mark.filterwarnings("ignore:the tape cannot replay this loss")(TestCache)
