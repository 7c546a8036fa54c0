"""Fourier transforms, which are linear, for even and odd lengths."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import autograd.numpy.fft as afft
import numpy as np
from autograd.core import defjvp

from gradlab.arrays.rules.shared import concatenate

for _name in """
    fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn fftshift ifftshift
""".split():
    defjvp(getattr(afft, _name), "same")


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the first half of the transform of real entries."""
    n = anp.shape(a)[axis] if n is None else n
    return anp.swapaxes(
        anp.swapaxes(afft.fft(a, n, axis, norm), axis, -1)[..., : n // 2 + 1], axis, -1
    )


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the real entries whose transform begins with these."""
    half = anp.swapaxes(a, axis, -1) + 0j
    n = 2 * (anp.shape(half)[-1] - 1) if n is None else n
    kept = n // 2 + 1
    if anp.shape(half)[-1] < kept:
        missing = kept - anp.shape(half)[-1]
        half = concatenate([half, np.zeros((*anp.shape(half)[:-1], missing))], -1)
    half = half[..., :kept]
    first = anp.real(half[..., :1]) + 0j
    inner = half[..., 1 : (n + 1) // 2]
    middle = [anp.real(half[..., n // 2 : kept]) + 0j] if n % 2 == 0 and n > 1 else []
    full = concatenate([first, inner, *middle, anp.conj(inner[..., ::-1])], -1)
    return anp.swapaxes(anp.real(afft.ifft(full, n, -1, norm)), axis, -1)


def rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the transform of real entries along several axes, the last one halved."""
    axes = tuple(range(anp.ndim(a))) if axes is None and s is None else axes
    axes = tuple(range(-len(s), 0)) if axes is None else tuple(axes)
    s = [anp.shape(a)[i] for i in axes] if s is None else s
    result = rfft(a, s[-1], axes[-1], norm)
    return afft.fftn(result, s[:-1], axes[:-1], norm) if len(axes) > 1 else result


def irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the inverse of `rfftn`."""
    axes = tuple(range(anp.ndim(a))) if axes is None and s is None else axes
    axes = tuple(range(-len(s), 0)) if axes is None else tuple(axes)
    if s is None:
        s = [anp.shape(a)[i] for i in axes]
        s[-1] = 2 * (s[-1] - 1)
    result = afft.ifftn(a, s[:-1], axes[:-1], norm) if len(axes) > 1 else a
    return irfft(result, s[-1], axes[-1], norm)
