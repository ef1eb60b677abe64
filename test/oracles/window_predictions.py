"""The best linear predictions of functions of a window, from covariances.

    python window_predictions.py     writes window_predictions.json beside this file (needs nothing but Python)

Given the inputs, labels and targets have covariances that follow from the law of the weights; the prediction is c' C^-1 y, with C of the
labels that were read and c between them and the target, by Gaussian elimination. No weights are estimated.
"""

import json
import pathlib
import random


def window(x, i, size):
    d = len(x[0])
    return [v for back in range(size) for v in (x[i - back] if i >= back else [0.0] * d)]


def dot(a, b):
    return sum(p * q for p, q in zip(a, b))


def solve(matrix, right):
    n = len(right)
    rows = [list(row) + [r] for row, r in zip(matrix, right)]
    for i in range(n):
        for k in range(i + 1, n):
            factor = rows[k][i] / rows[i][i]
            rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i])]
    out = [0.0] * n
    for i in reversed(range(n)):
        out[i] = (rows[i][n] - sum(rows[i][j] * out[j] for j in range(i + 1, n))) / rows[i][i]
    return out


def predict(case):
    x, y, p, tau, sigma = case["x"], case["y"], case["share"], case["tau"], case["sigma"]
    d, size, read = len(x[0]), case["window"], case["read"]
    power = d * size * tau**2 + sigma**2
    noise = sigma**2 + (size - read) * d * tau**2
    phi = [window(x, i, read) for i in range(len(x))]
    k = [[tau**2 * dot(a, b) for b in phi] for a in phi]
    result = []
    for t in range(len(x)):
        c = [
            [(1 - p) * (k[i][i] + noise) + p * power if i == j else (1 - p) ** 2 * k[i][j] for j in range(t)]
            for i in range(t)
        ]
        result.append(dot([(1 - p) * k[i][t] for i in range(t)], solve(c, y[:t])))
    return result


if __name__ == "__main__":
    draw = random.Random(5)
    cases = []
    for d, size, read, share in [(2, 2, 2, 0.0), (1, 3, 3, 0.3), (2, 2, 1, 0.0), (2, 3, 3, 0.75)]:
        x = [[round(draw.gauss(0, 1), 3) for _ in range(d)] for _ in range(9)]
        y = [round(draw.gauss(0, 1), 3) for _ in range(8)]
        case = {"x": x, "y": y, "share": share, "tau": 0.5, "sigma": 0.2, "window": size, "read": read}
        cases.append({**case, "predictions": predict(case)})
    path = pathlib.Path(__file__).resolve().parent / "window_predictions.json"
    path.write_text(json.dumps({"cases": cases}) + "\n")
