"""Keys and values of unequal number and width in PyTorch, trained for ten steps: what the attention of toy transformers must reproduce.

    python unequal_heads.py [--out unequal_heads.json]

Needs torch (made with the version that the file says). Model, batches and packing are those of optimisers.py, with 2 query heads on
`keys` key heads and `values` value heads (query head h reads head h * heads // 2 of either), queries and keys of `keyWidth` and values of
`valueWidth` numbers. Scores are divided by sqrt(keyWidth). With `bias`, a softmax over one more key, which is learned, with a learned value
(key-value-bias of attention_kernels.py); with `rotary`, queries and keys are rotated by the angles p * 10000^(-2 i / keyWidth), halves
paired, and there are no learned positions. Adam at a rate of 0.01.

Parameters begin as in optimisers.py, in the shapes W_Q [2, 8, keyWidth], W_K [keys, 8, keyWidth], W_V [values, 8, valueWidth],
W_O [2, valueWidth, 8]; key_bias [keys, keyWidth] and value_bias [values, valueWidth] with 0.7 u, of index k = 16 and 17. Computed in
float64. `logits` and `pattern` (of the tokens' keys) are of the first batch before the first step, `losses` of each step before its
update, `grads` of the first and the last step, `final` the parameters after ten.
"""

import argparse
import json
import math
import pathlib

import torch
from optimisers import CONTEXT, HEADS, SHAPES, STEPS, VOCABULARY, WIDTH, batch, norm, pack
from torch.nn.functional import cross_entropy

CASES = {
    "one key head": {"keys": 1},
    "one value head": {"values": 1},
    "narrow keys": {"keyWidth": 3},
    "wide values": {"valueWidth": 6},
    "fewer and narrower keys": {"keys": 1, "keyWidth": 2},
    "fewer and narrower keys of one more key": {"keys": 1, "keyWidth": 2, "valueWidth": 5, "bias": True},
    "rotated narrow keys and one wide value head": {"values": 1, "keyWidth": 2, "valueWidth": 6, "rotary": True},
}
USUAL = {"keys": HEADS, "values": HEADS, "keyWidth": 4, "valueWidth": 4, "bias": False, "rotary": False}


def parameters(c):
    shapes = {
        **SHAPES,
        "blocks.0.attn.W_Q": (HEADS, WIDTH, c["keyWidth"]),
        "blocks.0.attn.W_K": (c["keys"], WIDTH, c["keyWidth"]),
        "blocks.0.attn.W_V": (c["values"], WIDTH, c["valueWidth"]),
        "blocks.0.attn.W_O": (HEADS, c["valueWidth"], WIDTH),
        "blocks.0.attn.key_bias": (c["keys"], c["keyWidth"]),
        "blocks.0.attn.value_bias": (c["values"], c["valueWidth"]),
    }
    absent = {"b_Q", "b_K", "b_V", "b_O", "b_U"}
    absent |= {"W_pos"} if c["rotary"] else set()
    absent |= set() if c["bias"] else {"key_bias", "value_bias"}
    values, described = {}, []
    for k, (name, shape) in enumerate(shapes.items()):
        last = name.rsplit(".", 1)[1]
        if last in absent:
            continue
        u = [math.sin(0.37 * (i + 1) ** 2 + k) for i in range(math.prod(shape))]
        flat = [1 + 0.1 * x if last == "w" else 0.1 * x if last == "b" else x if last in ("W_E", "W_pos") else 0.7 * x for x in u]
        values[name] = torch.tensor(flat, dtype=torch.float32).double().reshape(shape).requires_grad_()
        described.append({"name": name, "index": k, "shape": list(shape)})
    return values, described


def rotated(x):
    """[rows, heads, positions, width]"""
    width = x.shape[-1]
    angles = torch.arange(CONTEXT).double()[:, None] * 10000.0 ** (-2 * torch.arange(width // 2).double() / width)
    a, b = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def shared(t):
    """[rows, heads, ...] by query head"""
    return t[:, [h * t.shape[1] // HEADS for h in range(HEADS)]]


def forward(c, p, tokens):
    resid = p["embed.W_E"][tokens]
    if not c["rotary"]:
        resid = resid + p["pos_embed.W_pos"]
    x = norm(resid, p["blocks.0.ln1.w"], p["blocks.0.ln1.b"])
    q, k, v = (torch.einsum("bpd,hde->bhpe", x, p[f"blocks.0.attn.W_{part}"]) for part in "QKV")
    if c["rotary"]:
        q, k = rotated(q), rotated(k)
    k, v = shared(k), shared(v)
    scores = q @ k.transpose(-1, -2) / math.sqrt(c["keyWidth"])
    scores = scores.masked_fill(torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1), -torch.inf)
    if c["bias"]:
        beside = torch.einsum("bhqe,bhe->bhq", q, shared(p["blocks.0.attn.key_bias"][None])) / math.sqrt(c["keyWidth"])
        weights = torch.cat([scores, beside[..., None]], -1).softmax(-1)
        rest = weights[..., CONTEXT:] * shared(p["blocks.0.attn.value_bias"][None])[:, :, None]
    else:
        weights, rest = scores.softmax(-1), 0
    pattern = weights[..., :CONTEXT]
    resid = resid + torch.einsum("bhqe,hed->bqd", pattern @ v + rest, p["blocks.0.attn.W_O"])
    return norm(resid, p["ln_final.w"], p["ln_final.b"]) @ p["unembed.W_U"], pattern


def train(name, changes):
    c = {**USUAL, **changes}
    p, described = parameters(c)
    trained = list(p.values())
    optimiser = torch.optim.Adam(trained, lr=0.01)
    losses, grads, first = [], [], None
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimiser.zero_grad()
        logits, pattern = forward(c, p, tokens)
        first = first or {"logits": pack([logits]), "pattern": pack([pattern])}
        loss = cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))
        loss.backward()
        losses.append(loss.item())
        if step in (0, STEPS - 1):
            grads.append(pack([t.grad for t in trained]))
        optimiser.step()
    return {"name": name, "heads": c, "parameters": described, **first, "losses": losses, "grads": grads, "final": pack(trained)}


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=here / "unequal_heads.json")
    options = parser.parse_args()
    cases = [train(name, changes) for name, changes in CASES.items()]
    document = {"versions": {"torch": torch.__version__}, "cases": cases}
    options.out.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    for case in cases:
        print(case["name"], [round(loss, 4) for loss in case["losses"]])


if __name__ == "__main__":
    main()
