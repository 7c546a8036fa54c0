"""A sample of runs that are stopped at random moments; see `stopped.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNTS = {"gradient": 8, "train": 4, "compare": 2, "bench": 4}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("kind", COUNTS)
def test_stopped_runs_lose_nothing_and_leave_nothing_behind(kind):
    script = Path(__file__).parents[1] / "stopped.py"
    command = [sys.executable, str(script), kind, "0", str(COUNTS[kind])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["ways"].values()) == COUNTS[kind]
