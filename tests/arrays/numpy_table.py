"""Which functions of NumPy are differentiable: the table of ``docs/numpy.md``.

Print it with ``python tests/arrays/numpy_table.py``. A test compares the page with it, and fails if
NumPy has a function that this module does not list.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np
from autograd.core import JVPNode, VJPNode
from autograd.tracer import notrace_primitives, trace_primitives_map

from gradlab.arrays.boxes import LIBRARY
from gradlab.arrays.dispatch import COMPOSITES, WRITERS
from gradlab.arrays.traced import TracedArray

NAMESPACES = (np, np.linalg, np.fft)

MAKERS = """
    arange array asanyarray asarray ascontiguousarray asfortranarray bartlett blackman diag_indices
    empty empty_like eye fft.fftfreq fft.rfftfreq fromfunction fromiter full full_like hamming
    hanning identity indices mask_indices ones ones_like tri tril_indices triu_indices zeros
    zeros_like diag_indices_from tril_indices_from triu_indices_from
""".split()
"""Functions that make arrays; a traced value may be written into these."""

FLAT = """
    histogram histogram2d histogramdd linalg.matrix_rank nanargmax nanargmin
    ravel_multi_index unravel_index heaviside
""".split()
"""Functions whose derivative is 0 wherever it exists, in addition to those listed by autograd."""

INTEGERS = """
    bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor gcd invert lcm left_shift packbits right_shift unpackbits
""".split()

ABOUT = """
    array2string array_repr array_str base_repr binary_repr broadcast_shapes busday_count
    busday_offset can_cast common_type datetime_as_string datetime_data einsum_path
    format_float_positional format_float_scientific from_dlpack frombuffer fromfile fromregex
    fromstring genfromtxt get_include get_printoptions getbufsize geterr geterrcall info is_busday
    isdtype isfortran isnat isscalar issubdtype iterable iscomplexobj isrealobj load loadtxt
    may_share_memory min_scalar_type mintypecode ndim nested_iters printoptions promote_types
    result_type save savetxt savez savez_compressed set_printoptions setbufsize seterr seterrcall
    shape shares_memory show_config show_runtime size test typename
""".split()
"""Functions of shapes, dtypes, dates, texts, files and settings."""

REFUSED = {
    "asarray_chkfinite": "leave it out: a gradient that is not finite is an error",
    "asmatrix": "`np.atleast_2d`",
    "bmat": "`np.block`",
    "frexp": "`x / 2.0 ** (np.floor(np.log2(np.abs(x))) + 1)`",
    "kaiser": "`np.i0`; a constant argument is fine",
    "nextafter": "",
    "require": "leave it out",
    "spacing": "",
    "unique_all": "`np.unique`",
    "unique_counts": "`np.unique`",
    "unique_inverse": "`np.unique`",
    "histogram2d": "`np.histogram2d` of `gradlab.detach(x)`",
}
"""Functions that an error refuses for traced arrays, and what to write instead."""

GROUPS = {
    "elementwise": "Functions of single entries",
    "reductions": "Sums, products, averages",
    "missing": "Functions that ignore NaN",
    "sorting": "Sorting and order statistics",
    "statistics": "Covariances and counts",
    "joining": "Joining and splitting",
    "rearranging": "Rearrangement",
    "picking": "Selection",
    "writing": "Writing into arrays",
    "products": "Products",
    "calculus": "Differences, integrals, interpolation",
    "polynomials": "Polynomials and convolutions",
    "linalg": "Linear algebra",
    "fft": "Fourier transforms",
}
"""Subject of each file of `gradlab.arrays.composites`."""

_SUBJECTS = {
    "reductions": "sum max min amax amin cumsum apply_over_axes",
    "joining": """append concatenate concat dstack row_stack vstack split hsplit vsplit
        dsplit unstack""",
    "rearranging": """atleast_1d atleast_2d atleast_3d broadcast_to expand_dims moveaxis fliplr
        flipud permute_dims ravel reshape rollaxis squeeze swapaxes transpose resize ix_
        trim_zeros""",
    "picking": "extract frompyfunc tril triu where",
    "calculus": "trapezoid",
    "products": "dot inner matmul tensordot",
    "polynomials": "poly polyadd polyder polydiv polyint polysub",
    "sorting": """sort_complex union1d intersect1d setdiff1d setxor1d unique_values
        histogram_bin_edges""",
}
_SUBJECT_OF = {name: key for key, names in _SUBJECTS.items() for name in names.split()}


def functions() -> Iterator[tuple[str, Any]]:
    """Yield the names, below ``np.``, and the public functions of NumPy's namespaces for arrays."""
    for module in NAMESPACES:
        prefix = module.__name__.removeprefix("numpy").lstrip(".")
        for name in sorted(module.__all__):
            function = getattr(module, name)
            if callable(function) and not isinstance(function, type):
                yield f"{prefix}.{name}" if prefix else name, function


