"""Networks as the textbooks and courses write them: layers, dicts, im2col, every cross entropy."""

import numpy as np

from .registry import below, loss, normal, uniform

# ---------------------------------------------------------------- layers with state


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
        self.x = None
        self.original_x_shape = None

    def forward(self, x):
        self.original_x_shape = x.shape
        x = x.reshape(x.shape[0], -1)
        self.x = x
        return np.dot(self.x, self.W) + self.b


class Relu:
    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out


class Sigmoid:
    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out


def softmax(x):
    if x.ndim == 2:
        x = x.T
        x = x - np.max(x, axis=0)
        y = np.exp(x) / np.sum(np.exp(x), axis=0)
        return y.T
    x = x - np.max(x)
    return np.exp(x) / np.sum(np.exp(x))


def cross_entropy_error(y, t):
    if y.ndim == 1:
        t = t.reshape(1, t.size)
        y = y.reshape(1, y.size)
    if t.size == y.size:
        t = t.argmax(axis=1)
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + 1e-7)) / batch_size


class SoftmaxWithLoss:
    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        self.loss = cross_entropy_error(self.y, self.t)
        return self.loss


TWO_LAYERS = {"W1": normal(4, 5), "b1": normal(5), "W2": normal(5, 3), "b2": normal(3)}


@loss(TWO_LAYERS, normal(6, 4), below(3, 6))
def two_layer_net(params, x, t):
    z1 = 1 / (1 + np.exp(-(np.dot(x, params["W1"]) + params["b1"])))
    return cross_entropy_error(softmax(np.dot(z1, params["W2"]) + params["b2"]), t)


@loss(TWO_LAYERS, normal(6, 4), np.eye(3)[[0, 2, 1, 1, 0, 2]])
def layers_made_in_the_loss(params, x, t):
    layers = [Affine(params["W1"], params["b1"]), Relu(), Affine(params["W2"], params["b2"])]
    for layer in layers:
        x = layer.forward(x)
    return SoftmaxWithLoss().forward(x, t)


@loss(TWO_LAYERS, normal(5, 4), below(3, 5))
class LayersThatStay:
    def __init__(self):
        self.params = {}
        self.layers = {}
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def __call__(self, params, x, t):
        self.layers = {
            "A1": Affine(params["W1"], params["b1"]),
            "S": Sigmoid(),
            "A2": Affine(params["W2"], params["b2"]),
        }
        return self.last_layer.forward(self.predict(x), t)


@loss(
    {"W": normal(4, 3), "gamma": uniform(0.5, 2, 3), "beta": normal(3)}, normal(7, 4), normal(7, 3)
)
class BatchNormWithRunningMean:
    def __init__(self):
        self.running_mean = np.zeros(3)
        self.running_var = np.ones(3)
        self.momentum = 0.9

    def __call__(self, p, x, t):
        h = np.dot(x, p["W"])
        mu = h.mean(axis=0)
        xc = h - mu
        var = np.mean(xc**2, axis=0)
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        out = p["gamma"] * xc / np.sqrt(var + 10e-7) + p["beta"]
        return 0.5 * np.sum((out - t) ** 2)


@loss(normal(3), normal(8, 3), normal(8))
class KeepsItsHistory:
    def __init__(self):
        self.losses = []

    def __call__(self, w, X, y):
        value = np.mean((X @ w - y) ** 2)
        self.losses.append(value)
        return value


@loss({"Wx": normal(3, 4), "Wh": normal(4, 4, scale=0.5), "b": normal(4)}, normal(5, 2, 3))
def recurrent_time_steps(p, xs):
    T, N, _ = xs.shape
    h = np.zeros((N, 4))
    hs = []
    for t in range(T):
        h = np.tanh(np.dot(h, p["Wh"]) + np.dot(xs[t], p["Wx"]) + p["b"])
        hs.append(h)
    return np.sum(np.array(hs) ** 2) / N


