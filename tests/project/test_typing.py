"""A typed program that uses gradlab passes Pyright's strict checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).parents[1] / "typed_client.py"


def errors_in(folder: Path, source: str) -> list[str]:
    """Return the errors of Pyright's strict checks for a program in a separate folder.

    basedpyright is Pyright with its own Node.js; "strict" means the same rules in both.
    """
    pytest.importorskip("basedpyright", reason="basedpyright is not installed")
    (folder / "client.py").write_text(source, encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(folder)]
    run = subprocess.run(
        [*command, "--pythonpath", sys.executable], capture_output=True, text=True, check=False
    )
    report: dict[str, Any] = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return [
        f"{found['range']['start']['line'] + 1}: {found['message']}"
        for found in report["generalDiagnostics"]
    ]


@pytest.mark.slow
def test_a_typed_program_is_clean(tmp_path):
    assert errors_in(tmp_path, CLIENT.read_text(encoding="utf-8")) == []


@pytest.mark.slow
def test_a_wrong_program_is_refused(tmp_path):
    source = CLIENT.read_text(encoding="utf-8")
    wrong = source.replace("step=1e-4, workers=2", "stepp=1e-4, workers=2")
    wrong = wrong.replace('mode="entries"', 'mode="all"')
    found = errors_in(tmp_path, wrong)
    assert len(found) == 2
    assert "stepp" in found[1] or "stepp" in found[0]