def kind_of(name: str, function: Any) -> str:
    """Classify a function by how it is evaluated on traced arrays.

    Returns
    -------
    str
        ``"differentiable"``, ``"flat"``, ``"integers"``, ``"makes"``, ``"about"``, ``"refused"`` or
        ``"unknown"``.

    Examples
    --------
    >>> kind_of("sin", np.sin), kind_of("floor", np.floor), kind_of("bmat", np.bmat)
    ('differentiable', 'flat', 'refused')
    """
    known = {"makes": MAKERS, "integers": INTEGERS, "about": ABOUT, "refused": REFUSED}
    for kind, names in known.items():
        if name in names:
            return kind
    if name in FLAT or _is_flat(function):
        return "flat"
    if function in WRITERS or name in ("row_stack", "frompyfunc") or _is_differentiable(function):
        return "differentiable"
    return "unknown"


def _is_flat(function: Any) -> bool:
    wrapper = trace_primitives_map.get(function)
    return all(wrapper in notrace_primitives[node] for node in (VJPNode, JVPNode))


def _is_differentiable(function: Any) -> bool:
    return isinstance(getattr(function, "__wrapped__", function), _FUNCTIONS) and LIBRARY.knows(
        function
    )


_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, np.ufunc)


def subject_of(name: str, function: Any) -> str:
    """Return the group of a differentiable function."""
    if name.startswith(("linalg.", "fft.")):
        return name.partition(".")[0]
    if function in WRITERS:
        return "writing"
    implementation = COMPOSITES.get(function, _is_flat)
    if implementation.__module__.startswith("gradlab.arrays.composites"):
        return implementation.__module__.rpartition(".")[2]
    return _SUBJECT_OF.get(name, "elementwise")


def methods() -> tuple[list[str], list[str]]:
    """Return the array methods and attributes that traced arrays support, and those they refuse."""
    public = [name for name in dir(np.ndarray) if not name.startswith("_")]
    own = {"shape", "dtype"}.union(dir(TracedArray)) - {"tolist", "tobytes"}
    has = [name for name in public if name in own]
    return has, [name for name in public if name not in has]


def table() -> str:
    """Return the tables of the page, in Markdown."""
    by_kind: dict[str, list[tuple[str, Any]]] = {}
    for name, function in functions():
        by_kind.setdefault(kind_of(name, function), []).append((name, function))
    lines = ["| differentiable | |", "| --- | --- |"]
    for key, title in GROUPS.items():
        found = [n for n, f in by_kind["differentiable"] if subject_of(n, f) == key]
        lines.append(f"| {title} | {_code(found)} |")
    has, refused = methods()
    lines.append(f"| Methods and attributes of arrays | {_code(has)} |")
    lines += ["", "| not differentiated | |", "| --- | --- |"]
    for kind, title in _TITLES.items():
        lines.append(f"| {title} | {_code([name for name, _ in by_kind[kind]])} |")
    lines += ["", "| refused | write instead |", "| --- | --- |"]
    lines += [f"| `{name}` | {_instead(text)} |" for name, text in sorted(REFUSED.items())]
    lines.append(f"| methods: {_code(refused)} | functions of NumPy |")
    return "\n".join(lines) + "\n"


_TITLES = {
    "flat": "Derivative 0 where it exists: steps, comparisons, positions",
    "integers": "Functions of integers",
    "makes": "Functions that make arrays; traced values may be written into these",
    "about": "Functions of shapes, dtypes, dates, text, files, settings",
}


def _code(names: list[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _instead(text: str) -> str:
    return text or 'no replacement: use `backend="central"`'


if __name__ == "__main__":
    print(table(), end="")
