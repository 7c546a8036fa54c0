"""Checks of other libraries by gradlab's checker, each with the signature of the original.

In a test suite, change one import:

=============================================  ================================================
``from torch.autograd import gradcheck``       ``from gradlab.interop.torch import gradcheck``
``from torch.autograd import gradgradcheck``   ``from gradlab.interop.torch import gradgradcheck``
``from jax.test_util import check_grads``      ``from gradlab.interop.jax import check_grads``
``from autograd.test_util import check_grads`` ``from gradlab.interop.autograd import check_grads``
``from scipy.optimize import check_grad``      ``from gradlab.interop.scipy import check_grad``
=============================================  ================================================

Each passes the function, and the derivatives that its library computes for it, to
`gradlab.check_derivatives`. Measured error bars decide the verdict. Relative errors up to 1.5e-11
pass as round-off, and a relative tolerance of the caller is an accepted relative error
(``allow=``). If measured slopes are inconclusive, for example at a jump, the original check
decides; only then do steps and absolute tolerances have an effect.

`shared` handles the reports of all of them.
"""
