"""Complex parameters and outputs: derivatives by real and imaginary parts.

A function of z = x + iy is measured as a real function of x and y. Its claimed derivative is first
converted to derivatives by x and y. Libraries have two conventions for it. For a real loss L, or a
real part of the outputs, the claimed gradient g means::

    jax     g = ∂L/∂x − i ∂L/∂y      dL = Re(g dz)        cotangents: Re(u df)
    torch   g = ∂L/∂x + i ∂L/∂y      dL = Re(conj(g) dz)  cotangents: Re(conj(u) df)

(JAX, *The Autodiff Cookbook*, "Complex numbers and differentiation"; PyTorch, *Autograd mechanics*,
"Autograd for Complex Numbers"). A JVP needs no convention. Neither does the Jacobian
of a complex output by a complex parameter, df = J dz, which exists only for holomorphic functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from gradlab.checking.matrices import joined, matrix_blocks
from gradlab.checking.result import Leaf
from gradlab.errors import OptionError, ParameterError
from gradlab.layout import Layout
from gradlab.params import BARE, Array, entry, first, flatten, read

Convention: TypeAlias = Literal["jax", "torch"]

PARTS = ("real", "imag")

OTHER_CONVENTION = {
    "jax": "PyTorch's convention, ∂L/∂x + i ∂L/∂y",
    "torch": "JAX's convention, ∂L/∂x − i ∂L/∂y",
}
"""Maps the requested convention to the name of the other one, whose values are conjugated."""


class ComplexParts:
    """A structure whose complex arrays are split into real and imaginary parts.

    Errors call a bare array `bare`.

    Examples
    --------
    >>> split = ComplexParts({"z": np.array([1 + 2j]), "x": np.array([3.0])})
    >>> split.parts({"z": np.array([1 + 2j]), "x": np.array([3.0])})
    {'z': {'real': array([1.]), 'imag': array([2.])}, 'x': array([3.])}
    >>> split.whole({"z": {"real": np.zeros(1), "imag": np.ones(1)}, "x": np.zeros(1)})
    {'z': array([0.+1.j]), 'x': array([0.])}
    """

    def __init__(self, value: Any, bare: str = BARE) -> None:
        leaves, self.structure = flatten(value, _numbers)
        self.complex = [leaf.dtype.kind == "c" for leaf in leaves]
        self.layout = Layout.of(leaves, self.structure)
        self._bare = bare if any(self.complex) and self.structure.template == 0 else ""

    def parts(self, value: Any, sign: int = 1) -> Any:
        """Return real arrays; the imaginary parts are multiplied by `sign`."""
        leaves, structure = flatten(value, _numbers)
        found = dict(zip(structure.paths, leaves, strict=True))
        if found.keys() != {*self.structure.paths}:  # a later check reports wrong paths
            return value
        nodes: list[Any] = []
        for path, split in zip(self.structure.paths, self.complex, strict=True):
            leaf = found[path]  # a dict may have its keys in another order
            if split:
                parts = [leaf.real.copy(), sign * leaf.imag]
                nodes.append(dict(zip(PARTS, parts, strict=True)))
            else:
                nodes.append(_real(leaf, path))
        whole = self.structure.unflatten(nodes)
        return {self._bare: whole} if self._bare else whole

    def whole(self, parts: Any, sign: int = 1) -> Any:
        """Return the complex arrays with these parts."""
        leaves = iter(flatten(parts, lambda leaf, path: np.asarray(leaf))[0])
        whole = [
            _joined(next(leaves), sign * next(leaves)) if split else next(leaves)
            for split in self.complex
        ]
        return self.structure.unflatten(whole)


def _joined(real: Array, imag: Array) -> Array:
    kind = np.complex64 if real.dtype.itemsize <= 4 and real.dtype.kind == "f" else np.complex128
    joined = np.empty(real.shape, kind)
    joined.real, joined.imag = real, imag
    return joined


def _numbers(value: Any, path: str) -> Array:
    return read(value, path, ParameterError)


def _real(leaf: Array, path: str) -> Array:
    """Return a derivative by a real parameter; raise unless it is real."""
    if leaf.dtype.kind != "c":
        return leaf
    if np.any(leaf.imag):
        index = first(leaf.imag != 0)
        raise ParameterError(
            f"{entry(path, index)} is {leaf[index]}, of a real parameter: take its real part"
        )
    return leaf.real


def has_complex(value: Any) -> bool:
    """Tell whether a structure holds a complex array."""
    return any(np.asarray(leaf).dtype.kind == "c" for leaf in flatten(value, _numbers)[0])


class Real:
    """A function of complex arrays as a function of their parts, with its claims.

    `outputs` are those at `params`; the convention is that of a claimed gradient.
    """

    def __init__(
        self, f: Callable[..., Any], params: Any, outputs: Any, convention: Convention | None
    ) -> None:
        self._f = f
        self._inputs, self._outputs = ComplexParts(params), ComplexParts(outputs, "output")
        self._given = convention
        self.params = self._inputs.parts(params)

    def function(self, parts: Any, *args: Any) -> Any:
        """Return the parts of the outputs."""
        return self._outputs.parts(self._f(self._inputs.whole(parts), *args))

    def loss(self, parts: Any, *args: Any) -> Any:
        """Return the value of a real loss unchanged."""
        return self._f(self._inputs.whole(parts), *args)

    def claim(self, kind: str, given: Any) -> Any:
        """Return the claim about `function`; a "gradient" is that of a real loss.

        Raise an OptionError if the claim depends on a convention, and none was given.
        """
        if kind in ("hessian", "hvp"):
            raise OptionError(
                f"{kind} of complex parameters: it has no convention that JAX and PyTorch share; "
                "give the real and imaginary parts as real parameters"
            )
        if kind == "jvp":
            return lambda parts, *args: self._outputs.parts(
                given(self._inputs.whole(parts), *args[:-1], self._inputs.whole(args[-1]))
            )
        sign = self._sign(kind)
        if kind == "vjp":
            return lambda parts, *args: self._inputs.parts(
                given(self._inputs.whole(parts), *args[:-1], self._outputs.whole(args[-1], sign)),
                sign,
            )
        if isinstance(given, str) or callable(getattr(given, "value_and_grad", None)):
            raise OptionError(
                f"{kind}={getattr(given, 'name', given)!r}: backends take real parameters; give "
                f"the {kind} as a function or as arrays"
            )
        in_parts = self._inputs.parts if kind == "gradient" else self._matrix
        if callable(given):
            return lambda parts, *args: in_parts(given(self._inputs.whole(parts), *args), sign)
        return in_parts(given, sign)

    def _sign(self, kind: str) -> int:
        """Return the sign of i ∂L/∂y in the convention of a claimed gradient."""
        holomorphic = kind == "jacobian" and (
            all(self._outputs.complex) or not any(self._inputs.complex)
        )
        if self._given is None and not holomorphic:
            raise OptionError(
                f"the {kind} is complex: say convention='jax', where a gradient is "
                "∂L/∂x - i ∂L/∂y, or convention='torch', where it is ∂L/∂x + i ∂L/∂y"
            )
        if self._given not in ("jax", "torch", None):
            raise OptionError(f"convention={self._given!r}: choose jax or torch")
        return -1 if self._given == "jax" else 1

    def _matrix(self, given: Any, sign: int) -> Array:
        """Return the real Jacobian (q, p) of the parts for a complex Jacobian."""
        outputs, inputs = self._outputs, self._inputs
        blocks = matrix_blocks("jacobian", given, outputs.layout, inputs.layout, _numbers)
        rows: list[list[Array]] = []
        for row, split in zip(blocks, outputs.complex, strict=True):
            real: list[Array] = []
            imag: list[Array] = []
            for block, by in zip(row, inputs.complex, strict=True):
                if by and split:
                    real += [block.real, -block.imag]
                    imag += [block.imag, block.real]
                else:
                    real += [block.real, sign * block.imag] if by else [block.real]
                    imag += [block.imag]
            rows += [real, imag] if split else [real]
        return joined(rows)


def conjugated(leaves: Sequence[Leaf], convention: str | None) -> str:
    """Return a cause if only the sign of the imaginary parts is wrong."""
    wrong = [leaf for leaf in leaves if leaf.verdict == "mismatch"]
    if not wrong or convention not in OTHER_CONVENTION:
        return ""
    if all(leaf.path.endswith(".imag") and leaf.cause == "the wrong sign" for leaf in wrong):
        return f"conjugated: this is {OTHER_CONVENTION[convention]}"
    return ""
