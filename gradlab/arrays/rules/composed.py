"""Functions whose rule is that of a composite, and `einsum`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import def_linear, defvjp_argnum, defvjp_argnums, make_vjp
from autograd.extend import primitive
from autograd.util import subval

from gradlab.arrays import composites as composites  # registers them
from gradlab.arrays.dispatch import COMPOSITES


def _rule_of(composite: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule that traces a composite when its derivative is computed."""

    def vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
        def pull_back(argnum: int) -> Any:
            of_one = make_vjp(lambda x: composite(*subval(args, argnum, x), **kwargs), args[argnum])
            return of_one[0]

        made = [pull_back(argnum) for argnum in argnums]
        return lambda g: tuple(vjp(g) for vjp in made)

    return vjps


for _name in "tile roll repeat rot90 sort prod sinc linspace einsum".split():
    defvjp_argnums(getattr(anp, _name), _rule_of(COMPOSITES[getattr(np, _name)]))


# autograd's rule of einsum is wrong where an operand repeats a subscript, or is broadcast.


@primitive  # type: ignore[untyped-decorator]
def contract(subscripts: str, *operands: Any) -> Any:
    """Evaluate an einsum whose operands have each subscript once, and in full length."""
    return np.einsum(subscripts, *operands)


def _contract_vjp(argnum: int, ans: Any, args: Any, kwargs: Any) -> Any:
    subscripts, *operands = args
    inputs, output = subscripts.split("->")
    names = inputs.split(",")
    own, rest = names.pop(argnum - 1), operands[: argnum - 1] + operands[argnum:]
    seen = set(output).union(*names)
    # Axes that only this operand has were summed: the adjoint repeats along them.
    alone = [name for name in own if name not in seen]
    kept = "".join(name for name in own if name in seen)
    shape, is_complex = anp.shape(operands[argnum - 1]), anp.iscomplexobj(operands[argnum - 1])

    def vjp(g: Any) -> Any:
        share = contract(",".join([output, *names]) + "->" + kept, g, *rest)
        share = share if is_complex else anp.real(share)
        spread = [i for i, name in enumerate(own) if name in alone]
        return anp.broadcast_to(anp.expand_dims(share, tuple(spread)), shape) if spread else share

    return vjp


defvjp_argnum(contract, _contract_vjp)
def_linear(contract)
