"""The environment of a measurement, to be stored with its results."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("gradlab", "numpy", "autograd", "scipy", "jax", "torch")


def describe() -> dict[str, str | int]:
    """Return the versions of Python and the numerical packages, the system and its cores.

    Examples
    --------
    >>> described = describe()
    >>> described["python"] == platform.python_version(), "numpy" in described
    (True, True)
    """
    described: dict[str, str | int] = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
    }
    for package in PACKAGES:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            continue
    return described