@loss({"Wx": normal(3, 4), "Wh": normal(4, 4, scale=0.5), "b": normal(4)}, normal(2, 5, 3))
def recurrent_filled_array(p, xs):
    N, T, D = xs.shape
    H = p["Wh"].shape[0]
    hs = np.empty((N, T, H), dtype="f")
    h = np.zeros((N, H), dtype="f")
    total = 0
    for t in range(T):
        h = np.tanh(h @ p["Wh"] + xs[:, t, :] @ p["Wx"] + p["b"])
        total = total + (h**2).sum()
    return total / hs.size


@loss({"Wx": normal(3, 16), "Wh": normal(4, 16, scale=0.5), "b": normal(16)}, normal(4, 2, 3))
def lstm_cell(p, xs):
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h = c = np.zeros((2, 4))
    for x in xs:
        A = x.dot(p["Wx"]) + h.dot(p["Wh"]) + p["b"]
        f, g, i, o = A[:, :4], A[:, 4:8], A[:, 8:12], A[:, 12:]
        c = sigmoid(f) * c + np.tanh(g) * sigmoid(i)
        h = sigmoid(o) * np.tanh(c)
    return np.mean(h**2) + c.max()


@loss({"W": normal(3, 5, 4, scale=0.5), "U": normal(3, 4, 4, scale=0.5)}, normal(4, 5))
def gru_split(p, xs):
    h = np.zeros(4)
    for x in xs:
        z, r = (1 / (1 + np.exp(-(x @ p["W"][k] + h @ p["U"][k]))) for k in (0, 1))
        cand = np.tanh(x @ p["W"][2] + (r * h) @ p["U"][2])
        h = (1 - z) * h + z * cand
    return np.linalg.norm(h - 0.3)


@loss(
    {"Wxh": normal(5, 6), "Whh": normal(5, 5, scale=0.5), "Why": normal(6, 5), "bh": normal(5, 1)},
    below(6, 7),
)
def min_char_rnn(p, text):
    inputs, targets = text[:-1], text[1:]
    xs, hs, ys, ps = {}, {}, {}, {}
    hs[-1] = np.zeros((5, 1))
    total = 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((6, 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(np.dot(p["Wxh"], xs[t]) + np.dot(p["Whh"], hs[t - 1]) + p["bh"])
        ys[t] = np.dot(p["Why"], hs[t])
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))
        total += -np.log(ps[t][targets[t], 0])
    return total


# ---------------------------------------------------------------- convolutions


