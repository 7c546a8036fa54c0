"""gradlab: a laboratory for derivatives.

Write a loss once, as a pure function of its parameters. Interchangeable backends differentiate it,
one trainer fits it, a checker verifies its gradients, and a comparison measures the backends. The
modules `plotting` and `testing` are imported on first use.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from gradlab import datasets as datasets
from gradlab import network as network
from gradlab import optim as optim
from gradlab import weights as weights
from gradlab.arrays.leaks import detach as detach
from gradlab.checking import DerivativeReport as DerivativeReport
from gradlab.checking import GradientReport as GradientReport
from gradlab.checking import check_derivatives as check_derivatives
from gradlab.checking import check_gradients as check_gradients
from gradlab.checking import check_layer as check_layer
from gradlab.comparison import Comparison as Comparison
from gradlab.comparison import Trials as Trials
from gradlab.comparison import compare as compare
from gradlab.comparison import compare_trainings as compare_trainings
from gradlab.containers import register_container as register_container
from gradlab.derivatives import derivative as derivative
from gradlab.derivatives import derivative_with_error as derivative_with_error
from gradlab.derivatives import hessian as hessian
from gradlab.derivatives import hvp as hvp
from gradlab.derivatives import jacobian as jacobian
from gradlab.derivatives import jvp as jvp
from gradlab.derivatives import vjp as vjp
from gradlab.diagnosis import Diagnosis as Diagnosis
from gradlab.diagnosis import diagnose as diagnose
from gradlab.errors import GradlabError as GradlabError
from gradlab.gradients import BACKENDS as BACKENDS
from gradlab.gradients import SPSA as SPSA
from gradlab.gradients import Autograd as Autograd
from gradlab.gradients import AutogradForward as AutogradForward
from gradlab.gradients import Backend as Backend
from gradlab.gradients import ByHand as ByHand
from gradlab.gradients import CentralDifference as CentralDifference
from gradlab.gradients import CentralDifference4 as CentralDifference4
from gradlab.gradients import ComplexStep as ComplexStep
from gradlab.gradients import Estimate as Estimate
from gradlab.gradients import ForwardDifference as ForwardDifference
from gradlab.gradients import ForwardGradient as ForwardGradient
from gradlab.gradients import Jax as Jax
from gradlab.gradients import Loop as Loop
from gradlab.gradients import Recorded as Recorded
from gradlab.gradients import Richardson as Richardson
from gradlab.gradients import SumOfTerms as SumOfTerms
from gradlab.gradients import Tape as Tape
from gradlab.gradients import Torch as Torch
from gradlab.gradients import Workers as Workers
from gradlab.gradients import find_backend as find_backend
from gradlab.gradients import grad as grad
from gradlab.gradients import value_and_grad as value_and_grad
from gradlab.history import History as History
from gradlab.layout import ravel as ravel
from gradlab.training import Fit as Fit
from gradlab.training import Step as Step
from gradlab.training import descend as descend
from gradlab.training import fit as fit

__version__ = "0.1.0"

_MODULES = tuple("datasets errors extend interop network optim plotting testing weights".split())
"""The public modules; all others are internal."""


def __getattr__(name: str) -> _ModuleType:
    """Import a public module on first use, because matplotlib and hypothesis are slow to import."""
    if name not in _MODULES:
        raise AttributeError(f"module 'gradlab' has no attribute {name!r}", name=name)
    try:
        return _import_module(f"gradlab.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"gradlab.{name}: {error}", name=name) from error


def __dir__() -> list[str]:
    """Return the public names, and the names that every module has."""
    inner = {name for name, value in globals().items() if isinstance(value, _ModuleType)}
    private = {"annotations", *(name for name in globals() if name[0] == "_" and name[1] != "_")}
    return sorted({*globals(), *_MODULES} - (inner - {*_MODULES}) - private)
