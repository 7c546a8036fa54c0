"""Checks of functions with many outputs: no false alarm, no missed mistake, the entry named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradlab
from gradlab.errors import GradlabError, LossError, NonFiniteError, OptionError, ParameterError
from gradlab.gradients.surface import Surface

X = np.random.default_rng(0).normal(size=(4, 2))
PARAMS = {
    "w": np.random.default_rng(1).normal(size=(2, 2)),
    "b": np.random.default_rng(2).normal(size=2),
}
A = np.random.default_rng(3).normal(size=(4, 4))


def layer(p: Any, x: Any) -> Any:
    return {"y": np.tanh(x @ p["w"] + p["b"])}


def layer_vjp(p: Any, x: Any, u: Any) -> Any:
    d = u["y"] * (1 - layer(p, x)["y"] ** 2)
    return {"w": x.T @ d, "b": d.sum(axis=0)}


def layer_jvp(p: Any, x: Any, v: Any) -> Any:
    return {"y": (1 - layer(p, x)["y"] ** 2) * (x @ v["w"] + v["b"])}


def layer_jacobian(p: Any, x: Any) -> Any:
    slope = 1 - layer(p, x)["y"] ** 2
    eye = np.eye(2)
    return {
        "y": {
            "w": slope[:, :, None, None] * x[:, None, :, None] * eye[None, :, None, :],
            "b": slope[:, :, None] * eye[None],
        }
    }


def quartic(w: Any, a: Any) -> Any:
    return np.sum((a @ w) ** 4)


def quartic_hessian(w: Any, a: Any) -> Any:
    return a.T @ np.diag(12 * (a @ w) ** 2) @ a


W = np.array([0.5, -1.0, 2.0, 1.5])


@pytest.mark.parametrize("mode", ["entries", "directional"])
def test_right_derivatives_agree(mode: Any) -> None:
    report = gradlab.check_derivatives(
        layer, PARAMS, X, vjp=layer_vjp, jvp=layer_jvp, jacobian=layer_jacobian, mode=mode
    )
    assert report.verdict == "agree", str(report)
    assert report.what == "vjp and jvp and jacobian"
    assert report.resolution < 1e-8
    assert {leaf.path for leaf in report.leaves} >= {"vjp: y by w", "jvp: y by b"}


@pytest.mark.parametrize("mode", ["entries", "directional"])
def test_right_second_derivatives_agree(mode: Any) -> None:
    report = gradlab.check_derivatives(
        quartic, W, A,
        hessian=quartic_hessian,
        hvp=lambda w, a, v: a.T @ (12 * (a @ w) ** 2 * (a @ v)),
        mode=mode,
    )  # fmt: skip
    assert report.verdict == "agree", str(report)


def slowly_at(*place: int) -> Any:
    return pytest.param(place, marks=pytest.mark.slow)


def spoilt(kind: str, place: tuple[int, int, int, int]) -> dict[str, Any]:
    """A layer's derivative in each form, with one wrong entry of y by w."""
    i, j, k, m = place

    def slope(p: Any) -> Any:
        return 1 - layer(p, X)["y"][i, j] ** 2

    def vjp(p: Any, x: Any, u: Any) -> Any:
        found = layer_vjp(p, x, u)
        found["w"][k, m] += 0.125 * slope(p) * u["y"][i, j]
        return found

    def jvp(p: Any, x: Any, v: Any) -> Any:
        found = layer_jvp(p, x, v)
        found["y"][i, j] += 0.125 * slope(p) * v["w"][k, m]
        return found

    def jacobian(p: Any, x: Any) -> Any:
        found = layer_jacobian(p, x)
        found["y"]["w"][i, j, k, m] += 0.125 * slope(p)
        return found

    return {kind: {"vjp": vjp, "jvp": jvp, "jacobian": jacobian}[kind]}


