"""`import gradlab` imports only what every user needs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

LATE = {"matplotlib", "rich", "typer", "pooch", "safetensors", "requests", "multiprocessing"}
LATE |= {"scipy", "jax", "torch", "numdifftools", "distributed", "IPython"}
LATE |= {"hypothesis", "pytest"}
"""What takes time to import, and is needed by some functions alone."""


def test_import_loads_only_modules_that_every_user_needs() -> None:
    code = "import sys, gradlab; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert not LATE & {*run.stdout.split()}
    assert run.stderr == ""


def test_import_loads_few_modules_of_other_packages() -> None:
    """The test counts modules, as seconds depend on the machine."""
    code = "import sys, autograd.numpy; before = {*sys.modules}; import gradlab; "
    code += "print(*{*sys.modules} - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    brought = [name for name in run.stdout.split() if name.partition(".")[0] != "gradlab"]
    assert 0 < len(brought) < 80


def test_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert metadata.version("gradlab") == project["project"]["version"]
