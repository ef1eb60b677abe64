"""Independent check of backend/circuits/vectors/linear-fits.ts and logistic.ts: ridge in closed form, logistic of scikit-learn.

    python linear_probes.py          writes linear_probes.json beside this file (needs numpy 2.4 and scikit-learn 1.7)

Ridge: outputs on tested examples of W = (XᵀX + l2 I)⁻¹ Xᵀ(Y - mean Y), X centred, by numpy.linalg.solve, and held to
sklearn.linear_model.Ridge here. Logistic: probabilities of LogisticRegression(C = 1 / l2), the multinomial model for three
classes. scikit-learn has one vector of weights for two classes where headscope has two, w / 2 and -w / 2, whose penalty is half
as large: C = 2 / l2 is the same model there.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge

# examples, tested, dimensions, outputs or classes, l2; the second has fewer examples than dimensions
CASES = [(40, 6, 5, 3, 1.0), (12, 6, 20, 3, 0.1), (60, 6, 4, 2, 2.5), (30, 6, 8, 2, 0.01)]

rng = np.random.default_rng(7)
cases = []
for n, tested, d, outputs, l2 in CASES:
    x = rng.normal(size=(n, d)) * np.linspace(0.5, 2, d)
    x = np.round(x - x.mean(axis=0), 12)
    x -= x.mean(axis=0)
    test = np.round(rng.normal(size=(tested, d)), 6)
    y = np.round(x[:, :1] * np.arange(1, outputs + 1) + rng.normal(size=(n, outputs)), 6)
    weights = np.linalg.solve(x.T @ x + l2 * np.eye(d), x.T @ (y - y.mean(axis=0)))
    ridge = test @ weights + y.mean(axis=0)
    assert np.allclose(ridge, Ridge(alpha=l2).fit(x, y).predict(test), atol=1e-9)
    labels = np.argmax(y + 0.5 * rng.normal(size=y.shape), axis=1)
    assert len(set(labels)) == outputs
    model = LogisticRegression(C=(1 if outputs > 2 else 2) / l2, tol=1e-10, max_iter=100_000).fit(x, labels)
    cases.append(
        {
            "l2": l2,
            "train": x.tolist(),
            "test": test.tolist(),
            "targets": y.tolist(),
            "labels": labels.tolist(),
            "ridge": ridge.tolist(),
            "probabilities": model.predict_proba(test).tolist(),
        }
    )
path = pathlib.Path(__file__).resolve().parent / "linear_probes.json"
path.write_text(json.dumps({"numpy": np.__version__, "sklearn": sklearn.__version__, "cases": cases}) + "\n")