def im2col(input_data, filter_h, filter_w, stride=1, pad=0):
    N, C, H, W = input_data.shape
    out_h = (H + 2 * pad - filter_h) // stride + 1
    out_w = (W + 2 * pad - filter_w) // stride + 1
    img = np.pad(input_data, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    col = np.zeros((N, C, filter_h, filter_w, out_h, out_w))
    for y in range(filter_h):
        y_max = y + stride * out_h
        for x in range(filter_w):
            x_max = x + stride * out_w
            col[:, :, y, x, :, :] = img[:, :, y:y_max:stride, x:x_max:stride]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(N * out_h * out_w, -1)


@loss({"W": normal(3, 1, 3, 3), "b": normal(3)}, normal(2, 1, 5, 5))
def convolution_of_data(p, x):
    col = im2col(x, 3, 3, stride=1, pad=1)
    out = np.dot(col, p["W"].reshape(3, -1).T) + p["b"]
    out = out.reshape(2, 5, 5, -1).transpose(0, 3, 1, 2)
    return np.mean(np.maximum(out, 0) ** 2)


@loss({"W1": normal(2, 1, 2, 2), "W2": normal(2, 2, 2, 2)}, normal(2, 1, 4, 4))
def two_convolutions(p, x):
    for name in ("W1", "W2"):
        W = p[name]
        FN, _, FH, FW = W.shape
        N, _, H, Wd = x.shape
        col = im2col(x, FH, FW)
        out = np.dot(col, W.reshape(FN, -1).T)
        x = np.tanh(out.reshape(N, H - FH + 1, Wd - FW + 1, FN).transpose(0, 3, 1, 2))
    return np.sum(x**2)


@loss(normal(1, 2, 4, 4))
def max_pooling_reshape(x):
    N, C, H, W = x.shape
    pooled = x.reshape(N, C, H // 2, 2, W // 2, 2).max(axis=3).max(axis=4)
    return np.sum(pooled**2)


@loss({"k": normal(2, 3, 3)}, normal(6, 6))
def naive_convolution_loops(p, img):
    H, W = img.shape
    out = []
    for f in range(2):
        for i in range(H - 2):
            for j in range(W - 2):
                out.append(np.sum(img[i : i + 3, j : j + 3] * p["k"][f]))
    out = np.array(out).reshape(2, H - 2, W - 2)
    return np.log(np.sum(np.exp(out)))


@loss({"k": normal(2, 2, 2)}, normal(4, 4))
def naive_convolution_filled(p, img):
    out = np.zeros((2, 3, 3))
    for f in range(2):
        for i in range(3):
            for j in range(3):
                out[f, i, j] = np.sum(img[i : i + 2, j : j + 2] * p["k"][f])
    return np.mean(out**2)


@loss(normal(3, 3), normal(7, 7))
def convolution_by_windows(k, img):
    win = np.lib.stride_tricks.sliding_window_view(img, (3, 3))
    out = np.einsum("ijkl,kl->ij", win, k)
    return np.sum(np.abs(out) ** 1.5)


@loss(normal(6, 6))
def average_pooling_blocks(img):
    pooled = img.reshape(3, 2, 3, 2).mean(axis=(1, 3))
    up = np.repeat(np.repeat(pooled, 2, axis=0), 2, axis=1)
    return np.sum((img - up) ** 2) + pooled.max()


# ---------------------------------------------------------------- styles of courses


@loss(
    {"W1": normal(5, 4), "b1": normal(5, 1), "W2": normal(1, 5), "b2": normal(1, 1)},
    normal(4, 7),
    below(2, 1, 7),
)
def andrew_ng_shallow(parameters, X, Y):
    m = Y.shape[1]
    A1 = np.tanh(np.dot(parameters["W1"], X) + parameters["b1"])
    A2 = 1 / (1 + np.exp(-(np.dot(parameters["W2"], A1) + parameters["b2"])))
    logprobs = np.multiply(np.log(A2), Y) + np.multiply(1 - Y, np.log(1 - A2))
    cost = -1 / m * np.sum(logprobs)
    return np.squeeze(cost)


@loss(
    {"W1": normal(4, 3), "b1": normal(4, 1), "W2": normal(2, 4), "b2": normal(2, 1)},
    normal(3, 5),
    below(2, 5),
    uniform(0, 1, 4, 5),
)
def andrew_ng_deep_dropout(parameters, X, y, draws):
    L = len(parameters) // 2
    A = X
    for l in range(1, L):  # noqa: E741
        Z = np.dot(parameters["W" + str(l)], A) + parameters["b" + str(l)]
        D = (draws < 0.8).astype(int)
        A = np.maximum(0, Z) * D / 0.8
    ZL = np.dot(parameters["W" + str(L)], A) + parameters["b" + str(L)]
    AL = np.exp(ZL - ZL.max(axis=0)) / np.sum(np.exp(ZL - ZL.max(axis=0)), axis=0, keepdims=True)
    Y = np.eye(2)[y].T
    l2 = sum(np.sum(np.square(parameters["W" + str(l)])) for l in range(1, L + 1))  # noqa: E741
    return -np.sum(Y * np.log(AL)) / X.shape[1] + 0.1 / 2 * l2


@loss(
    [[normal(4, 3), normal(2, 4)], [normal(4, 1), normal(2, 1)]],
    normal(3, 1),
    np.array([[1.0], [0.0]]),
)
def nielsen_network(p, a, y):
    weights, biases = p
    for b, w in zip(biases, weights, strict=True):
        a = 1.0 / (1.0 + np.exp(-(np.dot(w, a) + b)))
    return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))


