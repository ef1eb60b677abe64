"""Independent check of the logistic-regression task's reference: probabilities of every label from the pairs before it.

    python logistic.py       writes logistic.json beside this file (needs numpy, made with 2.4)

The mode of the posterior by gradient descent with backtracking to a gradient below 1e-12 (no Newton), the covariance by
numpy.linalg.inv of the curvature there, MacKay's approximation of the mean of the sigmoid. `bayes` is the mean itself, in two
dimensions, by a sum over a fine grid of weights. x are float32 values.
"""

import json
import pathlib

import numpy as np

# dimension, pairs, tau
CASES = [(2, 8, 10.0), (2, 12, 1.0), (4, 17, 10.0), (8, 12, 3.0), (3, 30, 0.5)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def mode(x, y, tau):
    """Least of the negative log-posterior, by gradient steps of the inverse of the largest curvature that there can be, with momentum."""
    d = x.shape[1]
    sign = 2 * y - 1
    largest = 1 / tau**2 + (np.linalg.norm(x, 2) ** 2 / 4 if len(y) else 0)
    w, ahead, t = np.zeros(d), np.zeros(d), 1.0
    for _ in range(2_000_000):
        gradient = ahead / tau**2 - (x.T @ (sign * sigmoid(-sign * (x @ ahead))) if len(y) else 0)
        if np.abs(gradient).max() < 1e-12:
            return ahead
        after = ahead - gradient / largest
        if gradient @ (after - w) > 0:
            t = 1.0
        grown = (1 + np.sqrt(1 + 4 * t * t)) / 2
        w, ahead, t = after, after + (t - 1) / grown * (after - w), grown
    raise SystemExit("no mode")


def laplace(x, y, query, tau):
    w = mode(x, y, tau)
    p = sigmoid(x @ w) if len(y) else np.zeros(0)
    curvature = np.eye(x.shape[1]) / tau**2 + (x.T * (p * (1 - p))) @ x
    variance = query @ np.linalg.inv(curvature) @ query
    return float(sigmoid(w @ query / np.sqrt(1 + np.pi * variance / 8))), [float(v) for v in w]


def bayes(x, y, query, tau):
    axis = np.linspace(-8 * tau, 8 * tau, 1601)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    sign = 2 * y - 1
    log = -(grid**2).sum(1) / (2 * tau**2)
    for one, s in zip(x, sign):
        log -= np.logaddexp(0, -s * (grid @ one))
    weight = np.exp(log - log.max())
    return float((weight * sigmoid(grid @ query)).sum() / weight.sum())


np.seterr(over="ignore")
rng = np.random.default_rng(23)
cases = []
for dimension, examples, tau in CASES:
    x = rng.normal(size=(examples, dimension)).astype(np.float32).astype(float)
    w = tau * rng.normal(size=dimension)
    y = (rng.random(examples) < sigmoid(x @ w)).astype(float)
    found = [laplace(x[:i], y[:i], x[i], tau) for i in range(examples)]
    case = {"dimension": dimension, "examples": examples, "tau": tau, "x": x.ravel().tolist(), "y": y.astype(int).tolist()}
    case["probabilities"] = [p for p, _ in found]
    case["mode"] = found[-1][1]
    if dimension == 2:
        case["bayes"] = [bayes(x[:i], y[:i], x[i], tau) for i in range(examples)]
    cases.append(case)
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, indent=1) + "\n")
