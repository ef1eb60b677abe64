"""Labels in context from joint normal laws of all points of a label.

    python context_classifier.py     writes context_classifier.json beside this file (needs nothing but Python)

A label's points are one normal vector for every number of theirs, with covariance between + within on the diagonal and between
elsewhere. A new point's density given those before it is the ratio of two joint densities, by Gaussian elimination: no posterior is computed.
"""

import json
import math
import pathlib
import random


def log_density(values, between, within):
    """Of values that share a centre, by elimination of their covariance matrix."""
    n = len(values)
    rows = [[between + (within if i == j else 0) for j in range(n)] + [values[i]] for i in range(n)]
    log_det = 0.0
    for i in range(n):
        log_det += math.log(rows[i][i])
        for k in range(i + 1, n):
            factor = rows[k][i] / rows[i][i]
            rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i])]
    solution = [0.0] * n
    for i in reversed(range(n)):
        rest = sum(rows[i][j] * solution[j] for j in range(i + 1, n))
        solution[i] = (rows[i][n] - rest) / rows[i][i]
    square = sum(v * s for v, s in zip(values, solution))
    return -0.5 * (n * math.log(2 * math.pi) + log_det + square)


def joint(points, between, within):
    return sum(log_density(list(column), between, within) for column in zip(*points)) if points else 0.0


def classify(points, labels, count, between, within):
    result = []
    for t, point in enumerate(points):
        before = [[p for p, l in zip(points[:t], labels) if l == label] for label in range(count)]
        logs = [joint(own + [point], between, within) - joint(own, between, within) for own in before]
        most = max(logs)
        whole = most + math.log(sum(math.exp(log - most) for log in logs))
        result.append([log - whole for log in logs])
    return result


if __name__ == "__main__":
    draw = random.Random(3)
    cases = []
    for count, dimension, length, between, within in [(2, 1, 6, 0.9, 0.1), (3, 2, 8, 0.8, 0.2), (4, 3, 9, 0.5, 0.7)]:
        points = [[round(draw.gauss(0, 1), 3) for _ in range(dimension)] for _ in range(length)]
        labels = [draw.randrange(count) for _ in range(length)]
        logs = classify(points, labels, count, between, within)
        cases.append({"count": count, "between": between, "within": within, "points": points, "labels": labels, "logs": logs})
    path = pathlib.Path(__file__).resolve().parent / "context_classifier.json"
    path.write_text(json.dumps({"cases": cases}) + "\n")
