"""Seeds: an int or a generator; the same seed gives the same bits."""

from __future__ import annotations

import numpy as np

from gradlab import options


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Return a new generator for a seed, or the given generator; refuse other values.

    Examples
    --------
    >>> generator(7).integers(100) == generator(7).integers(100)
    np.True_
    """
    if isinstance(seed, np.random.Generator):
        return seed
    advice = "give an integer from 0, or a numpy.random.Generator"
    return np.random.default_rng(options.integer("seed", seed, advice, least=0))
