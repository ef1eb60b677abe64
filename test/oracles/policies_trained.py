"""NumPy on the small llama of test/fixtures/policies: the policies with trained numbers, by their definitions, in float64.

    python test/oracles/policies_trained.py     writes policies/trained.json

The numbers that training would give are drawn: array `name` of a layer has the elements float32(n_i) · scale, n_i the standard normal
numbers of the seed SEED and stream 16 · number of the policy + 4 · layer + number of the part (see policies.py). The prompt's tokens are
floor(3 + 94 u_i), u_i the uniform numbers of stream 0.

`kept` [layer][KV head]: positions held at the prompt's end; `logits` of the first and the second new token; `tokens`: those chosen
greedily. A generated token sees what is held and those generated before it. Floats have 7 digits. Agreement to expect: 1e-4.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np

from policies import SEED, best, normals, plain, softmax, uniforms

HERE = Path(__file__).resolve().parent
LLAMA = HERE.parent / "fixtures" / "policies" / "llama"
LENGTH, STEPS = 60, 4


def read_weights(path):
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        half = np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << 16  # bfloat16
        out[name] = half.view(np.float32).astype(np.float64).reshape(entry["shape"])
    return out


CONFIG = json.loads((LLAMA / "config.json").read_text())
WEIGHTS = read_weights(LLAMA / "model.safetensors")
L, H, G = (CONFIG[f"num_{count}"] for count in ("hidden_layers", "attention_heads", "key_value_heads"))
D = CONFIG["head_dim"]
WIDTH = CONFIG["hidden_size"]


def rms(x, w):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"]) * w


def rotate(x, positions):
    """x [tokens, heads, D] at positions [tokens]; dimensions i and i + D / 2 are a pair."""
    turns = positions[:, None] / CONFIG["rope_parameters"]["rope_theta"] ** (np.arange(D // 2) / (D // 2))
    cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
    a, b = x[..., : D // 2], x[..., D // 2 :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def silu(x):
    return x / (1 + np.exp(-x))


class Cache:
    """By layer, keys and values [G][position] of all tokens so far, and by KV head the positions that are held."""

    def __init__(self):
        self.k, self.v = [[] for _ in range(L)], [[] for _ in range(L)]
        self.held = [[[] for _ in range(G)] for _ in range(L)]


def forward(tokens, start, cache, see, before=None):
    """Logits behind the last of `tokens`, which stand from `start` on. see(layer, g, query): positions that a query reads;
    before(layer, x, q, k, v) is called once the layer's projections are there, before anything attends."""
    positions = np.arange(start, start + len(tokens))
    x = WEIGHTS["model.embed_tokens.weight"][tokens]
    for l in range(L):
        w = {n.removeprefix(f"model.layers.{l}."): t for n, t in WEIGHTS.items() if n.startswith(f"model.layers.{l}.")}
        inner = rms(x, w["input_layernorm.weight"])
        q, k, v = (
            (inner @ w[f"self_attn.{p}_proj.weight"].T).reshape(len(tokens), heads, D)
            for p, heads in (("q", H), ("k", G), ("v", G))
        )
        cache.k[l] += list(rotate(k, positions))
        cache.v[l] += list(v)
        for g in range(G):
            cache.held[l][g] += [int(p) for p in positions]
        if before:
            before(l, x, q, k, v)
        turned = rotate(q, positions)
        z = np.zeros((len(tokens), H, D))
        for i, position in enumerate(positions):
            for h in range(H):
                g = h * G // H
                rows = see(l, g, int(position))
                keys = np.array([cache.k[l][p][g] for p in rows])
                z[i, h] = softmax(keys @ turned[i, h] / math.sqrt(D)) @ np.array([cache.v[l][p][g] for p in rows])
        x = x + z.reshape(len(tokens), -1) @ w["self_attn.o_proj.weight"].T
        inner = rms(x, w["post_attention_layernorm.weight"])
        mlp = silu(inner @ w["mlp.gate_proj.weight"].T) * (inner @ w["mlp.up_proj.weight"].T)
        x = x + mlp @ w["mlp.down_proj.weight"].T
    return rms(x[-1], WEIGHTS["model.norm.weight"]) @ WEIGHTS["lm_head.weight"].T


def drawn(policy, layer, part, shape, scale):
    numbers = normals(16 * policy + 4 * layer + part, math.prod(shape))
    return np.array(numbers).astype(np.float32).astype(np.float64).reshape(shape) * scale


def held(cache):
    return lambda l, g, position: [p for p in cache.held[l][g] if p <= position]


