"""Each reader, and the command, on bytes that a coverage-guided search finds."""

import os
import subprocess
import sys
from pathlib import Path

import harness
import pytest

HERE = Path(__file__).parent
SECONDS = 3


def corpus(target):
    return sorted((HERE / "corpus" / target).iterdir())


@pytest.mark.parametrize("target", harness.TARGETS)
def test_earlier_findings_are_harmless(target):
    run = harness.TARGETS[target]
    for data in [*harness.seeds(target), *(path.read_bytes() for path in corpus(target))]:
        run(data)


@pytest.mark.slow
@pytest.mark.parametrize("target", harness.TARGETS)
def test_a_search_finds_nothing_harmful(target, tmp_path):
    pytest.importorskip("atheris", reason="atheris is not installed")
    for i, data in enumerate(harness.seeds(target)):
        (tmp_path / f"seed-{i}").write_bytes(data)
    command = [sys.executable, str(HERE / "harness.py"), target, str(tmp_path)]
    command += [str(HERE / "corpus" / target), f"-max_total_time={SECONDS}", "-rss_limit_mb=2048"]
    command += ["-timeout=20", f"-artifact_prefix={tmp_path}/found-"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "FUZZ_FOLDER": str(harness.FOLDER)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = {path.name: path.read_bytes() for path in tmp_path.glob("found-*")}
    assert run.returncode == 0, f"{found}\n{run.stderr[-5000:]}"
