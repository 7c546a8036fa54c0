"""Losses in plain NumPy, unprepared, as machine code: right, or declined with a reason."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from plain_numpy import CASES

from gradlab import Tape
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape.comparing import agree
from gradlab.params import flatten

pytest.importorskip("llvmlite", reason="llvmlite is not installed")

FEWEST = 0.6
"""Share of the losses that are compiled, at least: 0.72 when this was written."""

NAMES = sorted(name for name, case in CASES.items() if not case.untraceable)


def outcome(name: str) -> str:
    """Compare machine code with eager autograd, at other parameters and data than recorded ones."""
    case = CASES[name]
    f = Tape(compile=True, verify=None).value_and_grad(case.loss())
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for draw in (0, 0, 3, 3):
            params, args = case.at(draw)
            value, grads = f(params, *args)
        wanted, expected = Autograd().value_and_grad(case.loss())(params, *args)
    assert agree(value, flatten(grads)[0], wanted, flatten(expected)[0]), name
    said = f.untraceable or f.explain().splitlines()[-1]
    assert "compiler failed" not in said, name
    return said


@pytest.mark.slow
def test_losses_of_others() -> None:
    compiled = [outcome(name).startswith("compiled: ") for name in NAMES]
    assert np.mean(compiled) >= FEWEST


@pytest.mark.parametrize("name", ["cross_entropy_of_list", "fancy_pairs", "logaddexp_chain"])
def test_a_loss_of_others(name: str) -> None:
    assert outcome(name).startswith("compiled: ")