@loss(
    [normal(4, 3), normal(4, 1), normal(2, 4), normal(2, 1)],
    [(normal(3, 1), np.array([[1.0], [0.0]])), (normal(3, 1), np.array([[0.0], [1.0]]))],
)
def nielsen_quadratic_over_pairs(p, data):
    w1, b1, w2, b2 = p
    cost = 0.0
    for x, y in data:
        a = 1 / (1 + np.exp(-(np.dot(w2, 1 / (1 + np.exp(-np.dot(w1, x) - b1))) + b2)))
        cost += 0.5 * np.linalg.norm(a - y) ** 2 / len(data)
    return cost


@loss(
    {"W1": normal(4, 5), "b1": normal(5), "W2": normal(5, 3), "b2": normal(3)},
    normal(6, 4),
    below(3, 6),
)
def cs231n_two_layers(model, X, y):
    N = X.shape[0]
    hidden = np.maximum(0, X.dot(model["W1"]) + model["b1"])
    scores = hidden.dot(model["W2"]) + model["b2"]
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    correct_logprobs = -np.log(probs[range(N), y])
    data_loss = np.sum(correct_logprobs) / N
    reg_loss = 0.5 * 1e-3 * np.sum(model["W1"] * model["W1"]) + 0.5 * 1e-3 * np.sum(
        model["W2"] * model["W2"]
    )
    return data_loss + reg_loss


@loss(normal(4, 3), normal(6, 4), below(3, 6))
def cs231n_svm_loops(W, X, y):
    num_train = X.shape[0]
    total = 0.0
    for i in range(num_train):
        scores = X[i].dot(W)
        correct_class_score = scores[y[i]]
        for j in range(W.shape[1]):
            if j == y[i]:
                continue
            margin = scores[j] - correct_class_score + 1
            if margin > 0:
                total += margin
    return total / num_train + 0.5 * np.sum(W * W)