def ending(cache, logits):
    """The prompt's cache, and what is generated behind it."""
    kept = [[list(rows) for rows in layer] for layer in cache.held]
    first, tokens, second = logits, [], None
    for step in range(STEPS):
        tokens.append(int(np.argmax(logits)))
        logits = forward([tokens[-1]], LENGTH + step, cache, held(cache))
        second = logits if second is None else second
    return {"kept": kept, "first": first, "second": second, "tokens": tokens}


def locret(prompt):
    """A layer's retaining head gives a token, from its query, key and value before the rotation (concatenated, all heads), fc2 ·
    silu(fc1 · [q, k, v]), a number a KV head. The prompt is read in parts of `part` tokens, the last one maybe shorter; each reads what is
    held, and itself causally. Behind each part every KV head keeps, of all that it holds, the last `stabilizers` and the keys of the best
    numbers, `budget` in all (Locret's code: stabilisers only behind parts that are not the last, and the last 100 tokens of the prompt,
    beside the budget, are read behind the last eviction. Here: as behind the others)."""
    budget, stabilizers, part, hidden = 20, 5, 16, 4
    heads = [
        (drawn(1, l, 0, (hidden, (H + 2 * G) * D), 0.25), drawn(1, l, 1, (G, hidden), 1)) for l in range(L)
    ]
    cache, scores, peak = Cache(), [[] for _ in range(L)], 0

    def foretell(l, _, q, k, v):
        flat = np.concatenate([t.reshape(len(t), -1) for t in (q, k, v)], 1)
        scores[l] += list(silu(flat @ heads[l][0].T) @ heads[l][1].T)

    for begin in range(0, LENGTH, part):
        logits = forward(prompt[begin : begin + part], begin, cache, held(cache), foretell)
        peak = max(peak, max(len(rows) for layer in cache.held for rows in layer))
        for l in range(L):
            for g in range(G):
                rows = np.array(cache.held[l][g])
                if len(rows) <= budget:
                    continue
                old, last = rows[:-stabilizers], rows[-stabilizers:]
                chosen = old[best([scores[l][p][g] for p in old], budget - stabilizers)]
                cache.held[l][g] = [int(p) for p in (*chosen, *last)]
    parameters = {"budget": budget, "stabilizers": stabilizers, "part": part, "hidden": hidden}
    return {"parameters": parameters, "scales": {"fc1": 0.25, "fc2": 1}, "peak": peak, **ending(cache, logits)}


def attention_gate(prompt):
    """In front of each layer a token's stream x, divided by the root of (its mean square + 1e-6), is projected to a query, a key and a
    value of `width` (project: queries, then keys, then values). Softmax attention over the whole prompt, later tokens too, scaled by 1 /
    sqrt(width); out · that + bias is a number a KV head, its sigmoid the gate. A token below `threshold` is seen by itself alone, within
    the prompt and behind it; the prompt's last token always stays."""
    width, threshold = 3, 0.45
    parts = {"project": ((3 * width, WIDTH), 1), "out": ((G, width), 2), "bias": ((G,), 0.25)}
    gates = [
        [drawn(2, l, i, shape, scale) for i, (shape, scale) in enumerate(parts.values())] for l in range(L)
    ]
    cache, gone = Cache(), [[set() for _ in range(G)] for _ in range(L)]

    def flag(l, x, *_):
        project, out, bias = gates[l]
        own = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) @ project.T
        q, k, v = (own[:, i * width : (i + 1) * width] for i in range(3))
        numbers = softmax(q @ k.T / math.sqrt(width)) @ v @ out.T + bias
        for g in range(G):
            gone[l][g] = {p for p in range(LENGTH - 1) if 1 / (1 + math.exp(-numbers[p, g])) < threshold}

    see = lambda l, g, position: [p for p in range(position + 1) if p == position or p not in gone[l][g]]  # noqa: E731
    logits = forward(prompt, 0, cache, see, flag)
    for l in range(L):
        for g in range(G):
            cache.held[l][g] = [p for p in range(LENGTH) if p not in gone[l][g]]
    scales = {name: scale for name, (_, scale) in parts.items()}
    return {"parameters": {"width": width, "threshold": threshold}, "scales": scales, **ending(cache, logits)}


def main():
    prompt = [int(3 + 94 * u) for u in uniforms(0, LENGTH)]
    sections = {"locret": locret(prompt), "attention-gate": attention_gate(prompt)}
    text = json.dumps(plain({"seed": SEED, "prompt": prompt, **sections}), separators=(",", ":"))
    (HERE / "policies" / "trained.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
