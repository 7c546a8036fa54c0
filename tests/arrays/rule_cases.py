"""Functions with derivative rules, where they are differentiated, and their references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from decompositions import mp_cholesky, mp_eigh, mp_qr, mp_svd


@dataclass(frozen=True)
class Case:
    """A function of some real arrays, and its derivative computed without the rules."""

    name: str
    function: Callable[..., Any]
    params: tuple[np.ndarray, ...]
    kind: str = "analytic"
    twin: Callable[..., Any] | None = None
    roundings: float = 256
    """Bound of a gradient's error, in units of round-off of its largest entry."""
    twice: bool = True
    """Whether reverse mode of reverse mode is tested, too."""

    @property
    def reference(self) -> Callable[..., Any]:
        return self.twin or self.function


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Return distinct entries in (-1.5, 1.5), away from 0 and from each other."""
    rng = np.random.default_rng((seed, *shape))
    n = int(np.prod(shape))
    entries = np.linspace(-1.5, 1.5, 2 * n)[1::2] + 0.2 / n
    return rng.permutation(entries).reshape(shape)


def regular(n: int, *, batch: tuple[int, ...] = (), columns: int | None = None) -> np.ndarray:
    """Return matrices whose condition number is below 30."""
    m = n if columns is None else columns
    a = np.eye(n, m) * np.arange(1.0, m + 1) + 0.4 * numbers(*batch, n, m)
    assert np.all(np.linalg.cond(a) < 30)
    return a


def positive_definite(n: int, batch: tuple[int, ...] = ()) -> np.ndarray:
    a = numbers(*batch, n, n)
    return a @ np.swapaxes(a, -1, -2) + np.diag(np.arange(1.0, n + 1))


def symmetric(x: Any) -> Any:
    return (x + np.swapaxes(x, -1, -2)) / 2


MASK = numbers(3, 4) > 0
OUTER = numbers(3, 1, seed=9) > 0

CASES = [
    # Choosing, repeating, converting
    Case("where", lambda x, y: np.where(MASK, x, y), (numbers(3, 4), numbers(3, 4, seed=1))),
    Case(
        "where, branches broadcast", lambda x, y: np.where(MASK, x, y), (numbers(4), numbers(3, 1))
    ),
    Case("where, a number", lambda x, y: np.where(MASK, x, y), (numbers(), numbers(3, 4))),
    Case(
        "where, condition broadcast",
        lambda x, y: np.where(OUTER, x, y),
        (numbers(4), numbers(4, seed=2)),
    ),
    Case("broadcast_to", lambda x: np.broadcast_to(x, (2, 3, 4)), (numbers(3, 1),)),
    Case("cbrt", np.cbrt, (np.abs(numbers(4)),), twin=lambda x: x ** (1 / 3)),
    Case("cbrt, negative", np.cbrt, (-np.abs(numbers(4)),), twin=lambda x: -((-x) ** (1 / 3))),
    Case("hypot", np.hypot, (numbers(3, 4), numbers(4)), twin=lambda x, y: np.sqrt(x * x + y * y)),
    Case("astype", lambda x: np.astype(x, np.complex128) * (1 + 2j), (numbers(3),), "polynomial"),
    Case("x.astype", lambda x: x.astype(np.complex128) * 1j, (numbers(3),), "polynomial"),
    # Entries and writing
    Case("x[i], repeated", lambda x: x[[0, 2, 2, 0, 0]], (numbers(3),)),
    Case("x[i, j]", lambda x: x[[0, 1, 1], [2, 0, 0]], (numbers(3, 4),)),
    Case("x[slice, i]", lambda x: x[1:, [0, 0, 3]], (numbers(3, 4),)),
    Case("x[None, mask]", lambda x: x[None, MASK], (numbers(3, 4),)),
    # Joining and rearranging
    Case("concatenate", lambda x, y: np.concatenate([x, y, x], 1), (numbers(2, 2), numbers(2, 3))),
    Case(
        "concatenate, flat", lambda x, y: np.concatenate([x, y], None), (numbers(2, 2), numbers(3))
    ),
    Case(
        "concatenate, complex and real",
        lambda x, y: np.concatenate([x, 1j * y]),
        (numbers(2), numbers(3)),
        "polynomial",
    ),
    Case("tile", lambda x: np.tile(x, (2, 3)), (numbers(3),)),
    Case("tile, fewer counts", lambda x: np.tile(x, 2), (numbers(2, 3),)),
    Case("roll", lambda x: np.roll(x, 2), (numbers(2, 3),)),
    Case("roll, axes", lambda x: np.roll(x, (1, -2), (0, 1)), (numbers(3, 4),)),
    Case("repeat", lambda x: np.repeat(x, 3), (numbers(2, 3),)),
    Case("repeat, counts", lambda x: np.repeat(x, [2, 0, 1], axis=1), (numbers(2, 3),)),
    *[Case(f"rot90 {k}", lambda x, k=k: np.rot90(x, k), (numbers(2, 3),)) for k in range(-1, 5)],
    Case("rot90, axes", lambda x: np.rot90(x, 1, (2, 1)), (numbers(2, 3, 2),)),
    Case("transpose, from the back", lambda x: np.transpose(x, (-1, 0, -2)), (numbers(2, 3, 4),)),
    Case("sort", np.sort, (numbers(3, 4),)),
    Case("sort, flat", lambda x: np.sort(x, axis=None), (numbers(3, 4),)),
    Case("sort, first axis", lambda x: np.sort(x, axis=0), (numbers(3, 4),)),
    # Products and points
    Case("prod", np.prod, (numbers(5),)),
    Case("prod, a zero", np.prod, (np.array([2.0, 0.0, 3.0, -1.0]),)),
    Case("prod, zeros", np.prod, (np.array([2.0, 0.0, 3.0, 0.0]),)),
    Case("prod, axis", lambda x: np.prod(x, axis=0, keepdims=True), (numbers(3, 4),)),
    Case("prod, axes", lambda x: np.prod(x, axis=(0, 2)), (numbers(2, 3, 2),)),
    Case("sinc", np.sinc, (numbers(4),)),
    Case("linspace", lambda a, b: np.linspace(a, b, 7), (numbers(), numbers(seed=1) + 1)),
    Case(
        "linspace, open",
        lambda a, b: np.linspace(a, b, 4, endpoint=False),
        (numbers(2), numbers(3, 1)),
    ),
    Case(
        "linspace, axis",
        lambda a, b: np.linspace(a, b, 4, axis=-1),
        (numbers(2), numbers(2, seed=1)),
    ),
    Case("linspace, one", lambda a, b: np.linspace(a, b, 1), (numbers(2), numbers(2, seed=1))),
    # einsum
    Case("einsum", lambda a, b: np.einsum("ij,jk->ik", a, b), (numbers(2, 3), numbers(3, 4))),
    Case("einsum, implicit", lambda a, b: np.einsum("ji,jk", a, b), (numbers(2, 3), numbers(2, 4))),
    Case(
        "einsum, lone subscript",
        lambda a, b: np.einsum("ij,k->k", a, b),
        (numbers(2, 3), numbers(4)),
    ),
    Case("einsum, diagonal", lambda a: np.einsum("ii->i", a), (numbers(3, 3),)),
    Case("einsum, trace", lambda a: np.einsum("ii", a), (numbers(3, 3),)),
    Case("einsum, three times", lambda a: np.einsum("iii->i", a), (numbers(2, 2, 2),)),
    Case(
        "einsum, repeated beside another",
        lambda a, b: np.einsum("iji,ik->jk", a, b),
        (numbers(2, 3, 2), numbers(2, 3)),
    ),
    Case(
        "einsum, broadcast",
        lambda a, b: np.einsum("ij,ij->ij", a, b),
        (numbers(1, 3), numbers(2, 3)),
    ),
    Case(
        "einsum, broadcast and summed",
        lambda a, b: np.einsum("ij,ij->j", a, b),
        (numbers(1, 3), numbers(2, 1)),
    ),
    Case(
        "einsum, all of length 1",
        lambda a, b: np.einsum("ij,ij->j", a, b),
        (numbers(1, 3), numbers(1, 3, seed=1)),
    ),
    Case(
        "einsum, ellipsis",
        lambda a, b: np.einsum("...ij,...jk->...ik", a, b),
        (numbers(2, 2, 3), numbers(3, 2)),
    ),
    Case(
        "einsum, ellipsis broadcast",
        lambda a, b: np.einsum("...i,...i->...", a, b),
        (numbers(2, 1, 3), numbers(4, 3)),
    ),
    Case(
        "einsum, ellipsis summed",
        lambda a, b: np.einsum("i...,i...", a, b),
        (numbers(2, 3), numbers(2, 1)),
    ),
    Case(
        "einsum, lists",
        lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [0, 2]),
        (numbers(2, 3), numbers(3, 2)),
    ),
    Case(
        "einsum, three operands",
        lambda a, b, c: np.einsum("ij,jk,kl->il", a, b, c, optimize=True),
        (numbers(2, 2), numbers(2, 3), numbers(3, 2)),
    ),
    Case("einsum, one twice", lambda a: np.einsum("ij,ij->i", a, a), (numbers(2, 3),)),
    Case(
        "einsum, complex",
        lambda a, b, c: np.einsum("ij,jk->k", a + 1j * b, c),
        (numbers(2, 3), numbers(2, 3, seed=1), numbers(3, 2)),
        "polynomial",
    ),
    Case(
        "einsum, complex diagonal",
        lambda a, b, c: np.einsum("ii,i->i", a + 1j * b, c * 1j),
        (numbers(2, 2), numbers(2, 2, seed=1), numbers(2)),
        "polynomial",
    ),
    # Linear algebra
    *[
        Case(name, np.linalg.solve, params, roundings=4096)
        for name, params in {
            "solve": (regular(3), numbers(3, 2)),
            "solve, vector": (regular(3), numbers(3)),
            "solve, batch": (regular(2, batch=(3,)), numbers(3, 2, 2)),
            "solve, one matrix": (regular(2), numbers(3, 2, 2)),
            "solve, one right side": (regular(2, batch=(3,)), numbers(2, 1)),
            "solve, batch and vector": (regular(2, batch=(3,)), numbers(2)),
        }.items()
    ],
    Case("det", np.linalg.det, (regular(3),), "polynomial", roundings=4096),
    Case("det, batch", np.linalg.det, (regular(2, batch=(2, 2)),), "polynomial", roundings=4096),
    Case(
        "det, singular",
        np.linalg.det,
        (np.arange(1.0, 10.0).reshape(3, 3) % 7,),
        "polynomial",
        roundings=4096,
        twice=False,
    ),
    Case(
        "det, rank n - 1",
        np.linalg.det,
        (np.array([[1.0, 2.0], [2.0, 4.0]]),),
        "polynomial",
        roundings=4096,
        twice=False,
    ),
    Case(
        "det, zeros",
        np.linalg.det,
        (np.diag([1.0, 2.0, 0.0]),),
        "polynomial",
        roundings=4096,
        twice=False,
    ),
    Case(
        "det, rank n - 2",
        np.linalg.det,
        (np.diag([1.0, 0.0, 0.0]),),
        "polynomial",
        roundings=4096,
        twice=False,
    ),
    Case("det, one by one", np.linalg.det, (np.array([[2.0]]),), "polynomial"),
    Case(
        "slogdet",
        lambda a: np.linalg.slogdet(a)[1],
        (regular(3),),
        roundings=4096,
        twin=lambda a: np.log(np.linalg.det(a)),
    ),
    Case(
        "slogdet, negative",
        lambda a: np.linalg.slogdet(a)[1],
        (regular(3)[::-1].copy(),),
        roundings=4096,
        twin=lambda a: np.log(-np.linalg.det(a)),
    ),
    Case(
        "slogdet, batch",
        lambda a: np.linalg.slogdet(a).logabsdet,
        (regular(2, batch=(3,)),),
        roundings=4096,
        twin=lambda a: np.log(np.linalg.det(a)),
    ),
    Case("inv", np.linalg.inv, (regular(3),), roundings=4096),
    Case("inv, batch", np.linalg.inv, (regular(2, batch=(2,)),), roundings=4096),
    Case(
        "pinv, tall",
        np.linalg.pinv,
        (regular(4, columns=2),),
        roundings=4096,
        twin=lambda a: np.linalg.inv(a.T @ a) @ a.T,
    ),
    Case(
        "pinv, wide",
        np.linalg.pinv,
        (regular(4, columns=2).T.copy(),),
        roundings=4096,
        twin=lambda a: a.T @ np.linalg.inv(a @ a.T),
    ),
    Case("pinv, square", np.linalg.pinv, (regular(3),), roundings=4096, twin=np.linalg.inv),
    Case(
        "cholesky",
        lambda a: np.linalg.cholesky(symmetric(a)),
        (positive_definite(3),),
        "precise",
        mp_cholesky,
        roundings=4096,
    ),
    Case(
        "eigh",
        np.linalg.eigh,
        (np.diag([1.0, 2.5, 5.0]) + symmetric(numbers(3, 3)),),
        "precise",
        mp_eigh,
        roundings=4096,
    ),
    Case(
        "eigvalsh",
        np.linalg.eigvalsh,
        (np.diag([1.0, 2.5, 5.0]) + symmetric(numbers(3, 3)),),
        "precise",
        lambda a, like: (mp_eigh(a, np.linalg.eigh(np.diag([1.0, 2.5, 5.0])))[0],),
        roundings=4096,
    ),
    *[
        Case(
            f"svd, {name}",
            lambda a: tuple(np.linalg.svd(a, full_matrices=False)),
            (a,),
            "precise",
            mp_svd,
            roundings=16384,
        )
        for name, a in {
            "square": np.diag([1.0, 2.5, 5.0]) + 0.3 * numbers(3, 3),
            "tall": regular(4, columns=2),
            "wide": regular(4, columns=2).T.copy(),
        }.items()
    ],
    Case(
        "svdvals",
        np.linalg.svdvals,
        (regular(3, columns=2),),
        "precise",
        lambda a, like: (list(mpmath.svd_r(a, compute_uv=False)),),
        roundings=4096,
    ),
    Case("qr", lambda a: tuple(np.linalg.qr(a)), (regular(3),), "precise", mp_qr, roundings=4096),
    Case(
        "qr, tall",
        lambda a: tuple(np.linalg.qr(a)),
        (regular(4, columns=2),),
        "precise",
        mp_qr,
        roundings=4096,
    ),
    Case(
        "qr, r alone",
        lambda a: np.linalg.qr(a, mode="r"),
        (regular(3),),
        "precise",
        lambda a, like: mp_qr(a, np.linalg.qr(np.array(a.tolist(), float)))[1:],
        roundings=4096,
    ),
]


# Fourier transforms: all are linear


def transforms() -> list[Case]:
    made = []
    fft = np.fft
    for norm in (None, "ortho", "forward"):
        for n in (None, 1, 3, 4, 7, 8):
            for length in (5, 6):
                x, y = numbers(2, length), numbers(2, length, seed=1)
                kept = {"n": n, "norm": norm}
                for f in (fft.rfft,):
                    made.append(
                        Case(
                            f"{f.__name__} {length} {kept}",
                            lambda x, f=f, kept=kept: f(x, **kept),
                            (x,),
                            "polynomial",
                        )
                    )
                for f in (fft.irfft, fft.fft, fft.ifft):
                    made.append(
                        Case(
                            f"{f.__name__} {length} {kept}",
                            lambda x, y, f=f, kept=kept: f(x + 1j * y, **kept),
                            (x, y),
                            "polynomial",
                        )
                    )
    a, b = numbers(3, 4), numbers(3, 4, seed=1)
    c = numbers(2, 3, 5)
    made += [
        Case("rfft, axis", lambda x: fft.rfft(x, axis=0), (a,), "polynomial"),
        Case("irfft, axis", lambda x, y: fft.irfft(x + 1j * y, axis=0), (a, b), "polynomial"),
        Case("irfft of real entries", fft.irfft, (a,), "polynomial"),
        Case("rfft2", fft.rfft2, (a,), "polynomial"),
        Case("rfft2, s", lambda x: fft.rfft2(x, s=(4, 3)), (a,), "polynomial"),
        Case("irfft2", lambda x, y: fft.irfft2(x + 1j * y), (a, b), "polynomial"),
        Case(
            "irfft2, s",
            lambda x, y: fft.irfft2(x + 1j * y, s=(3, 5), norm="ortho"),
            (a, b),
            "polynomial",
        ),
        Case("rfftn", fft.rfftn, (c,), "polynomial"),
        Case("rfftn, axes", lambda x: fft.rfftn(x, axes=(2, 0)), (c,), "polynomial"),
        Case(
            "rfftn, s and axes",
            lambda x: fft.rfftn(x, s=(3, 4), axes=(0, 2), norm="forward"),
            (c,),
            "polynomial",
        ),
        Case("irfftn", lambda x: fft.irfftn(x * (1 + 2j)), (c,), "polynomial"),
        Case(
            "irfftn, s and axes",
            lambda x: fft.irfftn(x * 1j, s=(3, 3), axes=(0, 1)),
            (c,),
            "polynomial",
        ),
        Case("fft2", lambda x, y: fft.fft2(x + 1j * y), (a, b), "polynomial"),
        Case("fftn", lambda x: fft.fftn(x, norm="ortho"), (c,), "polynomial"),
        Case("ifftn, s", lambda x: fft.ifftn(x, s=(2, 4), axes=(0, 2)), (c,), "polynomial"),
        Case("hfft", lambda x, y: fft.hfft(x + 1j * y, 5), (a, b), "polynomial"),
        Case("ihfft", fft.ihfft, (a,), "polynomial"),
        Case("fftshift", fft.fftshift, (a,), "polynomial"),
        Case("ifftshift", lambda x: fft.ifftshift(x, axes=1), (a,), "polynomial"),
    ]
    return made


CASES += transforms()


# Writing: the rule of `put`, through the brackets of an array of the loss's own


def writing(index: Any, *, shape: tuple[int, ...] = (3, 4)) -> Callable[..., Any]:
    def function(x: Any, value: Any) -> Any:
        y = np.zeros(shape, x.dtype) + x
        y[index] = value
        return y * x

    return function


CASES += [
    Case(f"x[{name}] = v", writing(index), (numbers(3, 4), value))
    for name, index, value in [
        ("1", 1, numbers(4)),
        ("1, a number", 1, numbers()),
        ("1:, 2", (slice(1, None), 2), numbers(2)),
        ("::-1", slice(None, None, -1), numbers(3, 1)),
        ("...", ..., numbers(4)),
        ("[0, 2]", [0, 2], numbers(2, 4)),
        ("[0, 2, 0]", [0, 2, 0], numbers(3, 4, seed=5)),
        ("[-1, 2]", [-1, 2], numbers(2, 4)),
        ("[[0, 1], [1, 0]]", ([[0, 1], [1, 0]], 2), numbers(2, 2)),
        ("mask", MASK, numbers(int(MASK.sum()))),
        ("mask, a number", MASK, numbers()),
        ("rows of a mask", np.array([True, False, True]), numbers(4)),
        ("mask and slice", (slice(None), np.array([True, False, True, False])), numbers(3, 1)),
        ("np.ix_", np.ix_([0, 2], [3, 1]), numbers(2, 2)),
        ("range", range(2), numbers(2, 4)),
        ("leading ones", 1, numbers(1, 4)),
    ]
]


# Complex operands, options, and matrices of which NumPy reads one triangle


def hermitian(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: f(symmetric(x) + 1j * (y - y.T) / 2 + np.diag([5.0, 7.0, 10.0]))


def of_complex(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: f(x + 1j * y)


A, B, TALL = regular(3), numbers(3, 3, seed=4), regular(4, columns=2)
SPREAD = np.diag([1.0, 2.5, 5.0]) + 0.3 * numbers(3, 3)
TURNING = np.array([[1.0, 2.5, 0.2], [-1.0, 1.4, 0.3], [0.1, 0.2, 3.0]])
PAIR, TALL_PAIR = (A, B), (numbers(4, 2), numbers(4, 2, seed=3))
linalg = np.linalg

MEASURED: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "cholesky reads the lower triangle": (linalg.cholesky, (positive_definite(3),)),
    "cholesky, upper": (lambda a: linalg.cholesky(a, upper=True), (positive_definite(3),)),
    "cholesky, batch": (linalg.cholesky, (positive_definite(2, (2,)),)),
    "cholesky, complex": (hermitian(linalg.cholesky), PAIR),
    "cholesky, complex, upper": (hermitian(lambda a: linalg.cholesky(a, upper=True)), PAIR),
    "eigh reads the lower triangle": (linalg.eigh, (SPREAD,)),
    "eigh reads the upper triangle": (lambda a: linalg.eigh(a, "U"), (SPREAD,)),
    "eigvalsh, upper": (lambda a: linalg.eigvalsh(a, UPLO="U"), (SPREAD,)),
    "eigh, batch": (linalg.eigh, (np.diag([1.0, 2.5]) + 0.3 * numbers(3, 2, 2),)),
    "eigvalsh, complex": (hermitian(linalg.eigvalsh), PAIR),
    "eigh, complex": (
        hermitian(lambda a: (lambda w, v: (v * w**2) @ np.conj(v).T)(*linalg.eigh(a))),
        PAIR,
    ),
    "eigh, equal eigenvalues": (lambda a: np.sum(linalg.eigh(a)[0]), (np.eye(3),)),
    "det, complex": (of_complex(linalg.det), PAIR),
    "inv, complex": (of_complex(linalg.inv), PAIR),
    "solve, complex": (lambda x, y: linalg.solve(x + 1j * y, y - 1j * x), PAIR),
    "solve, complex vector": (lambda x, y: linalg.solve(x, y[0] - 1j * x[0]), PAIR),
    "slogdet, complex": (lambda x, y: tuple(linalg.slogdet(x + 1j * y)), PAIR),
    "slogdet, complex batch": (
        lambda x, y: tuple(linalg.slogdet(np.stack([x + 1j * y, y - 1j * x]))),
        PAIR,
    ),
    "pinv, complex": (of_complex(linalg.pinv), TALL_PAIR),
    "pinv, complex and wide": (of_complex(lambda z: linalg.pinv(z.T)), TALL_PAIR),
    "pinv, batch": (linalg.pinv, (regular(3, batch=(2,), columns=2),)),
    "pinv, hermitian": (lambda a: linalg.pinv(a, hermitian=True), (A,)),
    "pinv, of low rank": (
        lambda a, b: linalg.pinv(a @ b, rcond=1e-8),
        (numbers(4, 2), numbers(2, 3)),
    ),
    "pinv, rtol": (lambda a: linalg.pinv(a, rtol=1e-8), (TALL,)),
    "svd, complex": (
        of_complex(
            lambda z: (lambda u, s, vt: (u * s**2) @ vt)(*linalg.svd(z, full_matrices=False))
        ),
        PAIR,
    ),
    "svd, complex and tall": (
        of_complex(
            lambda z: (lambda u, s, vt: (u * s**2) @ vt)(*linalg.svd(z, full_matrices=False))
        ),
        TALL_PAIR,
    ),
    "svd, complex and wide": (
        of_complex(
            lambda z: (lambda u, s, vt: (u * s**2) @ vt)(*linalg.svd(z.T, full_matrices=False))
        ),
        TALL_PAIR,
    ),
    "svd, full of a square matrix": (lambda a: tuple(linalg.svd(a)), (SPREAD,)),
    "svd, full, values alone": (lambda a: linalg.svd(a)[1], (TALL,)),
    "svd, full, what is unique": (
        lambda a: (lambda u, s, vt: (u[:, :2] * s) @ vt[:2])(*linalg.svd(a)),
        (TALL.T.copy(),),
    ),
    "svd, hermitian": (lambda a: linalg.svd(a, hermitian=True)[1], (A,)),
    "svd, batch": (
        lambda a: tuple(linalg.svd(a, full_matrices=False)),
        (regular(3, batch=(2,), columns=2),),
    ),
    "svd, equal values": (lambda a: np.sum(linalg.svd(a)[1]), (np.eye(3),)),
    "svd without vectors": (lambda a: linalg.svd(a, compute_uv=False), (A,)),
    "qr, batch": (lambda a: tuple(linalg.qr(a)), (regular(3, batch=(2,), columns=2),)),
    "eig": (lambda a: tuple(linalg.eig(a)), (A,)),
    "eig, complex values": (lambda a: tuple(linalg.eig(a)), (TURNING,)),
    "eig, complex": (lambda a, b: tuple(linalg.eig(a + 1j * b)), (TURNING, B)),
    "eig, equal eigenvalues": (lambda a: np.sum(np.real(linalg.eig(a)[0])), (np.eye(3),)),
    "dot, real and complex": (lambda x, y: np.dot(x + 1j * y, y), PAIR),
    "inner, real and complex": (lambda x, y: np.inner(x, y - 1j * x), PAIR),
    "matmul, real and complex": (lambda x, y: np.matmul(x, y - 1j * x), PAIR),
    "tensordot, real and complex": (lambda x, y: np.tensordot(x, y - 1j * x, 1), PAIR),
    "where, real and complex": (lambda x, y: np.where(MASK[:, :3], x + 1j * y, y), PAIR),
    "prod, complex": (of_complex(np.prod), PAIR),
    "sort, complex": (of_complex(np.sort), PAIR),
}


CASES += [
    Case(name, f, params, "measured", roundings=16384, twice="equal" not in name)
    for name, (f, params) in MEASURED.items()
]

NAMES = [case.name for case in CASES]
assert len(set(NAMES)) == len(NAMES)
