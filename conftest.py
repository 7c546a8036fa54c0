"""The doctests of modules that need an optional package are skipped where it is missing."""

from importlib.util import find_spec

import pytest

NEEDED = {"gradlab.gradients.jax": ("jax", "JAX"), "gradlab.gradients.torch": ("torch", "PyTorch")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        for module, (package, name) in NEEDED.items():
            if item.name.startswith(f"{module}.") and find_spec(package) is None:
                item.add_marker(pytest.mark.skip(reason=f"{name} is not installed"))


# Modules that import a library at once have no doctests where it is missing.
collect_ignore = [
    path
    for library, traced in (("jax", "jax_arrays.py"), ("torch", "torch_arrays"))
    for path in (f"gradlab/arrays/{traced}", f"gradlab/interop/{library}.py")
    if find_spec(library) is None
]
if find_spec("scipy") is None:
    collect_ignore.append("gradlab/arrays/rules/special.py")
