"""A backend that imports only `gradlab.extend` keeps the laws of a backend."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import test_laws as laws
import test_laws_errors as errors_of
from conformance import NOTEBOOK, STRUCTURES

import gradlab
from gradlab import extend


@dataclass(frozen=True)
class Plain:
    """The central difference with one step for all entries."""

    step: float = 1e-4
    name = "plain"

    @extend.passing_keywords
    def value_and_grad(self, loss: extend.Loss) -> extend.ValueAndGrad:
        def evaluate(params: Any, *args: Any) -> tuple[float, Any]:
            leaves, structure = extend.flatten(params)
            copies = [np.array(extend.floating(leaf), np.float64) for leaf in leaves]

            def at(place: str) -> Any:
                given = extend.read_only([copy.copy() for copy in copies])
                try:
                    value = loss(structure.unflatten(given), *args)
                except Exception as error:
                    extend.raise_from_loss(error, place)
                return extend.real_scalar(value, place)

            value = float(at("the parameters"))
            slopes = [np.zeros(leaf.shape) for leaf in leaves]
            for path, copy, slope in zip(structure.paths, copies, slopes, strict=True):
                for i in np.ndindex(copy.shape):
                    x, ends = copy[i], []
                    for end in (x + self.step, x - self.step):
                        copy[i] = end
                        ends.append(at(f"{extend.entry(path, i)} = {x} moved to {end}"))
                    copy[i] = x
                    slope[i] = (ends[0] - ends[1]) / (2 * self.step)
            gradients = extend.finish_gradients(structure.paths, slopes, leaves)
            return value, structure.unflatten(gradients)

        return evaluate


ROW = replace(NOTEBOOK, backend=Plain())


def test_the_backend_needs_nothing_else() -> None:
    source = inspect.getsource(Plain)
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    mine = {name for name in used if getattr(globals().get(name), "__name__", "")[:7] == "gradlab"}
    assert mine == {"extend"}


def test_every_public_name_is_explained() -> None:
    told = inspect.getdoc(extend) or ""
    errors = {name for name in extend.__all__ if name.endswith("Error")}
    assert [name for name in extend.__all__ if f"`{name}`" not in told and name not in errors] == []
    assert all(issubclass(getattr(extend, name), extend.GradlabError) for name in errors)


def test_the_plain_backend_is_a_backend() -> None:
    assert isinstance(Plain(), extend.Backend)
    assert gradlab.find_backend(Plain()) == Plain()


OF_STRUCTURES = (
    laws.test_value_and_structure,
    laws.test_gradient_is_within_the_bound,
    laws.test_nothing_is_mutated,
    laws.test_result_belongs_to_the_caller,
    laws.test_evaluations_are_counted,
    errors_of.test_loss_that_writes_into_its_parameters_fails,
)
OTHERS = (
    laws.test_result_is_not_an_alias_of_the_data,
    laws.test_one_leaf_in_two_places_is_two_parameters,
    laws.test_first_argument_alone_is_differentiated,
    laws.test_agrees_with_closed_forms_on_any_structure,
    laws.test_unused_leaves_have_gradient_zero,
    laws.test_calls_are_independent,
    errors_of.test_vector_that_depends_on_the_parameters_is_an_error,
    errors_of.test_complex_loss_that_depends_on_the_parameters_is_an_error,
    errors_of.test_infinite_gradient_is_an_error,
    errors_of.test_exception_of_the_loss_carries_a_note,
    errors_of.test_exception_beside_the_point_names_the_entry,
    errors_of.test_loss_that_adds_in_place_fails,
)


@pytest.mark.parametrize("params", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("law", OF_STRUCTURES, ids=lambda law: law.__name__[5:])
def test_the_backend_keeps_the_law_on_any_structure(law: Any, params: Any) -> None:
    law(ROW, params)


@pytest.mark.parametrize("law", OTHERS, ids=lambda law: law.__name__[5:])
def test_the_backend_keeps_the_law(law: Any) -> None:
    law(ROW)


def test_a_loss_may_have_keyword_arguments() -> None:
    def loss(params: Any, x: Any, *, power: int) -> Any:
        return ((params["w"] * x) ** power).sum()

    x = np.array([1.0, 2.0])
    slopes = gradlab.grad(loss, Plain())({"w": np.ones(2)}, x, power=2)["w"]
    assert np.allclose(slopes, 2 * x**2, rtol=1e-7)


def test_the_trainer_takes_it() -> None:
    x = np.linspace(-1, 1, 20)
    result = gradlab.fit(
        lambda w, x, y: ((w * x - y) ** 2).mean(), 0.0, (x, 3 * x), backend=Plain(), epochs=60
    )
    left = (1 - 2 * 0.1 * np.mean(x**2)) ** 60  # of the error, where each step is exact
    assert abs(result.params - 3.0 * (1 - left)) < 1e-9
