"""Losses in plain NumPy, as people write them who never heard of gradlab, and what each comes to.

In reading order: `registry` (what a loss comes with), the losses themselves (`one_function`,
`linear_algebra`, `styles`, `models`, `physics`, `textbooks`, `algorithms`, `awkward`, with
`helpers`, which they import), `truth` (their gradients, by NumPy alone), `judge` (what a backend
makes of them; it alone imports gradlab).
"""

from . import algorithms, awkward, linear_algebra, models, one_function, physics, styles, textbooks
from .registry import CASES, Case

__all__ = [
    "CASES", "Case", "algorithms", "awkward", "linear_algebra", "models", "one_function", "physics",
    "styles", "textbooks",
]  # fmt: skip