@pytest.mark.parametrize("mode", ["entries", "directional"])
@pytest.mark.parametrize("kind", ["vjp", "jvp", "jacobian"])
@pytest.mark.parametrize("place", [(0, 1, 0, 1), slowly_at(3, 0, 1, 0)])
def test_one_wrong_entry_is_named(kind: str, place: Any, mode: Any) -> None:
    i, j, k, m = place
    report = gradlab.check_derivatives(layer, PARAMS, X, mode=mode, **spoilt(kind, place))
    assert [e.name for e in report.mismatches] == [f"y[{i}, {j}] by w[{k}, {m}]"], str(report)
    assert [e.index for e in report.mismatches] == [place]
    assert not report.ok


@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-3, 1e-6]))
def test_a_random_matrix_and_a_planted_fault(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    q, p = rng.integers(1, 5, 2)
    m, x = rng.normal(size=(q, p)), rng.normal(size=p)

    def f(x: Any) -> Any:
        return np.sin(m @ x) + 1

    def jacobian(x: Any) -> Any:
        return np.cos(m @ x)[:, None] * m

    assert gradlab.check_derivatives(f, x, jacobian=jacobian).ok
    wrong = jacobian(x)
    i, j = rng.integers(q), rng.integers(p)
    wrong[i, j] += size * max(abs(wrong[i]).max(), 1e-3)
    report = gradlab.check_derivatives(f, x, jacobian=wrong)
    assert [e.index for e in report.mismatches] == [(i, j)], str(report)


@pytest.mark.parametrize("kind", ["vjp", "jvp"])
def test_one_wrong_entry_of_400_000(kind: str) -> None:
    """The check takes fewer than 1,000 evaluations and calls."""
    rng = np.random.default_rng(0)
    m, x = rng.normal(size=(100, 4000)) / 100, rng.normal(size=4000)
    i, j = 67, 2345
    calls = []

    def f(x: Any) -> Any:
        return np.sin(m @ x)

    def vjp(x: Any, u: Any) -> Any:
        calls.append(1)
        d = u * np.cos(m @ x)
        g = m.T @ d
        g[j] += 0.5 * m[i, j] * d[i]
        return g

    def jvp(x: Any, v: Any) -> Any:
        calls.append(1)
        found = np.cos(m @ x) * (m @ v)
        found[i] += 0.5 * np.cos(m[i] @ x) * m[i, j] * v[j]
        return found

    report = gradlab.check_derivatives(f, x, **{kind: {"vjp": vjp, "jvp": jvp}[kind]})
    assert report.mode == "directional"
    assert [e.name for e in report.mismatches] == [f"output[{i}] by params[{j}]"], str(report)
    assert report.evaluations + len(calls) < 1000


@pytest.mark.parametrize(
    ("f", "slope"), [(np.floor, 0.0), (np.ceil, 0.0), (lambda x: x - np.floor(x), 1.0)]
)
def test_pieces_between_many_jumps(f: Any, slope: float) -> None:
    """Some of 400 entries jump at any step along a direction."""
    x = 3 * np.random.default_rng(0).normal(size=400)
    report = gradlab.check_derivatives(f, x, jvp=lambda x, v: slope * v)
    assert report.mode == "directional"
    assert report.verdict == "agree"
    wrong = gradlab.check_derivatives(f, x, jvp=lambda x, v: (1 - slope) * v)
    assert wrong.verdict in ("mismatch", "inconclusive")


def test_a_small_output_is_not_hidden_by_large_ones() -> None:
    """A wrong row a billionth of the others' size is found."""
    rng = np.random.default_rng(0)
    m, x = rng.normal(size=(50, 40)), rng.normal(size=40)
    m[7] *= 1e-9
    wrong = m.copy()
    wrong[7] *= 1 + 1e-5
    report = gradlab.check_derivatives(lambda x: m @ x, x, jacobian=wrong)
    assert report.mode == "directional"
    assert {e.output for e in report.mismatches} == {"output[7]"}, str(report)
    assert report.leaves[0].rest == "mismatch"  # the directions found it, not the sample
    assert gradlab.check_derivatives(lambda x: m @ x, x, jacobian=m).ok


def test_a_layer_that_is_wrong_as_a_whole_is_reported_early() -> None:
    rng = np.random.default_rng(0)
    m, x = rng.normal(size=(60, 50)), rng.normal(size=50)
    report = gradlab.check_derivatives(lambda x: m @ x, x, jacobian=2 * m)
    assert report.verdict == "mismatch"
    assert "wrong as a whole" in str(report)
    assert report.evaluations < 2000


# Kinks, precision, noise


def test_a_relu_at_zero() -> None:
    x = np.array([-1.0, 0.0, 2.0])

    def relu(x: Any) -> Any:
        return np.maximum(x, 0)

    for slope in (0.0, 0.5, 1.0):
        report = gradlab.check_derivatives(relu, x, jacobian=np.diag([0, slope, 1.0]))
        assert report.verdict == "kink", str(report)
    report = gradlab.check_derivatives(relu, x, jacobian=np.diag([0, 1.5, 1.0]))
    assert [e.name for e in report.mismatches] == ["output[1] by params[1]"]


def test_outputs_in_float32_have_wider_bars() -> None:
    def f(w: Any) -> Any:
        return np.sin(w).astype(np.float32)

    w = np.linspace(0.1, 1, 5)
    right = np.diag(np.cos(w))
    report = gradlab.check_derivatives(f, w, jacobian=right)
    assert report.ok
    assert 1e-7 < report.resolution < 1e-2
    assert not gradlab.check_derivatives(f, w, jacobian=1.05 * right).ok


def test_constant_outputs_have_zero_rows() -> None:
    def f(w: Any) -> Any:
        return np.array([w[0] * w[1], 3.0])

    w = np.array([1.5, 2.0])
    assert gradlab.check_derivatives(f, w, jacobian=np.array([[2.0, 1.5], [0, 0]])).ok
    report = gradlab.check_derivatives(f, w, jacobian=np.array([[2.0, 1.5], [0, 1e-3]]))
    assert [e.name for e in report.mismatches] == ["output[1] by params[1]"]


# Claims against themselves and each other


def test_a_vjp_that_is_not_linear() -> None:
    def masked(p: Any, x: Any, u: Any) -> Any:
        return layer_vjp(p, x, {"y": np.maximum(u["y"], 0)})

    report = gradlab.check_derivatives(layer, PARAMS, X, vjp=masked)
    assert report.verdict == "mismatch"
    assert "not linear" in report.notes[0]


def test_round_off_of_cancelling_terms_is_not_a_contradiction() -> None:
    # Both derivatives of the constant x/|x| are 0; terms 1/|x| cancel in them.
    def jvp(x: Any, v: Any) -> Any:
        return v / x * (1 + 2e-16) - v / x

    def vjp(x: Any, u: Any) -> Any:
        return 0 * u

    x = np.array([2.1, -0.3])
    report = gradlab.check_derivatives(lambda x: x / np.abs(x), x, jvp=jvp, vjp=vjp)
    assert not report.notes
    assert not report.mismatches
    report = gradlab.check_derivatives(
        lambda x: x / np.abs(x), x, jvp=lambda x, v: 1e-9 * v, vjp=vjp
    )
    assert "contradict each other" in report.notes[0]


def test_two_claims_measure_each_slope_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    slope = Surface.slope

    def counted(self: Surface, *args: Any, **options: Any) -> Any:
        measured.append(self)
        return slope(self, *args, **options)

    monkeypatch.setattr(Surface, "slope", counted)
    assert gradlab.check_derivatives(layer, PARAMS, X, vjp=layer_vjp).ok
    alone = len(measured)
    measured.clear()
    assert gradlab.check_derivatives(layer, PARAMS, X, vjp=layer_vjp, jvp=layer_jvp).ok
    assert len(measured) == alone > 0


def test_forward_and_reverse_contradict_each_other() -> None:
    def jvp(p: Any, x: Any, v: Any) -> Any:
        return {"y": layer_jvp(p, x, v)["y"] * 1.001}

    report = gradlab.check_derivatives(layer, PARAMS, X[:1], vjp=layer_vjp, jvp=jvp)
    assert "contradict each other" in report.notes[0]
    assert {e.path for e in report.mismatches} == {"jvp: y by w", "jvp: y by b"}


# Causes


def slowly(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda j: j.T, "transposed"),
        slowly(lambda j: (j + j.T) / 2, "symmetrised"),
        slowly(lambda j: -j, "the wrong sign"),
        slowly(lambda j: 2 * j, "2 times too large"),
        (lambda j: j * [[1], [-1], [1], [1]], "row 1"),
        (lambda j: j * [1, 1, 0, 1], "column 2"),
        slowly(lambda j: np.diag(np.diag(j)), "the diagonal alone"),
        slowly(lambda j: np.zeros_like(j), "zero throughout"),
    ],
)
def test_causes(spoil: Any, cause: str) -> None:
    report = gradlab.check_derivatives(lambda x: np.sin(A @ x), W, jacobian=lambda x: spoil(
        np.cos(A @ x)[:, None] * A
    ))  # fmt: skip
    assert cause in report.leaves[0].cause, str(report)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (np.triu, "the upper triangle alone"),
        slowly(lambda h: h + np.diag(np.diag(h)), "the diagonal is counted twice"),
        slowly(lambda h: h / 2, "2 times too small"),
    ],
)
def test_causes_of_hessians(spoil: Any, cause: str) -> None:
    report = gradlab.check_derivatives(
        quartic, W, A, hessian=lambda w, a: spoil(quartic_hessian(w, a))
    )
    assert cause in report.leaves[0].cause, str(report)
    assert report.mismatches[0].output.startswith("params")


