"""Attention kernels in PyTorch, trained for ten steps: what backend/models/transformer/kernels must reproduce.

    python attention_kernels.py [--out attention_kernels.json]

Needs torch (made with the version that the file says). Model, parameters, batches and packing are those of optimisers.py, with
other attention and Adam at a rate of 0.01. Scores s are queries times keys / sqrt(4); a query reaches itself and what is before it.

- softmax; sigmoid: weights are sigmoid(s); sigmoid-normalised: those over their sum.
- linear: s is f(q) f(k) with f(x) = elu(x) + 1, without the factor; weights are s / (sum s + 1e-6).
- polynomial: weights are s^2 / (sum s^2 + 1e-6); polynomial-4 the same of s^4.
- key-bias, key-value-bias, sink-logit: a softmax over the scores and one more: q b / sqrt(4) with a learned b, or a learned number a
  head. Its weight times a learned value is added to the head's output (key-value-bias), or lost.

The learned extras begin, as other matrices do, with 0.7 u, of index k = 16 (key_bias), 17 (value_bias) and 18 (sink_logit).
Computed in float64. `logits` and `pattern` (of the tokens' keys) are of the first batch before the first step, `losses` of each
step before its update, `grads` of the first and the last step, `final` the parameters after ten.
"""

import argparse
import json
import math
import pathlib

import torch
from optimisers import CONTEXT, HEAD, HEADS, SHAPES, STEPS, VOCABULARY, batch, initial, norm, pack
from torch.nn.functional import cross_entropy, elu

FROZEN = ("b_Q", "b_K", "b_V", "b_O", "b_U")
EXTRAS = {"key_bias": (HEADS, HEAD), "value_bias": (HEADS, HEAD), "sink_logit": (HEADS,)}
CASES = {
    "softmax": [],
    "sigmoid": [],
    "sigmoid-normalised": [],
    "linear": [],
    "polynomial": [],
    "polynomial-4": [],
    "key-bias": ["key_bias"],
    "key-value-bias": ["key_bias", "value_bias"],
    "sink-logit": ["sink_logit"],
}


def parameters(extras):
    values = {name: t for name, t in initial(FROZEN).items()}
    for k, (name, shape) in enumerate(EXTRAS.items()):
        if name in extras:
            flat = [0.7 * math.sin(0.37 * (i + 1) ** 2 + len(SHAPES) + k) for i in range(math.prod(shape))]
            tensor = torch.tensor(flat, dtype=torch.float32).double().reshape(shape).requires_grad_()
            values[f"blocks.0.attn.{name}"] = tensor
    return values


def weigh(case, q, k, extra):
    """[rows, heads, query, key], the extra key's column last where there is one."""
    future = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
    if case == "linear":
        q, k = elu(q) + 1, elu(k) + 1
        scores = q @ k.transpose(-1, -2)
    else:
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
    if case == "sigmoid":
        return scores.sigmoid().masked_fill(future, 0)
    if case in ("sigmoid-normalised", "linear", "polynomial", "polynomial-4"):
        power = {"polynomial": 2, "polynomial-4": 4}.get(case)
        similar = scores**power if power else scores.sigmoid() if case == "sigmoid-normalised" else scores
        similar = similar.masked_fill(future, 0)
        return similar / (similar.sum(-1, keepdim=True) + (0 if case == "sigmoid-normalised" else 1e-6))
    scores = scores.masked_fill(future, -torch.inf)
    return torch.cat([scores, extra], -1).softmax(-1) if extra is not None else scores.softmax(-1)


def forward(case, p, tokens):
    resid = p["embed.W_E"][tokens] + p["pos_embed.W_pos"]
    x = norm(resid, p["blocks.0.ln1.w"], p["blocks.0.ln1.b"])
    q, k, v = (torch.einsum("bpd,hde->bhpe", x, p[f"blocks.0.attn.W_{c}"]) for c in "QKV")
    bias, logit, value = (p.get(f"blocks.0.attn.{name}") for name in ("key_bias", "sink_logit", "value_bias"))
    extra = None
    if bias is not None:
        extra = torch.einsum("bhqe,he->bhq", q, bias)[..., None] / math.sqrt(HEAD)
    elif logit is not None:
        extra = logit[None, :, None, None].expand(*q.shape[:3], 1)
    weights = weigh(case, q, k, extra)
    pattern = weights[..., :CONTEXT]
    z = pattern @ v
    if value is not None:
        z = z + weights[..., CONTEXT:] * value[None, :, None, :]
    resid = resid + torch.einsum("bhqe,hed->bqd", z, p["blocks.0.attn.W_O"])
    return norm(resid, p["ln_final.w"], p["ln_final.b"]) @ p["unembed.W_U"], pattern


def train(case):
    extras = CASES[case]
    p = parameters(extras)
    names = [name for name, t in p.items() if t.requires_grad]
    trained = [p[name] for name in names]
    optimiser = torch.optim.Adam(trained, lr=0.01)
    losses, grads, first = [], [], None
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimiser.zero_grad()
        logits, pattern = forward(case, p, tokens)
        first = first or {"logits": pack([logits]), "pattern": pack([pattern])}
        loss = cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))
        loss.backward()
        losses.append(loss.item())
        if step in (0, STEPS - 1):
            grads.append(pack([t.grad for t in trained]))
        optimiser.step()
    indices = [*SHAPES, *(f"blocks.0.attn.{name}" for name in EXTRAS)]
    described = [{"name": n, "index": indices.index(n), "shape": list(p[n].shape)} for n in names]
    return {"name": case, "parameters": described, **first, "losses": losses, "grads": grads, "final": pack(trained)}


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=here / "attention_kernels.json")
    options = parser.parse_args()
    document = {"versions": {"torch": torch.__version__}, "cases": [train(case) for case in CASES]}
    options.out.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    for case in document["cases"]:
        print(case["name"], [round(loss, 4) for loss in case["losses"]])


if __name__ == "__main__":
    main()