@loss(
    {"W": normal(4, 3), "gamma": uniform(0.5, 1.5, 3), "beta": normal(3)}, normal(8, 4), below(3, 8)
)
def cs231n_batchnorm(p, X, y):
    z = X @ p["W"]
    sample_mean, sample_var = np.mean(z, axis=0), np.var(z, axis=0)
    z = p["gamma"] * (z - sample_mean) / np.sqrt(sample_var + 1e-5) + p["beta"]
    shifted = z - np.max(z, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.sum(log_probs[np.arange(8), y]) / 8


@loss([(normal(3, 4), normal(4)), (normal(4, 2), normal(2))], normal(5, 3), normal(5, 2))
def list_of_layers_loop(params, inputs, targets):
    for W, b in params[:-1]:
        inputs = np.tanh(np.dot(inputs, W) + b)
    W, b = params[-1]
    logits = np.dot(inputs, W) + b
    logits = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.sum(logits * np.exp(targets)) + 0.1 * sum(
        np.dot(part.ravel(), part.ravel()) for wb in params for part in wb
    )


@loss({"E": normal(7, 3), "W": normal(3, 7)}, below(7, 5), below(7, 5))
def skip_gram(p, centre, context):
    vectors = p["E"][centre]
    scores = vectors @ p["W"]
    top = np.max(scores, axis=1)
    log_z = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return np.mean(log_z - np.take_along_axis(scores, context[:, None], axis=1).squeeze())


@loss({"Wq": normal(4, 4), "Wk": normal(4, 4), "Wv": normal(4, 4), "g": normal(4)}, normal(5, 4))
def self_attention(p, x):
    q, k, v = x @ p["Wq"], x @ p["Wk"], x @ p["Wv"]
    scores = q @ k.T / np.sqrt(k.shape[-1])
    mask = np.triu(np.ones((5, 5)), k=1) * -1e10
    scores = scores + mask
    a = np.exp(scores - scores.max(-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    h = x + a @ v
    h = p["g"] * (h - h.mean(-1, keepdims=True)) / (h.std(-1, keepdims=True) + 1e-5)
    return np.mean(h**2)


@loss({"w": normal(6, 8, scale=0.4), "c": normal(8, 8, scale=0.4)}, normal(3, 6))
def multi_head_attention(p, x):
    def gelu(t):
        return 0.5 * t * (1 + np.tanh(np.sqrt(2 / np.pi) * (t + 0.044715 * t**3)))

    qkv = x @ p["w"]
    heads = [np.split(part, 2, axis=-1) for part in np.split(qkv @ p["c"], 2, axis=-1)]
    out = [np.exp(q @ q.T / 2) @ k for q, k in zip(*heads, strict=True)]
    return np.mean(gelu(np.hstack(out)))


@loss((normal(5, 2), normal(2, 5), normal(2)), normal(6, 5), normal(6, 2))
def variational_autoencoder(p, x, noise):
    enc, dec, log_s = p
    mu = x @ enc
    z = mu + np.exp(0.5 * log_s) * noise
    rec = np.logaddexp(0, -np.where(x > 0, 1, -1) * (z @ dec))
    kl = -0.5 * np.sum(1 + log_s - mu**2 - np.exp(log_s), axis=1)
    return np.mean(rec.sum(axis=1) + kl)


@loss({"W": normal(3, 4), "v": normal(4)}, normal(7, 3), normal(7))
class Perceptron:
    """A network that takes its weights in and computes step by step."""

    activation = staticmethod(np.tanh)

    def forward(self, W, v, X):
        return self.activation(X.dot(W)).dot(v)

    def __call__(self, p, X, y):
        return ((self.forward(p["W"], p["v"], X) - y) ** 2).mean()


# ---------------------------------------------------------------- the same loss, spelt otherwise


@loss(normal(6, 3), np.eye(3)[[0, 1, 2, 2, 1, 0]])
def cross_entropy_one_hot(z, t):
    delta = 1e-7
    y = np.exp(z) / np.sum(np.exp(z), axis=1).reshape(-1, 1)
    return -np.sum(t * np.log(y + delta)) / len(z)


@loss(normal(3), np.array([0, 1, 0]))
def cross_entropy_of_one(z, t):
    return cross_entropy_error(softmax(z), t)


@loss(normal(6, 3), below(3, 6))
def cross_entropy_of_list(z, y):
    return np.mean([-z[i, y[i]] + np.log(sum(np.exp(z[i]))) for i in range(len(z))])


@loss(normal(6, 3), below(3, 6))
def cross_entropy_eye(z, y):
    p = np.exp(z) / np.exp(z).sum(axis=1)[:, None]
    return -np.mean(np.sum(np.eye(3)[y] * np.log(p), axis=1))


@loss(normal(6, 3), below(3, 6))
def cross_entropy_choose(z, y):
    logp = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    return -np.choose(y, logp.T).mean()


@loss(normal(7), below(2, 7))
def binary_cross_entropy_where(z, y):
    p = np.clip(1 / (1 + np.exp(-z)), 1e-6, 1 - 1e-6)
    return np.where(y == 1, -np.log(p), -np.log(1 - p)).mean()


@loss(normal(5, 2), below(2, 5))
def focal_loss(z, y):
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    pt = p[np.arange(y.size), y.astype(int)]
    return -((1 - pt) ** 2 * np.log(pt)).mean()


labels_captured = np.array([2, 0, 1, 1])


@loss(normal(4, 3))
def cross_entropy_captured_labels(z):
    p = softmax(z)
    return -np.log(p[range(4), labels_captured]).sum() / 4