@pytest.mark.parametrize(
    ("f", "jacobian", "path"),
    [
        (lambda x: A @ x / np.linalg.norm(x), lambda x: A / np.linalg.norm(x), "norm"),
        (lambda x: A @ (x - x.mean()), lambda x: A, "mean"),
    ],
)
def test_a_normalisation_taken_for_a_constant(f: Any, jacobian: Any, path: str) -> None:
    report = gradlab.check_derivatives(f, W, jacobian=jacobian)
    assert report.leaves[0].cause.endswith(f"is the path through a {path} missing?")


def test_causes_of_backward_passes() -> None:
    def vjp(p: Any, x: Any, u: Any) -> Any:
        found = layer_vjp(p, x, u)
        return {"w": found["w"].T, "b": found["b"] / 3}

    report = gradlab.check_derivatives(layer, PARAMS, X[:3], vjp=vjp)
    causes = {leaf.path: leaf.cause for leaf in report.leaves}
    assert causes["y by w"] == "transposed"
    assert "3 times too small: a mean for a sum?" in causes["y by b"]


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to check"),
        ({"vjp": layer_vjp, "hvp": layer_jvp}, "hvp is of a loss, vjp of a function"),
        ({"vjp": 3}, "vjp=3: give a function"),
        ({"vjp": layer_vjp, "mode": "all"}, "mode='all'"),
        ({"vjp": lambda p, x, u: {"w": p["w"]}}, "the vjp lacks b"),
        ({"jvp": lambda p, x, v: {"z": x}}, "the jvp lacks y"),
        ({"jvp": lambda p, x, v: {"y": x.T}}, r"y has shape \(2, 4\) in the jvp"),
        ({"jacobian": lambda p, x: {"y": p}}, r"the jacobian of y by w has shape \(2, 2\)"),
        ({"jacobian": lambda p, x: {"z": p}}, "expected a dict with the outputs y"),
        ({"jacobian": lambda p, x: {"y": {"w": 1.0}}}, "has shape|lacks"),
        ({"vjp": lambda p, x, u: {"w": "a", "b": "c"}}, "expected an array of real numbers"),
    ],
)  # fmt: skip
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GradlabError, match=message):
        gradlab.check_derivatives(layer, PARAMS, X, **options)


