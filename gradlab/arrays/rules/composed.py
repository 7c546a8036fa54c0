"""Functions whose rule is that of a composite, and `einsum`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import def_linear, defvjp_argnum, defvjp_argnums, make_vjp
from autograd.extend import primitive
from autograd.util import subval

from gradlab.arrays.composites.calculus import linspace as linspace_composite
from gradlab.arrays.composites.elementwise import sinc as sinc_composite
from gradlab.arrays.composites.products import einsum as einsum_composite
from gradlab.arrays.composites.rearranging import repeat as repeat_composite
from gradlab.arrays.composites.rearranging import roll as roll_composite
from gradlab.arrays.composites.rearranging import rot90 as rot90_composite
from gradlab.arrays.composites.rearranging import tile as tile_composite
from gradlab.arrays.composites.reductions import prod as prod_composite
from gradlab.arrays.composites.sorting import sort as sort_composite


def _rule_of(composite: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule that traces a composite when its derivative is computed."""

    def vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
        def pull_back(argnum: int) -> Any:
            return make_vjp(lambda x: composite(*subval(args, argnum, x), **kwargs), args[argnum])[
                0
            ]

        made = [pull_back(argnum) for argnum in argnums]
        return lambda g: tuple(vjp(g) for vjp in made)

    return vjps


defvjp_argnums(anp.tile, _rule_of(tile_composite))
defvjp_argnums(anp.roll, _rule_of(roll_composite))
defvjp_argnums(anp.repeat, _rule_of(repeat_composite))
defvjp_argnums(anp.rot90, _rule_of(rot90_composite))
defvjp_argnums(anp.sort, _rule_of(sort_composite))
defvjp_argnums(anp.prod, _rule_of(prod_composite))
defvjp_argnums(anp.sinc, _rule_of(sinc_composite))
defvjp_argnums(anp.linspace, _rule_of(linspace_composite))


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
defvjp_argnum(anp.einsum, lambda argnum, ans, args, kwargs: _einsum_vjp(argnum, args))


def _einsum_vjp(argnum: int, args: Any) -> Any:
    return make_vjp(lambda x: einsum_composite(*subval(args, argnum, x)), args[argnum])[0]
