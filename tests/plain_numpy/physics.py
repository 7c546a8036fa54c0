"""Losses of physics, engineering and graphics, as they are written there."""

import numpy as np

from .helpers import periodic_laplacian
from .registry import loss, normal, rising, uniform


@loss({"r": uniform(0.5, 1.0), "K": uniform(2, 4), "n0": uniform(0.3, 0.6)}, uniform(0.5, 3, 10))
def logistic_growth_euler(p, observed):
    n = p["n0"]
    path = [n]
    for _ in range(9):
        n = n + 0.2 * p["r"] * n * (1 - n / p["K"])
        path.append(n)
    return np.mean((np.array(path) - observed) ** 2)


@loss(uniform(0.3, 1.0, 4), uniform(0.5, 2, 8, 2))
def predator_prey_rk4(theta, data):
    a, b, c, d = theta

    def rhs(s):
        x, y = s
        return np.array([a * x - b * x * y, c * x * y - d * y])

    s, dt = np.array([1.0, 0.8]), 0.1
    states = []
    for _ in range(8):
        k1 = rhs(s)
        k2 = rhs(s + dt / 2 * k1)
        k3 = rhs(s + dt / 2 * k2)
        k4 = rhs(s + dt * k3)
        s = s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(s)
    return np.sum((np.stack(states) - data) ** 2)


@loss((normal(4, 2, scale=2.0), normal(4, 2, scale=0.2)))
def n_body_energy(state):
    q, v = state
    kinetic = 0.5 * np.sum(v**2)
    potential = 0.0
    for i in range(len(q)):
        for j in range(i + 1, len(q)):
            potential -= 1.0 / np.linalg.norm(q[i] - q[j])
    return kinetic + potential


@loss(normal(8), normal(8))
def heat_equation_stencil(u, target):
    for _ in range(5):
        new = u.copy()
        new[1:-1] = u[1:-1] + 0.2 * (u[2:] - 2 * u[1:-1] + u[:-2])
        u = new
    return np.sum((u - target) ** 2)


@loss(normal(4, 5))
def heat_equation_with_roll(u):
    for _ in range(3):
        u = u + 0.1 * periodic_laplacian(u)
    return np.sum(u**4)


@loss(uniform(0.5, 1.5, 6), normal(5))
def finite_element_bar(stiffness, load):
    k = stiffness
    K = np.diag(k[:-1] + k[1:]) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)
    u = np.linalg.solve(K, load)
    return load @ u


@loss(normal(3), normal(7, 2), normal(7, 2))
def rigid_registration(p, A, B):
    angle, tx, ty = p
    R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = A @ R.T + np.array([tx, ty])
    return np.sum((moved - B) ** 2)


@loss(normal(4), normal(3))
def quaternion_rotation(q, v):
    w, x, y, z = q / np.linalg.norm(q)
    R = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.sum((R @ v - np.array([1.0, 0.0, 0.0])) ** 2)


@loss(normal(3))
def robot_arm_reach(joints):
    T = np.eye(3)
    for angle in joints:
        c, s = np.cos(angle), np.sin(angle)
        T = T @ np.array([[c, -s, c], [s, c, s], [0, 0, 1]])
    reach = T[:2, 2]
    return np.linalg.norm(reach - np.array([1.5, 0.5])) + 0.1 * np.sum(joints**2)


@loss({"f": normal(), "R": normal(3, scale=0.2), "t": normal(3)}, normal(6, 3), normal(6, 2))
def camera_reprojection(cam, points, pixels):
    theta = np.sqrt(np.sum(cam["R"] ** 2))
    k = cam["R"] / theta
    rotated = (
        points * np.cos(theta)
        + np.cross(k, points) * np.sin(theta)
        + np.outer(points @ k, k) * (1 - np.cos(theta))
    )
    p = rotated + cam["t"] + np.array([0, 0, 8.0])
    proj = np.exp(cam["f"]) * p[:, :2] / p[:, 2:]
    return np.mean(np.sum((proj - pixels) ** 2, axis=1))


@loss(normal(4, 3))
def triangle_areas(v):
    faces = np.array([[0, 1, 2], [0, 2, 3], [1, 2, 3]])
    a, b, c = v[faces[:, 0]], v[faces[:, 1]], v[faces[:, 2]]
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum()


