"""Derivative rules that autograd lacks or has wrong, registered by autograd's public functions.

A test compares each formula with complex steps, exact differences or high precision. In the rules,
g is the cotangent of the result (in forward mode: the tangent of the argument).

In reading order: `shared`, `elementwise`, `large_numbers`, `writing`, `composed`, `linalg`,
`decompositions`, `fourier`. `gradlab.arrays.boxes` imports them, and `special` when a loss calls
one of SciPy's special functions.
"""

from gradlab.arrays import writing as _writing  # noqa: F401  registers functions that write
