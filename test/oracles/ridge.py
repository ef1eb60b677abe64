"""Independent check of the linear-regression task's reference: NumPy's posterior mean on given pairs.

    python ridge.py          writes ridge.json beside this file (needs numpy, made with 2.4)

For every case and every i the prediction of y_i from the pairs before it: x_i (XᵀX + sigma² / tau² I)⁻¹ Xᵀy by
numpy.linalg.solve in float64; without noise the shortest w that fits, by numpy.linalg.pinv. x and y are float32 values.
"""

import json
import pathlib

import numpy as np

# dimension, pairs, sigma, tau; the second has fewer pairs than dimensions, the last two no noise
CASES = [(3, 8, 0.25, 1.0), (8, 6, 0.5, 2.0), (5, 40, 0.01, 0.3), (6, 9, 3.0, 0.7), (4, 4, 0.0, 1.0), (3, 7, 0.0, 1.5)]


def predictions(x, y, sigma, tau):
    out = []
    for i in range(len(y)):
        before, seen = x[:i], y[:i]
        if sigma == 0:
            w = np.linalg.pinv(before) @ seen if i else np.zeros(x.shape[1])
        else:
            w = np.linalg.solve(before.T @ before + sigma**2 / tau**2 * np.eye(x.shape[1]), before.T @ seen)
        out.append(float(x[i] @ w))
    return out


rng = np.random.default_rng(10)
cases = []
for dimension, examples, sigma, tau in CASES:
    x = rng.normal(size=(examples, dimension)).astype(np.float32).astype(float)
    w = tau * rng.normal(size=dimension)
    if sigma == 0:  # few digits, so that y is exact in float32 too: its rounding would be noise
        x, w = np.round(x * 256) / 256, np.round(w * 16) / 16
    y = (x @ w + sigma * rng.normal(size=examples)).astype(np.float32).astype(float)
    cases.append(
        {
            "dimension": dimension,
            "examples": examples,
            "sigma": sigma,
            "tau": tau,
            "x": x.tolist(),
            "y": y.tolist(),
            "predictions": predictions(x, y, sigma, tau),
        }
    )
path = pathlib.Path(__file__).resolve().parent / "ridge.json"
path.write_text(json.dumps({"numpy": np.__version__, "cases": cases}) + "\n")
