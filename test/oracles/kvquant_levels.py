"""NumPy on the small llama of test/fixtures/policies, float64: squared gradients of the loss by keys and values, and KVQuant's levels.

    python test/oracles/kvquant_levels.py     writes policies/levels.json

The loss is the mean cross-entropy of each token of a row given those before it; its gradient with respect to the keys before the
rotation and to the values is worked out by hand, layer by layer from the last, and held against differences of the loss at some
places before anything is written. The rows' tokens are floor(97 u_i), u_i the uniform numbers of the stream of the row's number.

Each row's keys and values are cut into pages of PAGE tokens by KV head. Vectors, numbers between the outliers and their k-means are
those of `kvquant` in policies.py, with the squared gradients as weights, over all pages of a layer; a row's first token is in no vector.
`levels`: by bits, layer. Floats have 7 digits. Agreement to expect: 2e-4 of values' levels. A token that is drawn again gives the first
layer the same key again, some of them halfway between two levels: of keys' levels 2e-3.
"""

import json
import math

import numpy as np

from policies import SEED, plain, softmax, uniforms, weighted_means
from policies_trained import CONFIG, D, G, H, HERE, L, WEIGHTS, rms, rotate, silu

ROWS, TOKENS, PAGE, OUTLIERS, BITS = 2, 256, 128, 0.01, (2, 3, 4)
EPS = CONFIG["rms_norm_eps"]


def of(layer, name):
    return WEIGHTS[f"model.layers.{layer}.{name}.weight"]


def rms_back(x, w, dy):
    root = np.sqrt((x**2).mean(-1, keepdims=True) + EPS)
    dn = dy * w
    return dn / root - x * (dn * x).mean(-1, keepdims=True) / root**3


def rotate_back(dy, positions):
    return rotate(dy, -positions)