def test_functions_that_cannot_be_checked() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(LossError, match="not deterministic"):
        gradlab.check_derivatives(lambda w: w + rng.normal(size=4), W, jacobian=np.eye(4))
    with pytest.raises(NonFiniteError, match=r"output\[2\] is nan"):
        gradlab.check_derivatives(lambda w: w * [1, 1, np.nan, 1], W, jacobian=np.eye(4))
    with pytest.raises(LossError, match="output is of dtype"):
        gradlab.check_derivatives(lambda w: "abc", W, jacobian=np.eye(4))
    with pytest.raises(LossError, match="differs each time"):
        gradlab.check_derivatives(lambda w: w, W, vjp=lambda w, u: u * rng.normal())
    with pytest.raises(OptionError, match="hessian of complex parameters"):
        gradlab.check_derivatives(lambda w: abs(w @ w), W + 1j, hessian=np.eye(4))
    with pytest.raises(OptionError, match="give a function"):
        gradlab.check_derivatives(None, W, jacobian=np.eye(4))  # type: ignore[arg-type]


def test_an_error_of_the_function_keeps_its_type_and_says_where() -> None:
    def f(w: Any) -> Any:
        raise KeyError("weights")

    with pytest.raises(KeyError, match="weights") as caught:
        gradlab.check_derivatives(f, W, jacobian=np.eye(4))
    assert "raised by the function" in caught.value.__notes__[0]


