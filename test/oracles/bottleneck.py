"""A discrete bottleneck in PyTorch, trained for ten steps: what backend/models/transformer/bottleneck.ts must reproduce.

    python bottleneck.py [--out bottleneck.json]

Needs torch (made with the version that the file says). Embeddings, attention, norms, batches and packing are those of optimisers.py, with
Adam at a rate of 0.003; the block has no MLP. At position t the final norm's output at t - 1 (at 0 that at 0) is cut into the heads'
parts; each becomes the nearest of its head's codes by torch.cdist, with the gradient passed straight through (z + (e - z).detach()).
The codes side by side plus W_E of the token at t go through the readout layer, where a case has one, and the unembedding. The loss is the
cross-entropy plus mean((sg z - e)^2) + commitment mean((z - sg e)^2), mean over the predictions.

Parameter k is as in optimisers.py, of the numbers that `index` gives: the names of a case in their order, counted from 0, biases 0.1 u,
codes u. Computed in float64. `logits` are of the first batch before the first step, `chosen` its codes [rows, positions, heads], `gap` the
smallest difference over all steps between the squared distances of the second nearest code and the nearest; `losses` of each step before its
update (with the codes' losses), `grads` of the first and the last step, `final` the parameters after ten.
"""

import argparse
import json
import math
import pathlib

import torch
from optimisers import CONTEXT, HEAD, HEADS, STEPS, VOCABULARY, WIDTH, batch, norm, pack
from torch.nn.functional import cross_entropy

CASES = {
    "one head": {"heads": 1, "codes": 5, "commitment": 0.25, "readout": None},
    "two heads and a readout layer": {"heads": 2, "codes": 3, "commitment": 1.0, "readout": 6},
    "last position": {"heads": 4, "codes": 4, "commitment": 0.25, "readout": 6, "last": True},
}


def shapes(case):
    found = {"embed.W_E": (VOCABULARY, WIDTH), "pos_embed.W_pos": (CONTEXT, WIDTH)}
    found |= {"blocks.0.ln1.w": (WIDTH,), "blocks.0.ln1.b": (WIDTH,)}
    found |= {f"blocks.0.attn.W_{c}": (HEADS, WIDTH, HEAD) for c in "QKV"}
    found |= {"blocks.0.attn.W_O": (HEADS, HEAD, WIDTH), "ln_final.w": (WIDTH,), "ln_final.b": (WIDTH,)}
    found["codes"] = (case["heads"] * case["codes"], WIDTH // case["heads"])
    if case["readout"] is None:
        return found | {"unembed.W_U": (WIDTH, VOCABULARY)}
    hidden = case["readout"]
    found |= {"readout.0.W": (WIDTH, hidden), "readout.0.b": (hidden,)}
    return found | {"unembed.W_U": (hidden, VOCABULARY), "unembed.b_U": (VOCABULARY,)}


def initial(case):
    values = {}
    for k, (name, shape) in enumerate(shapes(case).items()):
        last = name.rsplit(".", 1)[-1]
        u = [math.sin(0.37 * (i + 1) ** 2 + k) for i in range(math.prod(shape))]
        if last == "w":
            flat = [1 + 0.1 * x for x in u]
        elif last.startswith("b"):
            flat = [0.1 * x for x in u]
        else:
            flat = [x if last in ("W_E", "W_pos", "codes") else 0.7 * x for x in u]
        values[name] = torch.tensor(flat, dtype=torch.float32).double().reshape(shape).requires_grad_()
    return values


def forward(case, p, tokens):
    """[rows, positions] -> logits, and by position z, codes' vectors and numbers, and the gap to the second nearest"""
    embedding = p["embed.W_E"][tokens]
    resid = embedding + p["pos_embed.W_pos"]
    x = norm(resid, p["blocks.0.ln1.w"], p["blocks.0.ln1.b"])
    q, k, v = (torch.einsum("bpd,hde->bhpe", x, p[f"blocks.0.attn.W_{c}"]) for c in "QKV")
    future = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
    pattern = (q @ k.transpose(-1, -2) / math.sqrt(HEAD)).masked_fill(future, -torch.inf).softmax(-1)
    resid = resid + torch.einsum("bhqe,hed->bqd", pattern @ v, p["blocks.0.attn.W_O"])
    z = norm(resid, p["ln_final.w"], p["ln_final.b"])
    z = torch.stack([z[:, max(t - 1, 0)] for t in range(CONTEXT)], 1)
    parts = z.unflatten(-1, (case["heads"], -1))
    books = p["codes"].unflatten(0, (case["heads"], case["codes"]))
    vectors, numbers, gaps = [], [], []
    for head in range(case["heads"]):
        distances = torch.cdist(parts[:, :, head].detach(), books[head].detach().expand(len(tokens), -1, -1)) ** 2
        nearest = distances.argmin(-1)
        two = distances.topk(2, largest=False).values
        gaps.append((two[..., 1] - two[..., 0]).min().item())
        numbers.append(nearest)
        vectors.append(books[head][nearest])
    e = torch.cat(vectors, -1)
    read = z + (e - z).detach() + embedding
    if case["readout"] is not None:
        read = torch.relu(read @ p["readout.0.W"] + p["readout.0.b"])
    out = read @ p["unembed.W_U"] + (p["unembed.b_U"] if case["readout"] is not None else 0)
    return out, z, e, torch.stack(numbers, -1), min(gaps)


def train(name):
    case = CASES[name]
    p = initial(case)
    trained = list(p.values())
    optimiser = torch.optim.Adam(trained, lr=0.003)
    scored = slice(-1, None) if case.get("last") else slice(None)
    losses, grads, gaps, first = [], [], [], None
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimiser.zero_grad()
        logits, z, e, numbers, gap = forward(case, p, tokens)
        first = first or {"logits": pack([logits]), "chosen": numbers.tolist()}
        gaps.append(gap)
        own = cross_entropy(logits[:, scored].reshape(-1, VOCABULARY), targets[:, scored].reshape(-1))
        z, e = z[:, scored], e[:, scored]
        loss = own + ((z.detach() - e) ** 2).mean() + case["commitment"] * ((z - e.detach()) ** 2).mean()
        loss.backward()
        losses.append(loss.item())
        if step in (0, STEPS - 1):
            grads.append(pack([t.grad for t in trained]))
        optimiser.step()
    described = [{"name": n, "index": k, "shape": list(t.shape)} for k, (n, t) in enumerate(p.items())]
    found = {"name": name, **case, "parameters": described, **first, "gap": min(gaps)}
    return found | {"losses": losses, "grads": grads, "final": pack(trained)}


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=here / "bottleneck.json")
    options = parser.parse_args()
    document = {"versions": {"torch": torch.__version__}, "cases": [train(case) for case in CASES]}
    options.out.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    for case in document["cases"]:
        print(case["name"], round(case["gap"], 5), [round(loss, 4) for loss in case["losses"]])


if __name__ == "__main__":
    main()
