"""The result of an uninterrupted training, and an undamaged checkpoint."""

import pytest
from resumable import crash, outcome, train

from gradlab import checkpoints


@pytest.fixture(scope="module")
def undisturbed():
    return outcome(train())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return the bytes of a checkpoint of step 12, and of the previous one."""
    path = tmp_path_factory.mktemp("sound") / "checkpoint"
    crash(path, 12)
    return path.read_bytes(), checkpoints.previous(path).read_bytes()
