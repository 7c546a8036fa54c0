"""Functions and classes such as losses import from somewhere else, and that nobody adapts."""

import numpy as np


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def rbf_kernel(A, B, length):
    sq = np.sum(A**2, axis=1).reshape(-1, 1) + np.sum(B**2, axis=1) - 2 * np.dot(A, B.T)
    return np.exp(-0.5 / length**2 * sq)


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array(((c, -s), (s, c)))


def periodic_laplacian(u):
    return sum(np.roll(u, shift, axis) for shift in (-1, 1) for axis in (0, 1)) - 4 * u


def whiten(X, eps=1e-3):
    X = np.asarray(X)
    centred = X - np.mean(X, axis=0)
    cov = centred.T @ centred / (len(X) - 1)
    w, V = np.linalg.eigh(cov)
    return centred @ V @ np.diag(1 / np.sqrt(w + eps)) @ V.T


def normalise(w):
    w = np.asarray(w, dtype=float)
    if w.ndim != 1:
        raise ValueError("weights must be a vector")
    return w / w.sum()


def smooth(x, weights):
    return np.convolve(x, weights, mode="valid")


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


class Ornstein:
    """A mean-reverting process."""

    def __init__(self, log_rate, mean, log_sigma):
        self.rate, self.mean, self.sigma = np.exp(log_rate), mean, np.exp(log_sigma)

    def moments(self, dt, x):
        decay = np.exp(-self.rate * dt)
        var = self.sigma**2 / (2 * self.rate) * (1 - decay**2)
        return self.mean + (x - self.mean) * decay, var

    def negative_log_likelihood(self, t, x):
        mean, var = self.moments(np.diff(t), x[:-1])
        return 0.5 * np.sum(np.log(2 * np.pi * var) + (x[1:] - mean) ** 2 / var)