@loss(normal(5), normal(16), normal(16))
def fir_filter_design(h, x, d):
    y = np.convolve(x, h)[: len(x)]
    return np.mean((d - y) ** 2)


@loss(normal(8, scale=0.4), normal(16))
def spectral_equaliser(gain, x):
    X = np.fft.rfft(x)
    g = np.concatenate([np.exp(gain), np.array([1.0])])
    y = np.fft.irfft(X * g)
    return np.sum(np.abs(y)) + np.var(y)


@loss(
    {"amp": uniform(0.5, 2, 2), "freq": uniform(0.3, 1, 2), "phase": normal(2)},
    rising(12),
    normal(12),
)
def sum_of_sines(p, t, y):
    model = sum(
        a * np.sin(w * t + ph) for a, w, ph in zip(p["amp"], p["freq"], p["phase"], strict=True)
    )
    return ((y - model) ** 2).sum()


@loss(normal(6))
def total_variation(s):
    return np.sum(np.abs(np.diff(s))) + 0.5 * np.sum((s - np.arange(6) ** 0.5) ** 2)


@loss(normal(5, 5))
def ising_energy(field):
    s = np.tanh(field)
    nb = np.roll(s, 1, 0) + np.roll(s, -1, 0) + np.roll(s, 1, 1) + np.roll(s, -1, 1)
    return -0.5 * np.sum(s * nb)


@loss(uniform(0.9, 1.6, 5, 3))
def lennard_jones(x):
    x = x * np.arange(1, 6)[:, None]
    d = x[:, None, :] - x[None, :, :]
    i, j = np.triu_indices(5, 1)
    r2 = np.sum(d[i, j] ** 2, axis=-1)
    inv6 = 1.0 / r2**3
    return np.sum(4 * (inv6**2 - inv6))


@loss(normal(2), normal(5))
def simpson_integral(p, knots):
    x = np.linspace(0, np.exp(p[0]), 11)
    y = np.exp(-p[1] * x**2)
    w = np.ones(11)
    w[1:-1:2], w[2:-1:2] = 4, 2
    return (x[1] - x[0]) / 3 * np.sum(w * y) + 0 * knots.sum()


@loss(normal(2, scale=0.2))
def newton_root(c):
    x = 1.0
    for _ in range(6):
        x = x - (x**3 + c[0] * x - 2 - c[1]) / (3 * x**2 + c[0])
    return x**2


@loss(normal(3, 3, scale=0.3))
def matrix_exponential_series(A):
    term = np.eye(3)
    total = np.eye(3)
    for n in range(1, 15):
        term = term @ A / n
        total = total + term
    return np.trace(total) + total[0, 2]


@loss(uniform(0.5, 2, 3), uniform(0.1, 2, 8))
def michaelis_menten(p, s):
    vmax, km, ki = p
    rate = vmax * s / (km + s * (1 + s / ki))
    return np.trapezoid(rate, dx=0.25)


@loss(normal(3, scale=0.5), rising(10), normal(10))
def damped_oscillator_verlet(theta, t, data):
    k, c, x = np.exp(theta[0]), np.exp(theta[1]) * 0.1, theta[2]
    v = 0.0
    err = 0.0
    for step in range(1, len(t)):
        dt = (t[step] - t[step - 1]) * 0.2
        a = -k * x - c * v
        v = v + dt * a
        x = x + dt * v
        err = err + (x - data[step]) ** 2
    return err / len(t)


@loss(normal(2))
def rosenbrock(x):
    return sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0)


@loss(normal(4))
def ackley(x):
    a = -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2)))
    b = -np.exp(np.mean(np.cos(2 * np.pi * x)))
    return a + b + 20 + np.e


@loss(normal(4, 2), normal(2))
def barycentre_and_inertia(pos, g):
    m = np.arange(1, 5)
    com = np.average(pos, axis=0, weights=m)
    rel = pos - com
    inertia = np.einsum("i,ij,ik->jk", m, rel, rel)
    return np.linalg.eigvalsh(inertia)[1] + com @ g


@loss(normal(4, scale=0.3), uniform(0.2, 0.8, 6))
def chebyshev_recurrence(c, x):
    T = [np.ones_like(x), x]
    for _ in range(2, len(c)):
        T.append(2 * x * T[-1] - T[-2])
    return np.sum((np.tensordot(c, np.array(T), axes=1) - np.exp(x)) ** 2)
