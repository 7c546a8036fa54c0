"""Threads, packages and versions: the environment of a measurement."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from gradlab import environment


def limit_threads(count: int) -> None:
    """Limit each numerical library to `count` threads; call it before PyTorch or JAX is imported.

    NumPy's BLAS is already loaded, so only threadpoolctl can limit it. Without threadpoolctl,
    `threads` does not report BLAS.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)  # PyTorch
    os.environ["NPROC"] = str(count)  # XLA
    if pools := _threadpoolctl():
        pools.threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def clock_for(count: int) -> tuple[Callable[[], float], str]:
    """Return the clock for libraries with `count` threads, and the name of what it measures.

    CPU time excludes the work of other processes, but adds up the threads of this one. So it is
    the clock for one thread only.

    Examples
    --------
    >>> clock_for(1)[1], clock_for(2)[1]
    ('CPU time', 'wall time')
    """
    return (time.process_time, "CPU time") if count == 1 else (time.perf_counter, "wall time")


def threads() -> dict[str, int]:
    """Return the number of threads of each numerical library, if it can be found.

    Call it after the libraries were used, because a pool is found only once it is loaded.
    """
    counts: dict[str, int] = {}
    if pools := _threadpoolctl():
        for pool in pools.threadpool_info():
            name = pool["internal_api"]
            counts[name] = max(counts.get(name, 0), pool["num_threads"])
    if torch := sys.modules.get("torch"):
        counts["torch"] = torch.get_num_threads()
    if "jax" in sys.modules and os.environ.get("NPROC"):
        counts["jax"] = int(os.environ["NPROC"])
    return counts


def _threadpoolctl() -> Any:
    try:
        return import_module("threadpoolctl")
    except ImportError:
        return None


def jax_in_float64(enabled: bool = True) -> Any:
    """Return a context in which JAX computes in float64, or does not."""
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(enabled)
    from jax.experimental import enable_x64

    return enable_x64(enabled)


def is_installed(module: str) -> bool:
    """Return whether a module can be imported."""
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def missing(modules: Mapping[str, str]) -> dict[str, str]:
    """Return the peers that are not installed, and how to install each.

    Parameters
    ----------
    modules : mapping of str to str
        The module that each peer needs, by the peer's name.

    Examples
    --------
    >>> missing({"NumPy": "numpy", "Magic": "magic"})
    {'Magic': 'pip install magic'}
    """
    return {
        name: f"pip install {INSTALLED_BY.get(module, module)}"
        for name, module in modules.items()
        if not is_installed(module)
    }


INSTALLED_BY = {"torch": "'gradlab[torch]'", "jax": "'gradlab[jax]'", "sklearn": "scikit-learn"}


def missing_notes(absent: Mapping[str, str]) -> str:
    """Write a line for each peer that is not installed."""
    return "".join(f"{name} is not installed: {remedy}\n" for name, remedy in absent.items())


def describe() -> dict[str, Any]:
    """Return versions, system, cores and threads."""
    return {**environment.describe(), "threads": threads()}


def environment_line(described: Mapping[str, Any]) -> str:
    """Write an environment in one line.

    Examples
    --------
    >>> environment_line({"python": "3.12.1", "system": "Linux", "machine": "x86_64", "cores": 2,
    ...                   "numpy": "2.4.6", "threads": {"openblas": 2}})
    'numpy 2.4.6; Python 3.12.1, Linux x86_64, 2 cores; threads: openblas 2'
    """
    aside = ("python", "system", "machine", "cores", "threads")
    packages = ", ".join(f"{k} {v}" for k, v in described.items() if k not in aside)
    pools = described["threads"]
    counts = ", ".join(f"{name} {count}" for name, count in sorted(pools.items()))
    if "openblas" not in pools and "mkl" not in pools:
        counts += f"{', ' if counts else ''}BLAS not known (pip install threadpoolctl)"
    return (
        f"{packages}; Python {described['python']}, {described['system']} {described['machine']}, "
        f"{described['cores']} cores; threads: {counts}"
    )
