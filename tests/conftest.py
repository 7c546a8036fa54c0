"""Fixtures for all tests: hypothesis profiles, checks of global state, the real data."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from gradlab import interrupts

# They have no doctests, and their common name would be imported only once.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]
# It has no doctests, and needs SciPy.
collect_ignore = ["gradients/slopes/solver_losses.py"]

os.environ.setdefault("MPLBACKEND", "Agg")
# A shell may start background jobs with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The time to draw examples depends on the load of the machine.
TIMELESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run, so that a failure elsewhere can be reproduced.
for profile, examples in (("default", 15), ("ci", 60)):
    settings.register_profile(
        profile, TIMELESS, derandomize=True, max_examples=examples, print_blob=True
    )
settings.register_profile("thorough", TIMELESS, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Disable the garbage collector while the 20,000 tests are collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def caches_are_the_tests_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the user's cache or reads files of other runs there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone() -> Iterator[None]:
    """No test draws from NumPy's global generator: everything random takes a seed."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    after = np.random.get_state()[1]  # noqa: NPY002
    assert np.array_equal(before, after), "the test drew from NumPy's global random state"


@pytest.fixture(autouse=True)
def signals_are_not_held_back() -> Iterator[None]:
    """No test leaves a Ctrl-C deferred or ignored."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert interrupts._state.depth == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real inputs: ``mnist/`` and ``mnist_weight.pkl``."""
    folder = os.environ.get("GRADLAB_DATA")
    if not folder:
        pytest.skip("GRADLAB_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def mnist_dir(data_dir: Path) -> Path:
    """Return the folder of MNIST's IDX files."""
    return data_dir / "mnist"
