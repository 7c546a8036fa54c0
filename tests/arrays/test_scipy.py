"""SciPy's functions on traced arrays: values are SciPy's own, derivatives those of its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import unless_missing
from plain_numpy.judge import TRACED

import gradlab
from gradlab import derivative_with_error

pytest.importorskip("scipy", reason="SciPy is not installed")

import scipy.linalg as sl
import scipy.special as sp
import scipy.stats as st
from scipy import signal
from scipy.spatial.distance import cdist, pdist, squareform

from gradlab.arrays.of_scipy.special import SPECIAL
from gradlab.arrays.rules.special import DERIVATIVES

# Special functions

INSIDE = (0.7, 1.3)
POINTS: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(["logit", "ndtri", "erfinv", "erfcinv", "ellipk", "ellipe"], (0.3,)),
    **dict.fromkeys(["betainc", "betaincinv"], (1.5, 2.5, 0.3)),
    **dict.fromkeys(["jv", "iv", "kv"], (1.5, 0.7)),
    "yn": (3, 0.7),
    "gammaincinv": (2.5, 0.3),
    "stdtr": (3.5, 0.7),
    "stdtrit": (3.5, 0.7),
    "zeta": (2.5, 0.7),
    "gammasgn": (-1.5,),
}
"""Arguments inside the domain of a function, where (0.7, 1.3) are not."""


def of_one_argument(name: str, i: int, count: int) -> tuple[Callable[[Any], Any], float]:
    """A special function of its i-th argument, and a point."""
    function, given = getattr(sp, name), list(POINTS.get(name, INSIDE)[:count])

    def f(x: Any) -> Any:
        return function(*given[:i], x, *given[i + 1 :])

    return f, given[i]


RULES = [(name, i, len(rules)) for name, rules in DERIVATIVES.items() for i in range(len(rules))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule[0]} {rule[1]}")
def test_the_rules_of_special_functions(rule: tuple[str, int, int]) -> None:
    name, i, count = rule
    f, x = of_one_argument(name, i, count)
    if DERIVATIVES[name][i] is None:
        with pytest.raises(gradlab.GradlabError):
            gradlab.grad(f)(float(x))
        return
    slope, error = derivative_with_error(f, x)
    for backend in ("autograd", "autograd-forward"):
        found = gradlab.grad(f, backend=backend)(x)
        assert abs(found - slope) <= error + 1e-13 * abs(slope)
    second, error = derivative_with_error(gradlab.grad(f), x)
    found = gradlab.grad(gradlab.grad(f))(x)
    assert abs(found - second) <= error + 1e-12 * (abs(slope) + abs(second))


@pytest.mark.parametrize("name", [name for name in SPECIAL if hasattr(sp, name)])
def test_special_functions_in_terms_of_others(name: str) -> None:
    function, count = getattr(sp, name), getattr(sp, name).nin
    for scale in (1.0, 0.01, 3.0):
        given = [scale * x for x in POINTS.get(name, INSIDE)[:count]]
        wanted = function(*given)
        assert abs(SPECIAL[name](*given) - wanted) <= 1e-13 * max(abs(wanted), scale)


def test_special_functions_at_the_edges() -> None:
    zero, one, negative = np.zeros(1), np.ones(1), -np.ones(1)
    pairs = [(zero, zero), (zero, one), (one, zero), (negative, one), (one, negative)]
    for name in ("xlogy", "xlog1py", "rel_entr", "kl_div", "huber", "pseudo_huber"):
        for pair in pairs:
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(SPECIAL[name](*pair), getattr(sp, name)(*pair), 1e-15)
    np.testing.assert_allclose(SPECIAL["gamma"](np.array([-1.5, -0.5])), sp.gamma([-1.5, -0.5]))
    np.testing.assert_allclose(SPECIAL["boxcox"](np.array([2.0]), 0.0), sp.boxcox(2.0, 0.0))


# Functions that SciPy computes at plain arrays

W = np.array([0.4, 1.2, 0.9])
DATA = np.array([0.3, 1.7, 0.6, 2.2, 1.1])
LABELS = np.array([0, 1, 1, 0, 3])
A = np.array([[2.0, 0.3, -0.4], [0.1, 1.5, 0.2], [-0.2, 0.5, 1.8]])


def continuous(w: Any) -> Any:
    total = st.norm.logpdf(DATA, loc=w[0], scale=w[1]).sum() + st.norm(w[0], w[2]).cdf(DATA).sum()
    total += st.t.logpdf(DATA, df=4, loc=w[0], scale=w[1]).sum() + st.norm.ppf(w[0], scale=w[1])
    total += st.gamma.logpdf(DATA, w[0], scale=w[1]).sum() + st.expon.sf(DATA, scale=w[2]).sum()
    total += st.beta.logpdf(DATA / 3, 1 + w[0], w[1]).sum() + st.laplace.pdf(DATA, w[0]).sum()
    total += st.lognorm.logpdf(DATA, w[0], scale=w[1]).sum() + st.cauchy.logpdf(DATA, w[1]).sum()
    total += st.uniform.logpdf(w[0], 0, 1 + w[1]) + st.chi2.cdf(DATA, 3, scale=w[0]).sum()
    return total + st.weibull_min.logpdf(DATA, 1 + w[2]).sum() + st.logistic.logcdf(w[1])


def outside_of_the_support(w: Any) -> Any:
    return st.expon.pdf(np.array([-1.0, 0.5]), loc=w[0] / 2).sum() + st.uniform.cdf(3.0, w[0], w[1])


def discrete(w: Any) -> Any:
    total = st.poisson.logpmf(LABELS, w[0]).sum() + st.bernoulli.logpmf(LABELS[:3], w[0]).sum()
    total += st.binom.logpmf(LABELS, 4, w[2]).sum() + st.geom.logpmf(LABELS + 1, w[0]).sum()
    return total + st.poisson.cdf(LABELS, w[1]).sum() + st.poisson.pmf(2.5, w[1])


def of_vectors(w: Any) -> Any:
    cov = A @ A.T + np.diag(w)
    x = np.stack([W, DATA[:3]])
    total = st.multivariate_normal.logpdf(x, mean=w, cov=cov).sum()
    return total + st.multivariate_normal(w, cov).pdf(W)


def of_samples(w: Any) -> Any:
    x = np.concatenate([w, DATA])
    total = st.zscore(x)[0] + st.skew(x) + st.kurtosis(x) + st.gmean(x) + st.hmean(x) + st.sem(x)
    return total + st.pearsonr(x[1:], x[:-1])[0]


def of_matrices(w: Any) -> Any:
    a = A + np.diag(w)
    s = a @ a.T
    factor = sl.cholesky(s, lower=True)
    total = np.sum(sl.solve_triangular(factor, W, lower=True) ** 2) + sl.cholesky(s)[0, 1]
    total += W @ sl.cho_solve(sl.cho_factor(s), W) + sl.solve(a, W)[0] + sl.det(a)
    total += sl.solve(s, W, assume_a="pos")[1] + sl.inv(a)[0, 1] + sl.norm(a)
    total += sl.solve_triangular(a, W, trans=1, unit_diagonal=True)[2]
    total += sl.eigh(s)[0][0] + sl.eigvalsh(s)[1] + sl.svdvals(a)[0] + sl.svd(a)[1][2]
    total += sl.expm(a)[0, 2] + sl.expm(0.1 * a)[1, 1] + sl.pinv(a[:, :2])[0, 0]
    total += np.sum(sl.block_diag(a, w) ** 3) + np.linalg.det(sl.toeplitz(w, W))
    return total + sl.circulant(w)[0] @ W + sl.lstsq(a[:, :2], W)[0][0]


def of_signals(w: Any) -> Any:
    image = np.outer(w, DATA)
    total = np.sum(signal.convolve(DATA, w) ** 2) + np.sum(signal.convolve(w, DATA, "same") ** 3)
    total += np.sum(signal.convolve(w, DATA, "valid") ** 2)
    total += np.sum(signal.correlate(DATA, w, "full")[1:3])
    total += np.sum(signal.convolve2d(image, A, "same") ** 2)
    total += np.sum(signal.fftconvolve(image, A[:2], "valid") ** 2)
    return total + np.sum(signal.lfilter(w, [2.0, w[0], 0.3], DATA) ** 2)


def of_distances(w: Any) -> Any:
    x, y = A * w, A[:2] + w[0]
    total = np.sum(cdist(x, y) ** 3) + np.sum(cdist(x, y, "cityblock"))
    return total + squareform(pdist(x, "sqeuclidean"))[1] @ w + squareform(squareform(pdist(x)))[0]


def of_special(w: Any) -> Any:
    total = sp.xlogy(w[0], w[1]) + sp.logsumexp(w) + np.sum(sp.softmax(w) * DATA[:3])
    total += sp.polygamma(1, w[0]) + sp.polygamma(0, w[1]) + sp.gammaln(w[2]) + sp.psi(w[0])
    total += sp.beta(w[0], w[1]) + sp.log_ndtr(-5 * w[0]) + sp.ndtr(-6 * w[1]) * 1e9
    return (
        total + sp.expit(w[0]) + sp.rel_entr(w[0], w[1]) + np.sum(sp.entr(w)) + sp.boxcox(2.0, w[0])
    )


LOSSES = [continuous, outside_of_the_support, discrete, of_vectors, of_samples, of_matrices]
LOSSES += [of_signals, of_distances, of_special]


SLOW = {of_matrices, continuous, of_samples, discrete, of_distances}
"""Each call of SciPy's is replaced by itself, and the loss runs again: seconds in all."""


