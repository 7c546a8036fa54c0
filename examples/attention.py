"""Self-attention and layer norm in plain NumPy: a transformer block learns to reverse sequences.

Vaswani et al. (2017); Ba, Kiros and Hinton (2016). Run it with `python examples/attention.py`.
"""

import numpy as np

import gradlab
from gradlab import network, optim

SYMBOLS, STEPS, WIDTH = 10, 6, 32


def layer_norm(x, scale, shift):
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return scale * centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5) + shift


def attention(queries, keys, values):
    """Return the values weighted by softmax(q k / √width), and the weights (n, steps, steps)."""
    scores = np.matmul(queries, np.swapaxes(keys, 1, 2)) / np.sqrt(queries.shape[-1])
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = weights / np.sum(weights, axis=-1, keepdims=True)
    return np.matmul(weights, values), weights


def logits(params, symbols):
    """Return the scores of each symbol at each step, (n, steps, SYMBOLS), and the weights."""
    x = params["symbols"][symbols] + params["steps"]
    y = layer_norm(x, *params["norm1"])
    y, weights = attention(*(np.dot(y, params[name]) for name in ("Wq", "Wk", "Wv")))
    y = layer_norm(x + np.dot(y, params["Wo"]), *params["norm2"])
    return np.dot(y, params["symbols"].T), weights


def loss(params, symbols, targets):
    return network.cross_entropy(logits(params, symbols)[0].reshape(-1, SYMBOLS), targets.ravel())


def init():
    rng = np.random.default_rng(0)
    rows = {"symbols": SYMBOLS, "steps": STEPS} | dict.fromkeys(("Wq", "Wk", "Wv", "Wo"), WIDTH)
    params = {name: rng.normal(size=(n, WIDTH)) / np.sqrt(WIDTH) for name, n in rows.items()}
    return params | dict.fromkeys(("norm1", "norm2"), np.outer([1.0, 0.0], np.ones(WIDTH)))


def trained(iterations):
    """Return the fitted parameters, and the share of correct symbols in 1000 new sequences."""
    x = np.random.default_rng(1).integers(SYMBOLS, size=(6000, STEPS))
    options = {"backend": "tape", "optimizer": optim.adam(0.003), "iterations": iterations}
    result = gradlab.fit(loss, init(), (x[:5000], x[:5000, ::-1]), **options)
    found = np.argmax(logits(result.params, x[5000:])[0], axis=-1)
    return result.params, float(np.mean(found == x[5000:, ::-1]))


if __name__ == "__main__":
    x = np.arange(2 * STEPS).reshape(2, STEPS) % SYMBOLS
    print("gradient right:", gradlab.check_gradients(loss, init(), x, x[:, ::-1]).ok)
    params, share = trained(500)
    print(f"symbols right: {share:.2%}; steps attended to:", logits(params, x)[1][0].argmax(1))
