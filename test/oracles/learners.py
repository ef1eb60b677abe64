"""Independent check of synthetic-tasks/learners: NumPy's predictions of every y from the pairs before it.

    python learners.py          writes learners.json beside this file (needs numpy, made with 2.4)

Every learner is computed from its definition anew at each position, in float64: neighbours by sorting distances, gradient
descent by its update on the loss, ridge by numpy.linalg.solve, least squares and its shortest solution by numpy.linalg.lstsq.
x and y are float32 values. `rates` are the step sizes of the least expected error, found by minimising a mean over drawn
problems on a grid: they are the check of the closed forms, to the accuracy of that mean.
"""

import json
import pathlib

import numpy as np

K, LAMBDA = 3, 0.7
# dimension, pairs, sigma, tau
CASES = [(3, 9, 0.25, 1.0), (8, 6, 0.5, 2.0), (5, 14, 0.0, 1.0), (4, 4, 1.0, 0.5), (6, 20, 0.1, 1.5)]


def neighbours(x, y, query):
    if len(y) == 0:
        return 0.0
    return float(np.mean(y[np.argsort(np.linalg.norm(x - query, axis=1))[:K]]))


def gradient_step(x, y, query, rate):
    w = np.zeros(x.shape[1])
    gradient = x.T @ (x @ w - y)
    return float((w - rate * gradient) @ query)


def sgd(x, y, query, rates):
    w = np.zeros(x.shape[1])
    for one, target, rate in zip(x, y, rates):
        w -= rate * (w @ one - target) * one
    return float(w @ query)


def ridge(x, y, query, penalty):
    return float(np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y) @ query)


def least_squares(x, y, query):
    return float(np.linalg.lstsq(x, y, rcond=None)[0] @ query) if len(y) else 0.0


def sgd_rates(count, d, sigma, tau):
    """The closed form of the best rates, step by step."""
    variance, rates = tau**2, []
    for _ in range(count):
        rates.append(variance / ((d + 2) * variance + sigma**2))
        variance *= 1 - rates[-1]
    return rates


def searched_rates(d, n, sigma, tau, rng, problems=200_000):
    """The rates of least mean error over drawn problems: of one gradient step on n pairs, and of SGD's second step."""
    w = tau * rng.normal(size=(problems, d))
    x = rng.normal(size=(problems, n, d))
    y = np.einsum("pnd,pd->pn", x, w) + sigma * rng.normal(size=(problems, n))
    moment = np.einsum("pnd,pn->pd", x, y)
    step = float(np.sum(moment * w) / np.sum(moment * moment))  # argmin over r of |w - r · moment|²
    first = sgd_rates(1, d, sigma, tau)[0] * y[:, :1] * x[:, 0]
    change = (y[:, 1] - np.sum(first * x[:, 1], axis=1))[:, None] * x[:, 1]
    second = float(np.sum(change * (w - first)) / np.sum(change * change))
    return {"dimension": d, "pairs": n, "sigma": sigma, "tau": tau, "step": step, "second": second}


rng = np.random.default_rng(23)
cases = []
for d, n, sigma, tau in CASES:
    x = rng.normal(size=(n, d)).astype(np.float32).astype(float)
    w = tau * rng.normal(size=d)
    if sigma == 0:  # few digits, so that y is exact in float32 too: its rounding would be noise
        x, w = np.round(x * 256) / 256, np.round(w * 16) / 16
    y = (x @ w + sigma * rng.normal(size=n)).astype(np.float32).astype(float)
    rates = sgd_rates(n, d, sigma, tau)
    at = range(n)
    bayes = (lambda a, b, q: least_squares(a, b, q)) if sigma == 0 else (lambda a, b, q: ridge(a, b, q, (sigma / tau) ** 2))
    cases.append(
        {
            "dimension": d,
            "examples": n,
            "sigma": sigma,
            "tau": tau,
            "x": x.ravel().tolist(),
            "y": y.tolist(),
            "predictions": {
                "k-nearest": [neighbours(x[:i], y[:i], x[i]) for i in at],
                "gradient-step": [gradient_step(x[:i], y[:i], x[i], 1 / (i + d + 1 + (sigma / tau) ** 2)) for i in at],
                "sgd": [sgd(x[:i], y[:i], x[i], rates) for i in at],
                "ridge": [ridge(x[:i], y[:i], x[i], LAMBDA) for i in at],
                "least-squares": [least_squares(x[:i], y[:i], x[i]) for i in at],
                "bayes": [bayes(x[:i], y[:i], x[i]) for i in at],
            },
        }
    )
rates = [searched_rates(3, 4, 0.5, 1.0, rng), searched_rates(5, 8, 0.0, 2.0, rng), searched_rates(2, 2, 1.0, 0.5, rng)]
path = pathlib.Path(__file__).resolve().parent / "learners.json"
path.write_text(json.dumps({"numpy": np.__version__, "k": K, "lambda": LAMBDA, "cases": cases, "rates": rates}) + "\n")
