"""Everything random takes a seed: an int or a generator, the same seed for the same bits."""

from __future__ import annotations

import numpy as np

from gradlab import options


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Return a new generator of that seed, or the generator itself.

    Raises
    ------
    OptionError
        If `seed` is neither an integer from 0 nor a generator.

    Examples
    --------
    >>> generator(7).integers(100) == generator(7).integers(100)
    np.True_
    """
    if isinstance(seed, np.random.Generator):
        return seed
    advice = "give an integer from 0, or a numpy.random.Generator"
    return np.random.default_rng(options.integer("seed", seed, advice, least=0))
