"""Backends that need an optional package; their tests are skipped without it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from gradlab import BACKENDS

LIBRARIES = {"jax": "JAX", "torch": "PyTorch"}
"""Backends that need a package of the same name, with the name in messages."""

# Imported before any test: JAX draws from NumPy's global generator during its import.
for package in filter(find_spec, LIBRARIES):
    import_module(package)


def is_installed(backend: str) -> bool:
    return backend not in LIBRARIES or find_spec(backend) is not None


def unless_missing(
    backend: str, value: Any = None, name: str | None = None, marks: Iterable[Any] = ()
) -> Any:
    """Return the parameter of a test that needs a backend; by default, the backend's name."""
    missing = pytest.mark.skipif(
        not is_installed(backend), reason=f"{LIBRARIES.get(backend)} is not installed"
    )
    return pytest.param(
        backend if value is None else value, marks=[missing, *marks], id=name or backend
    )


def each_backend(names: Iterable[str] = BACKENDS) -> Any:
    """Run a test once for each backend, or for each of these."""
    return pytest.mark.parametrize("backend", [unless_missing(name) for name in names])


INSTALLED = [name for name in BACKENDS if is_installed(name)]
EXACT = [name for name in BACKENDS if not getattr(BACKENDS[name], "estimates", False)]
"""Backends that are not estimators."""
