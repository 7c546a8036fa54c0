"""Losses in plain NumPy, as people write them who never heard of gradlab, and what each comes to.

In reading order: `registry` (what a loss comes with), the losses themselves (`one_function`,
`models`, `textbooks`, `awkward`, with `helpers`, which they import), `truth` (their gradients, by
NumPy alone), `judge` (what a backend makes of them; it alone imports gradlab).
"""

from . import awkward, models, one_function, textbooks
from .registry import CASES, Case

__all__ = ["CASES", "Case", "awkward", "models", "one_function", "textbooks"]