class Run:
    """A row through the model; `move` adds to one number of a layer's keys before the rotation ("k") or values ("v")."""

    def __init__(self, tokens, move=None):
        T = len(tokens)
        self.tokens, self.positions, self.kept = tokens, np.arange(T), []
        x = WEIGHTS["model.embed_tokens.weight"][tokens]
        hidden = np.triu(np.full((T, T), -np.inf), 1)
        for l in range(L):
            inner = rms(x, of(l, "input_layernorm"))
            q, k, v = (
                (inner @ of(l, f"self_attn.{p}_proj").T).reshape(T, n, D) for p, n in (("q", H), ("k", G), ("v", G))
            )
            if move and move[0] == l:
                (k if move[1] == "k" else v)[move[2]] += move[3]
            q, turned = rotate(q, self.positions), rotate(k, self.positions)
            wide = lambda t: np.repeat(t, H // G, axis=1).transpose(1, 0, 2)  # noqa: E731
            q, K, V = q.transpose(1, 0, 2), wide(turned), wide(v)
            A = softmax(q @ K.transpose(0, 2, 1) / math.sqrt(D) + hidden)
            mid = x + (A @ V).transpose(1, 0, 2).reshape(T, -1) @ of(l, "self_attn.o_proj").T
            inner = rms(mid, of(l, "post_attention_layernorm"))
            gate, up = inner @ of(l, "mlp.gate_proj").T, inner @ of(l, "mlp.up_proj").T
            self.kept.append((x, q, k, v, K, V, A, mid, gate, up))
            x = mid + (silu(gate) * up) @ of(l, "mlp.down_proj").T
        self.end = x
        logits = rms(x, WEIGHTS["model.norm.weight"]) @ WEIGHTS["lm_head.weight"].T
        self.shares = softmax(logits[:-1])
        self.loss = -np.log(self.shares[np.arange(T - 1), tokens[1:]]).mean()

    def back(self):
        """By layer (key before the rotation, value, and the gradients of both) [token, KV head, channel]."""
        T, out = len(self.tokens), []
        dlogits = self.shares.copy()
        dlogits[np.arange(T - 1), self.tokens[1:]] -= 1
        dy = np.vstack([dlogits / (T - 1), np.zeros((1, dlogits.shape[1]))]) @ WEIGHTS["lm_head.weight"]
        dx = rms_back(self.end, WEIGHTS["model.norm.weight"], dy)
        for l in reversed(range(L)):
            x, q, k, v, K, V, A, mid, gate, up = self.kept[l]
            dm = dx @ of(l, "mlp.down_proj")
            s = 1 / (1 + np.exp(-gate))
            dgate, dup = dm * up * (s + gate * s * (1 - s)), dm * silu(gate)
            inner = dgate @ of(l, "mlp.gate_proj") + dup @ of(l, "mlp.up_proj")
            dmid = dx + rms_back(mid, of(l, "post_attention_layernorm"), inner)
            dz = (dmid @ of(l, "self_attn.o_proj")).reshape(T, H, D).transpose(1, 0, 2)
            dA = dz @ V.transpose(0, 2, 1)
            dS = A * (dA - (dA * A).sum(-1, keepdims=True)) / math.sqrt(D)
            grouped = lambda t: t.reshape(G, H // G, T, D).sum(1).transpose(1, 0, 2)  # noqa: E731
            dq = rotate_back((dS @ K).transpose(1, 0, 2), self.positions)
            dk = rotate_back(grouped(dS.transpose(0, 2, 1) @ q), self.positions)
            dv = grouped(A.transpose(0, 2, 1) @ dz)
            out.insert(0, (k, v, dk, dv))
            inner = sum(
                d.reshape(T, -1) @ of(l, f"self_attn.{p}_proj") for p, d in (("q", dq), ("k", dk), ("v", dv))
            )
            dx = dmid + rms_back(x, of(l, "input_layernorm"), inner)
        return out


def checked(tokens):
    run = Run(tokens)
    gradients = run.back()
    for l, part, at in ((0, "k", (0, 1, 3)), (1, "v", (100, 0, 5)), (2, "k", (57, 1, 9)), (0, "v", (200, 1, 0))):
        step = 1e-5
        up, down = (Run(tokens, (l, part, at, sign * step)).loss for sign in (1, -1))
        found, expected = gradients[l][2 if part == "k" else 3][at], (up - down) / (2 * step)
        assert abs(found - expected) < 1e-8 + 1e-5 * abs(expected), (l, part, at, found, expected)
    return gradients


def vectors(x, weight, axis, first):
    """Numbers between the outliers, moved and scaled, and their weights; x [tokens, channels] of a page."""
    body, own = x[first:], weight[first:]
    if axis == 0:
        body, own = body.T, own.T
    m = math.ceil(OUTLIERS * body.shape[1] / 2)
    for numbers, weights in zip(body, own):
        order = np.argsort(numbers, kind="stable")[m : len(numbers) - m]
        inside = numbers[order]
        c, s = (inside.max() + inside.min()) / 2, (inside.max() - inside.min()) / 2
        yield (inside - c) / s, weights[order]


def main():
    rows = [np.array([math.floor(97 * u) for u in uniforms(r, TOKENS)]) for r in range(ROWS)]
    runs = [checked(row) for row in rows]
    levels = {bits: {"keys": [], "values": []} for bits in BITS}
    for name, place, axis in (("keys", 0, 0), ("values", 1, 1)):
        for l in range(L):
            x = [run[l][place] for run in runs]
            f = [run[l][place + 2] ** 2 for run in runs]
            found = [
                pair
                for row, weight in zip(x, f)
                for g in range(G)
                for begin in range(0, TOKENS, PAGE)
                for pair in vectors(
                    row[begin : begin + PAGE, g], weight[begin : begin + PAGE, g], axis, 1 if begin == 0 else 0
                )
            ]
            numbers, weights = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
            for bits in BITS:
                levels[bits][name].append(weighted_means(numbers, weights, 2**bits))
    head = {"seed": SEED, "numpy": np.__version__, "rows": ROWS, "tokens": TOKENS, "outliers": OUTLIERS}
    result = {**head, "levels": {str(b): levels[b] for b in BITS}}
    numpy = result.pop("numpy")
    path = HERE / "policies" / "levels.json"
    path.write_text(json.dumps({"numpy": numpy, **{k: plain(v) for k, v in result.items()}}, separators=(",", ":")) + "\n")


main()
