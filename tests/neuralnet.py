"""The notebook's `neuralnet.py`: its network, unchanged.

Its training is missing here: `tests/test_notebook.py` shows that it is wrong.
"""

# fmt: off
import numpy as np


def sigmoid(x):
    return 1 / (1+np.exp(-x))

def relu(x):
    return np.maximum(0, x)

def softmax(a):
    c = np.max(a)
    exp_a = np.exp(a-c)
    y = exp_a / np.sum(exp_a)
    return y

def cross_entropy(y_pred, y):
    "batch_size: mini batch 크기"
    batch_size = len(y)
    return -np.sum(y * np.log(y_pred)) / batch_size


class Layer:
    def __init__(self, 입력수, 출력수, 활성화_함수):
        self.W = np.random.randn(입력수, 출력수)
        self.b = np.random.randn(출력수)
        self.activation = 활성화_함수

    def output(self, X):
        z = np.dot(X, self.W) + self.b
        y = self.activation(z)
        return y

    def get_params(self):
        return np.vstack([self.W, self.b])


class FeedForwardNet:
    def __init__(self, 학습률, 학습횟수, 손실함수):
        self.layers = []
        self.learning_rate = 학습률
        self.epoch = 학습횟수
        self.loss_func = 손실함수

    def add(self, layer):
        self.layers.append(layer)

    def predict(self, X):
        """순전파"""
        layer_input = X
        for layer in self.layers:
            layer_input = layer.output(layer_input)

        y = layer_input
        return y

    def compute_loss(self, X, y):
        y_pred = self.predict(X)
        return self.loss_func(y_pred, y)
