"""The fixed direction along which a probe measures noise."""

import numpy as np

from gradlab.gradients.probing.probe import Probe


def test_the_direction_changes_each_entry_by_half_its_size_up_to_all_of_it():
    """An entry of 0 changes by the largest entry of its leaf; in a leaf of zeros, by about 1."""
    leaf = np.linspace(-3, 3, 1001)
    params = {"a": leaf, "zeros": np.zeros(1000)}
    a, zeros = Probe(lambda p: 0.0, params, (), None).direction
    sizes = np.where(leaf == 0, 3.0, np.abs(leaf))
    for shares in (a / sizes, zeros):
        far = np.abs(shares)
        assert 0.5 <= far.min() < 0.55
        assert 0.95 < far.max() <= 1
        assert 0.4 < np.mean(shares > 0) < 0.6
