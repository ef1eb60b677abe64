"""Independent check of kernel alignment: NumPy's cosine similarities and sorting, by the definition of mutual nearest neighbours.

    python kernel_alignment.py          writes kernel_alignment.json beside this file (needs numpy, made with 2.4)

Items have two representations; of each item the `count` nearest others (cosine) are taken in both, and the alignment is the
mean share that they have in common. The label share is the mean share of an item's neighbours in the first that have its label.
"""

import json
import pathlib

import numpy as np


def neighbours(x, count):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1)[:, :count]


rng = np.random.default_rng(23)
cases = []
for items, width, other, noise, count in [(12, 4, 4, 0.3, 3), (20, 6, 3, 1.0, 4), (9, 2, 5, 0.0, 1)]:
    x = rng.normal(size=(items, width)).astype(np.float32).astype(float)
    y = (x @ rng.normal(size=(width, other)) + noise * rng.normal(size=(items, other))).astype(np.float32).astype(float)
    labels = rng.integers(0, 3, size=items)
    a, b = neighbours(x, count), neighbours(y, count)
    cases.append(
        {
            "x": x.tolist(),
            "y": y.tolist(),
            "labels": labels.tolist(),
            "count": count,
            "alignment": float(np.mean([len(np.intersect1d(p, q)) / count for p, q in zip(a, b)])),
            "labelShare": float(np.mean(labels[a] == labels[:, None])),
        }
    )
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
