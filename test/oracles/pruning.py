"""Gradual magnitude pruning in NumPy: which weights and heads are left after each pruning.

    python pruning.py [--out pruning.json]

Weights follow from a formula, so that a test can replay it without Python: at step t, element i (0-based, row-major) of the vector
of all parameters is sin(0.37 (i + 1)^2 + 0.01 t), float32, times 0 where it has been pruned before.

- Schedule (Zhu and Gupta 2017, equation 1, initial sparsity 0): s_t = f + (0 - f) (1 - (t - start) / (end - start))^3.
- Weights: of each matrix [rows, columns] the round(s_t size) smallest magnitudes are gone, of ties those before.
- Heads: round(s_t heads) heads with the smallest product of the Frobenius norms of their rows of W_V and their columns of W_O are
  gone. Layout of a layer: queries, keys, values [3 heads d_head, d_model], then the output [d_model, heads d_head].

Output: for each case the steps with the share and the indices that are left, as text of 0 and 1 for weights and as lists for heads.
"""

import argparse
import json
import math
import pathlib

import numpy as np


def values(size, step):
    i = np.arange(1, size + 1, dtype=np.float64)
    return np.sin(0.37 * i**2 + 0.01 * step).astype(np.float32)


def share(final, start, end, step):
    left = 1 - np.clip((step - start) / (end - start), 0, 1)
    return float(final + (0 - final) * left**3)


def weights(shapes, final, start, end, every):
    sizes = [r * c for r, c in shapes]
    offsets = np.cumsum([0, *sizes])
    mask = np.ones(offsets[-1], bool)
    steps = []
    for step in sorted({*range(start, end + 1, every), end}):
        s = share(final, start, end, step)
        w = values(offsets[-1], step) * mask
        for size, first in zip(sizes, offsets):
            part = np.where(mask[first : first + size], np.abs(w[first : first + size]), -1)
            gone = np.argsort(part, kind="stable")[: math.floor(s * size + 0.5)]
            mask[first + gone] = False
        steps.append({"step": step, "share": s, "mask": "".join("01"[int(m)] for m in mask)})
    return {"shapes": shapes, "sparsity": final, "start": start, "end": end, "every": every, "steps": steps}


def heads(layers, count, d_head, d_model, final, start, end, every):
    qkv, out = 3 * count * d_head * d_model, d_model * count * d_head
    there = np.ones((layers, count), bool)
    steps = []
    for step in sorted({*range(start, end + 1, every), end}):
        s = share(final, start, end, step)
        w = values(layers * (qkv + out), step).astype(np.float64)
        scores = np.empty((layers, count))
        for layer in range(layers):
            own = w[layer * (qkv + out) : (layer + 1) * (qkv + out)]
            v = own[:qkv].reshape(3, count, d_head, d_model)[2]
            o = own[qkv:].reshape(d_model, count, d_head)
            for h in range(count):
                scores[layer, h] = np.linalg.norm(v[h]) * np.linalg.norm(o[:, h])
        scores[~there] = -1
        gone = np.argsort(scores.reshape(-1), kind="stable")[: math.floor(s * there.size + 0.5)]
        there.reshape(-1)[gone] = False
        steps.append({"step": step, "share": s, "left": np.flatnonzero(there.reshape(-1)).tolist()})
    return {
        "layers": layers, "heads": count, "d_head": d_head, "d_model": d_model,
        "sparsity": final, "start": start, "end": end, "every": every, "steps": steps,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=pathlib.Path(__file__).parent / "pruning.json")
    out = {
        "weights": [weights([(6, 5), (4, 8)], 0.9, 10, 50, 10), weights([(3, 7)], 0.5, 0, 25, 10)],
        "heads": [heads(2, 4, 3, 5, 0.75, 5, 35, 10)],
    }
    pathlib.Path(parser.parse_args().out).write_text(json.dumps(out, indent=1) + "\n")


main()
