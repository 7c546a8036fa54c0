"""Checks of other libraries by gradlab's checker, each with the signature of the original.

A test suite changes one import:

=============================================  ================================================
``from torch.autograd import gradcheck``       ``from gradlab.interop.torch import gradcheck``
``from torch.autograd import gradgradcheck``   ``from gradlab.interop.torch import gradgradcheck``
``from jax.test_util import check_grads``      ``from gradlab.interop.jax import check_grads``
``from autograd.test_util import check_grads`` ``from gradlab.interop.autograd import check_grads``
``from scipy.optimize import check_grad``      ``from gradlab.interop.scipy import check_grad``
=============================================  ================================================

Each hands the function, and the derivatives that its library gives for it, to
`gradlab.check_derivatives`. The verdict follows from measured error bars. Relative errors up to
1.5e-11 pass as rounding, and a relative tolerance that the caller passes is an accepted relative
error (``allow=``). The original check decides where measured slopes are inconclusive, such as at
the place of a jump; only there do steps and absolute tolerances have an effect.

`shared` says what all of them do with a report.
"""
