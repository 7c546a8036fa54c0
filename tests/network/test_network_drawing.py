"""Drawing the parameters of a network."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from precise import few, sizes_of_networks

from gradlab import network
from gradlab.errors import OptionError


@given(
    sizes_of_networks,
    st.sampled_from([np.float16, np.float32, np.float64, "float32", np.longdouble]),
    st.sampled_from([None, "xavier", "he", "normal", 0.5]),
)
@few
def test_init_gives_a_network_of_these_sizes(sizes, dtype, scale):
    params = network.init(sizes, seed=0, dtype=dtype, scale=scale)
    layers = network.layers(params)
    assert [W.shape for W, _ in layers] == list(pairwise(sizes))
    assert list(params)[:2] == ["W1", "b1"]
    assert all(leaf.dtype == np.dtype(dtype) for leaf in params.values())
    if scale != "normal":
        assert not any(b.any() for _, b in layers)
    assert network.logits(params, np.zeros(sizes[0], dtype)).dtype == np.dtype(dtype)


SIZES = (100, 80, 60)


@pytest.mark.parametrize(
    ("options", "deviations"),
    [
        ({"scale": "xavier"}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        ({"scale": "he"}, [np.sqrt(2 / 100), np.sqrt(2 / 80)]),
        ({"scale": "normal"}, [1.0, 1.0]),
        ({"scale": 0.3}, [0.3, 0.3]),
        ({"scale": 3}, [3.0, 3.0]),
        ({}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        ({"activation": "tanh"}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        ({"activation": np.sin}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        # The last layer's softmax is none of the relu family.
        *(({"activation": name}, [np.sqrt(2 / 100), np.sqrt(2 / 140)])
          for name in ("relu", "leaky_relu", "elu", "softplus", "silu")),
    ],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_weights_are_normal_with_the_deviation_of_their_scale(options, deviations, seed):
    params = network.init(SIZES, seed, **options)
    for (W, b), deviation in zip(network.layers(params), deviations, strict=True):
        drawn = np.concatenate([W.ravel(), b]) if options.get("scale") == "normal" else W.ravel()
        # Each statistic's own standard error, six times: a false alarm in 5e8 draws.
        n = drawn.size
        assert abs(drawn.mean()) <= 6 * deviation / np.sqrt(n)
        assert abs(np.mean(drawn**2) / deviation**2 - 1) <= 6 * np.sqrt(2 / n)
        within = np.mean(abs(drawn) < deviation)
        assert abs(within - 0.682689) <= 6 * np.sqrt(0.682689 * 0.317311 / n)
        if options.get("scale") == "normal":
            assert abs(np.mean(b**2) - 1) <= 6 * np.sqrt(2 / b.size)
            assert b.any()


@given(st.integers(0, 2**32))
@few
def test_a_seed_decides_every_bit(seed):
    def bits(seed, **options):
        params = network.init((3, 2, 2), seed, scale="normal", **options)
        return b"".join(leaf.tobytes() for leaf in params.values())

    assert bits(seed) == bits(seed) == bits(np.random.default_rng(seed))
    assert bits(seed) != bits(seed + 1)
    rng = np.random.default_rng(seed)
    assert bits(rng) != bits(rng)  # a generator goes on
    # float32 is the same draw, rounded.
    exact = network.init((3, 2), seed)["W1"]
    assert np.array_equal(network.init((3, 2), seed, dtype="f4")["W1"], exact.astype("f4"))


def test_layers_are_drawn_independently():
    params = network.init((50, 50, 50), seed=0, scale="normal")
    drawn = [params[name].ravel() for name in ("W1", "W2")]
    assert abs(np.corrcoef(drawn)[0, 1]) <= 6 / np.sqrt(2500)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, -1), (3, 2.5), (3, "2"), "ab"])
def test_invalid_sizes_are_refused(sizes):
    with pytest.raises(OptionError, match="sizes="):
        network.init(sizes)


@pytest.mark.parametrize("scale", ["glorot", -1, -0.5, float("nan"), float("inf")])
def test_invalid_scales_are_refused(scale):
    with pytest.raises(OptionError, match="scale="):
        network.init((3, 2), scale=scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": 3}, "sizes=3"),
        ({"sizes": None}, "sizes=None"),
        ({"sizes": (True, 2)}, "sizes="),
        ({"scale": 0}, "scale=0"),
        ({"scale": 0.0}, "scale=0"),
        ({"scale": True}, "scale=True"),
        ({"scale": ""}, "scale=''"),
        ({"dtype": "foo"}, "dtype="),
        ({"activation": ["relu"]}, "unknown activation"),
    ],
)
def test_other_invalid_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        network.init(**({"sizes": (3, 2)} | options))


def test_a_scale_may_be_a_number_of_numpy():
    drawn = network.init((3, 2), scale=np.float32(0.5))["W1"]
    assert np.array_equal(drawn, network.init((3, 2), scale=0.5)["W1"])
    assert np.array_equal(network.init((3, 2), scale=np.int64(1))["W1"], 2 * drawn)


@pytest.mark.parametrize("dtype", [int, np.uint8, complex, object, bool])
def test_invalid_dtypes_are_refused(dtype):
    with pytest.raises(OptionError, match="dtype="):
        network.init((3, 2), dtype=dtype)


@pytest.mark.parametrize("activation", ["rleu", None, 3])
def test_invalid_activations_are_refused(activation):
    with pytest.raises(OptionError, match="unknown activation"):
        network.init((3, 2), activation=activation)


@pytest.mark.parametrize("seed", ["abc", -1, None, True])
def test_invalid_seeds_are_refused(seed):
    with pytest.raises(OptionError, match="seed="):
        network.init((3, 2), seed)