def test_a_claim_that_is_not_finite_is_a_mismatch() -> None:
    wrong = np.eye(4)
    wrong[1, 2] = np.nan
    report = gradlab.check_derivatives(lambda w: 1 * w, W, jacobian=wrong)
    assert [e.name for e in report.mismatches] == ["output[1] by params[2]"]


def test_a_backward_pass_may_write_into_its_cotangent_but_not_into_parameters() -> None:
    def vjp(w: Any, u: Any) -> Any:
        u[w < 0] = 0
        return u

    relu = gradlab.check_derivatives(lambda w: np.maximum(w, 0), W, vjp=vjp)
    assert relu.ok

    def writes(w: Any, u: Any) -> Any:
        w[0] = 0
        return u

    with pytest.raises(ValueError, match="read-only"):
        gradlab.check_derivatives(lambda w: np.maximum(w, 0), W, vjp=writes)


def test_report_as_data() -> None:
    report = gradlab.check_derivatives(layer, PARAMS, X, vjp=layer_vjp)
    told = report.to_dict()
    assert told["entries"][0]["name"] == "y[0, 0] by w[0, 0]"
    assert "the vjp is that of the function" in str(report)
    assert "DerivativeReport agree" in repr(report)


def test_a_function_that_ignores_its_parameters_is_inconclusive() -> None:
    held = W.copy()
    report = gradlab.check_derivatives(lambda w: held**2, W, jacobian=np.zeros((4, 4)))
    assert report.verdict == "inconclusive"
    assert report.constant
    looked = gradlab.check_derivatives(lambda w: 0 * w + 1, W, jacobian=np.zeros((4, 4)))
    assert looked.verdict == "agree", str(looked)


def test_derivatives_of_a_backend() -> None:
    x = X[:1]
    report = gradlab.check_derivatives(
        layer, PARAMS, x, vjp="autograd", jvp="autograd-forward", jacobian=gradlab.ComplexStep()
    )
    assert report.verdict == "agree", str(report)
    assert gradlab.check_derivatives(quartic, W[:2], A[:, :2], hvp="autograd").ok
    assert not gradlab.check_derivatives(layer, PARAMS, x, jacobian="forward").ok
    assert gradlab.check_derivatives(layer, PARAMS, x, jacobian="forward", allow=1e-6).ok


# Complex numbers


Z = np.array([0.5 + 1.0j, -1.2 + 0.3j])
C = np.array([[1.0 + 2j, -0.5j]])


def holomorphic(p: Any) -> Any:
    return C @ np.exp(p["z"])