@pytest.mark.parametrize(
    "loss", [pytest.param(f, marks=pytest.mark.slow) if f in SLOW else f for f in LOSSES]
)
def test_values_and_gradients(loss: Callable[[Any], Any]) -> None:
    before = loss(W)  # SciPy's own value, before the loss is rewritten
    wanted = gradlab.grad(loss, backend="richardson")(W)
    value, found = gradlab.value_and_grad(loss)(W)
    assert abs(value - before) <= 1e-12 * abs(before)
    assert np.abs(found - wanted).max() <= 1e-8 * np.abs(wanted).max()
    assert loss(W) == before


def all_of_them(w: Any) -> Any:
    return sum(loss(w) for loss in LOSSES)


@pytest.mark.slow
# The tape cannot replay the exponential of a matrix, which depends on the size of its entries.
@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@pytest.mark.parametrize("backend", ["tape", "autograd-forward"])  # the others: the slow test
def test_other_backends(backend: str) -> None:
    reference = gradlab.grad(all_of_them)(W)
    found = gradlab.grad(all_of_them, backend=backend)(W)
    assert np.abs(found - reference).max() <= 1e-11 * np.abs(reference).max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@pytest.mark.parametrize("backend", [unless_missing(name) for name in TRACED])
@pytest.mark.parametrize("loss", LOSSES)
def test_each_library(loss: Callable[[Any], Any], backend: str) -> None:
    reference = gradlab.grad(loss)(W)
    found = gradlab.grad(loss, backend=backend)(W)
    assert np.abs(found - reference).max() <= 1e-10 * np.abs(reference).max()


@pytest.mark.parametrize(
    "loss",
    [
        lambda w: sl.sqrtm(np.diag(w))[0, 0],
        lambda w: st.pearsonr(w, W)[1],
        lambda w: sl.toeplitz(np.outer(w, w))[0, 0],
        lambda w: signal.convolve2d(np.outer(w, w), A, boundary="wrap")[0, 0],
        lambda w: cdist(A * w, A, "cosine")[0, 1],
        lambda w: sl.solve(A * w, W, assume_a="tridiagonal")[0],
        lambda w: st.skew(w, bias=False),
    ],
)
def test_unknown_functions_are_refused(loss: Callable[[Any], Any]) -> None:
    with pytest.raises(gradlab.GradlabError, match=r"test_scipy\.py, line"):
        gradlab.grad(loss)(W)
