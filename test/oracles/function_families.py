"""Independent check of synthetic-tasks/families: NumPy's Bayesian prediction over mixtures of function families.

    python function_families.py          writes function_families.json beside this file (needs numpy, made with 2.4)

A family has features φ(x), weights w ~ N(mean, diag(deviation²)) and noise of deviation sigma. Nothing is updated pair by pair here: for
every i, the y's before it are one draw of N(Φ mean, Φ S Φᵀ + sigma² I), whose log-density is the family's evidence, and y_i follows
by conditioning that joint normal law on them. Families are weighed by share · evidence; the mixture's variance is by the law of total
variance. x and y are float32 values.
"""

import json
import pathlib

import numpy as np


def linear(d):
    return lambda x: x


def fourier(degree, half):
    def features(x):
        k = np.arange(1, degree + 1)
        angles = np.pi * x[:, :1] * k / half
        pairs = np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(len(x), 2 * degree)
        return np.concatenate([np.full((len(x), 1), 0.5), pairs], axis=1)

    return features


def monomials(pairs):
    return lambda x: np.stack([x[:, i] * x[:, j] for i, j in pairs], axis=1)


def prediction(family, x, y, query):
    """Mean and variance of y at the query, and the log-evidence of the pairs."""
    phi, at = family["features"](x), family["features"](query[None])[0]
    mean, S = np.array(family["mean"]), np.diag(np.array(family["deviation"]) ** 2)
    noise = family["sigma"] ** 2
    if len(y) == 0:
        return at @ mean, at @ S @ at + noise, 0.0
    K = phi @ S @ phi.T + noise * np.eye(len(y))
    rest = y - phi @ mean
    solved = np.linalg.solve(K, rest)
    across = phi @ S @ at
    evidence = -0.5 * (rest @ solved + np.linalg.slogdet(K)[1] + len(y) * np.log(2 * np.pi))
    return at @ mean + across @ solved, at @ S @ at - across @ np.linalg.solve(K, across) + noise, evidence


def bayes(mixture, x, y, query):
    laws = [prediction(family, x, y, query) for family in mixture]
    logs = np.array([np.log(family["share"]) + law[2] for family, law in zip(mixture, laws)])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    means, variances = np.array([law[0] for law in laws]), np.array([law[1] for law in laws])
    mean = weights @ means
    return float(mean), float(weights @ (variances + (means - mean) ** 2)), weights.tolist()


rng = np.random.default_rng(23)


def family(basis, mean, deviation, sigma, share):
    kind, argument = basis
    features = {"linear": linear, "fourier": lambda a: fourier(*a), "monomials": monomials}[kind](argument)
    return {"basis": [kind, argument], "features": features, "mean": mean, "deviation": deviation, "sigma": sigma, "share": share}


def series(degree, share):
    size = 2 * degree + 1
    return family(["fourier", [degree, 1.5]], [0.0] * size, [1.0] * size, 0.1, share)


weights = rng.normal(size=(5, 3)).round(3).tolist()
CASES = {
    "two Gaussians": (3, 9, [family(["linear", 3], [s, 0, 0], [0, 1, 1], 0.5, 0.5) for s in (3, -3)]),
    "Fourier series": (1, 14, [series(degree, share) for degree, share in [(1, 0.5), (2, 0.3), (4, 0.2)]]),
    "monomials": (3, 8, [family(["monomials", p], [0, 0], [1, 1], 0.3, 1 / 3) for p in ([[0, 0], [1, 2]], [[0, 1], [2, 2]], [[0, 0], [0, 2]])]),
    "discrete weights (dMMSE)": (3, 10, [family(["linear", 3], w, [0, 0, 0], 0.4, 0.2) for w in weights]),
    "discrete and fresh weights": (3, 10, [family(["linear", 3], w, [0, 0, 0], 0.4, 0.1) for w in weights] + [family(["linear", 3], [0, 0, 0], [1, 1, 1], 0.4, 0.5)]),
    "levels of noise": (2, 16, [family(["linear", 2], [0, 0], [1.5, 1.5], s, 1 / 3) for s in (0.1, 0.5, 1.0)]),
}
cases = []
for name, (d, examples, mixture) in CASES.items():
    for drawn in (0, len(mixture) - 1):
        one = mixture[drawn]
        x = rng.uniform(-1.5, 1.5, size=(examples, d)).astype(np.float32).astype(float)
        w = np.array(one["mean"]) + np.array(one["deviation"]) * rng.normal(size=len(one["mean"]))
        y = (one["features"](x) @ w + one["sigma"] * rng.normal(size=examples)).astype(np.float32).astype(float)
        laws = [bayes(mixture, x[:i], y[:i], x[i]) for i in range(examples)]
        cases.append(
            {
                "name": name,
                "drawn": drawn,
                "dimension": d,
                "mixture": [{k: v for k, v in each.items() if k != "features"} for each in mixture],
                "x": x.ravel().tolist(),
                "y": y.tolist(),
                "means": [law[0] for law in laws],
                "variances": [law[1] for law in laws],
                "shares": [law[2] for law in laws],
            }
        )
path = pathlib.Path(__file__).resolve().parent / "function_families.json"
path.write_text(json.dumps({"numpy": np.__version__, "cases": cases}) + "\n")