def test_a_holomorphic_function() -> None:
    def jacobian(p: Any) -> Any:
        return {"z": C * np.exp(p["z"])}

    def vjp(p: Any, u: Any) -> Any:
        return {"z": np.exp(p["z"]) * (C.T @ u)}

    def conjugate_vjp(p: Any, u: Any) -> Any:
        return {"z": np.conj(np.exp(p["z"])) * (C.conj().T @ u)}

    def jvp(p: Any, v: Any) -> Any:
        return C @ (np.exp(p["z"]) * v["z"])

    for convention, right, wrong in (("jax", vjp, conjugate_vjp), ("torch", conjugate_vjp, vjp)):
        report = gradlab.check_derivatives(
            holomorphic, {"z": Z}, vjp=right, jvp=jvp, jacobian=jacobian, convention=convention
        )
        assert report.verdict == "agree", str(report)
        report = gradlab.check_derivatives(holomorphic, {"z": Z}, vjp=wrong, convention=convention)
        assert report.verdict == "mismatch"
    assert gradlab.check_derivatives(holomorphic, {"z": Z}, jacobian=jacobian, jvp=jvp).ok
    assert report.entries[0].name == "output.real[0] by z.real[0]"
    with pytest.raises(OptionError, match="the vjp is complex: say convention='jax'"):
        gradlab.check_derivatives(holomorphic, {"z": Z}, vjp=vjp)
    with pytest.raises(OptionError, match="choose jax or torch"):
        gradlab.check_derivatives(holomorphic, {"z": Z}, vjp=vjp, convention="numpy")


def test_a_jacobian_of_a_function_that_is_not_holomorphic_is_wrong() -> None:
    report = gradlab.check_derivatives(np.conj, Z, jacobian=np.eye(2).astype(complex))
    assert report.verdict == "mismatch"


def squared_size(z: Any, m: Any) -> Any:
    return np.sum(np.abs(m @ z) ** 2)


def test_a_real_loss_of_complex_parameters() -> None:
    def torch_gradient(z: Any, m: Any) -> Any:  # of ∂L/∂x + i ∂L/∂y
        return 2 * m.conj().T @ (m @ z)

    def jax_gradient(z: Any, m: Any) -> Any:
        return np.conj(torch_gradient(z, m))

    for convention, right, wrong in (
        ("torch", torch_gradient, jax_gradient),
        ("jax", jax_gradient, torch_gradient),
    ):
        report = gradlab.check_gradients(squared_size, Z, C, gradient=right, convention=convention)
        assert report.verdict == "agree", str(report)
        assert [leaf.path for leaf in report.leaves] == ["params.real", "params.imag"]
        report = gradlab.check_gradients(squared_size, Z, C, gradient=wrong, convention=convention)
        assert "conjugated: this is" in report.notes[0]
    matrix = jax_gradient(Z, C)
    assert gradlab.check_derivatives(squared_size, Z, C, jacobian=matrix, convention="jax").ok
    assert gradlab.check_derivatives(
        squared_size, Z, C, jacobian=matrix.conj(), convention="torch"
    ).ok
    with pytest.raises(OptionError, match="say convention='jax'"):
        gradlab.check_gradients(squared_size, Z, C, gradient=matrix)
    with pytest.raises(OptionError, match="backends take real parameters"):
        gradlab.check_gradients(squared_size, Z, C, convention="jax")


def test_a_real_parameter_of_a_complex_function() -> None:
    def f(p: Any) -> Any:
        return {"y": np.exp(1j * p["t"]) * p["z"]}

    p = {"t": np.array([0.5, 1.5]), "z": np.array([1.0 + 1j, 2 - 1j])}

    def jvp(p: Any, v: Any) -> Any:
        return {"y": np.exp(1j * p["t"]) * (1j * p["z"] * v["t"] + v["z"])}

    def vjp(p: Any, u: Any) -> Any:  # in JAX's convention
        e = np.exp(1j * p["t"])
        return {"t": np.real(u["y"] * 1j * e * p["z"]), "z": u["y"] * e}

    report = gradlab.check_derivatives(f, p, vjp=vjp, jvp=jvp, convention="jax")
    assert report.verdict == "agree", str(report)

    def complex_for_real(p: Any, u: Any) -> Any:
        found = vjp(p, u)
        return {**found, "t": u["y"] * 1j * np.exp(1j * p["t"]) * p["z"]}

    with pytest.raises(ParameterError, match="of a real parameter: take its real part"):
        gradlab.check_derivatives(f, p, vjp=complex_for_real, convention="jax")


def test_single_precision_complex() -> None:
    z = Z.astype(np.complex64)
    report = gradlab.check_gradients(
        lambda z: np.sum(np.abs(z) ** 2), z, gradient=lambda z: 2 * z, convention="torch"
    )
    assert report.ok
