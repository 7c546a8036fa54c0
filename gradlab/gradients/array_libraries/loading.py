"""The package of an array library."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from gradlab.errors import MissingDependencyError


def require(package: str, name: str) -> None:
    """Raise an error that names the extra, if a package is not installed."""
    if find_spec(package) is None:
        raise MissingDependencyError(
            f'the backend {package} needs {name}: pip install "gradlab[{package}]"'
        )


def load(package: str, name: str) -> Any:
    """Import a package."""
    require(package, name)
    return import_module(package)
