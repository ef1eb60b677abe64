"""A soft prompt in PyTorch, trained for ten steps: what backend/models/transformer/soft-prompt.ts must reproduce.

    python soft_prompt.py [--out soft_prompt.json]

Needs torch (made with the version that the file says). Model, parameters, batches and packing are those of optimisers.py; three learned
vectors stand before the six tokens of every row, and the loss is over the tokens alone. Adam at a rate of 0.01.

- learned: the tokens have the learned positions 0 to 5, the vectors none.
- rotary: no learned positions; queries and keys are rotated by the angles p * 10000^(-2 i / 4), halves paired, the vectors at the
  positions p = -3, -2, -1 and the tokens at 0 to 5. `trained` says which weights the steps change: the prompt, the others, or all.

The prompt begins, as other matrices do, with 0.7 u, of index k = 16. Computed in float64. `logits` are of the tokens of the first batch
before the first step, `losses` of each step before its update, `grads` (of what is trained) of the first and the last step, `final` all
parameters after ten.
"""

import argparse
import json
import math
import pathlib

import torch
from optimisers import CONTEXT, HEAD, SHAPES, STEPS, VOCABULARY, WIDTH, batch, initial, norm, pack
from torch.nn.functional import cross_entropy

VECTORS = 3
PROMPT = "soft_prompt.W_P"
FROZEN = ("b_Q", "b_K", "b_V", "b_O", "b_U")
CASES = [(positions, trained) for positions in ("learned", "rotary") for trained in ("prompt", "weights", "all")]


def parameters(positions):
    values = initial((*FROZEN, "W_pos") if positions == "rotary" else FROZEN)
    flat = [0.7 * math.sin(0.37 * (i + 1) ** 2 + len(SHAPES)) for i in range(VECTORS * WIDTH)]
    values[PROMPT] = torch.tensor(flat, dtype=torch.float32).double().reshape(VECTORS, WIDTH).requires_grad_()
    return {name: t for name, t in values.items() if t.requires_grad}


def rotated(x):
    """[rows, heads, positions, HEAD]"""
    half = HEAD // 2
    places = torch.arange(-VECTORS, CONTEXT).double()
    angles = places[:, None] * 10000.0 ** (-2 * torch.arange(half).double() / HEAD)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def forward(positions, p, tokens):
    """[rows, CONTEXT] -> [rows, CONTEXT, VOCABULARY]"""
    own = p["embed.W_E"][tokens]
    if positions == "learned":
        own = own + p["pos_embed.W_pos"]
    resid = torch.cat([p[PROMPT].expand(len(tokens), -1, -1), own], 1)
    x = norm(resid, p["blocks.0.ln1.w"], p["blocks.0.ln1.b"])
    q, k, v = (torch.einsum("bpd,hde->bhpe", x, p[f"blocks.0.attn.W_{c}"]) for c in "QKV")
    if positions == "rotary":
        q, k = rotated(q), rotated(k)
    scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    z = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
    resid = resid + torch.einsum("bhqe,hed->bqd", z, p["blocks.0.attn.W_O"])
    return (norm(resid, p["ln_final.w"], p["ln_final.b"]) @ p["unembed.W_U"])[:, VECTORS:]


def train(positions, trained):
    p = parameters(positions)
    chosen = [t for name, t in p.items() if trained == "all" or (name == PROMPT) == (trained == "prompt")]
    optimiser = torch.optim.Adam(chosen, lr=0.01)
    losses, grads, first = [], [], None
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimiser.zero_grad()
        logits = forward(positions, p, tokens)
        first = first or pack([logits])
        loss = cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))
        loss.backward()
        losses.append(loss.item())
        if step in (0, STEPS - 1):
            grads.append(pack([t.grad for t in chosen]))
        optimiser.step()
    indices = [*SHAPES, PROMPT]
    described = [{"name": n, "index": indices.index(n), "shape": list(t.shape)} for n, t in p.items()]
    return {
        **{"positions": positions, "trained": trained, "parameters": described, "logits": first},
        **{"losses": losses, "grads": grads, "final": pack(list(p.values()))},
    }


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=here / "soft_prompt.json")
    options = parser.parse_args()
    cases = [train(positions, trained) for positions, trained in CASES]
    document = {"versions": {"torch": torch.__version__}, "cases": cases}
    options.out.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    for case in cases:
        print(case["positions"], case["trained"], [round(loss, 4) for loss in case["losses"]])


if __name__ == "__main__":
    main()
