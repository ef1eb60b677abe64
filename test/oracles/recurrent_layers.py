"""Recurrent layers in PyTorch, trained for ten steps: what backend/models/transformer/mixers must reproduce.

    python recurrent_layers.py [--out recurrent_layers.json]

Needs torch (made with the version that the file says). Embeddings, norms, output, batches and packing are those of optimisers.py, with
Adam at a rate of 0.003; blocks have no MLP. The state of a recurrent layer is carried from token to token, one after the other:

- q, k of 3 numbers a head and v of 4 are projections W_Q, W_K, W_V of the normalised stream x; to each of their numbers at position t
  the convolution adds sum_j c[j] p[t - j], j = 0 ... 3, of its projections p (0 before the sequence).
- linear-recurrence: head h keeps the share exp(-2^-(5 + h) exp(decay_h)) of its state at each token, and writes k vT.
- selective: step = softplus(w_h x + b_h); it keeps exp(-step (h + 1) exp(decay_h)) and writes step k vT.
- S [3, 4] is first kept, then written; y = ST q / sqrt(3), and z = y / sqrt(mean(y^2) + 1e-5) goes through W_O.
- hybrid: a selective layer, then one of softmax attention as in optimisers.py.

Parameter k is as in optimisers.py, of the numbers that `index` gives: the names of a case in their order, counted from 0, matrices and
all of the recurrence 0.7 u. Computed in float64. `logits` are of the first batch before the first step, `losses` of each step before
its update, `grads` of the first and the last step, `final` the parameters after ten.
"""

import argparse
import json
import math
import pathlib

import torch
from optimisers import CONTEXT, HEAD, HEADS, STEPS, VOCABULARY, WIDTH, batch, norm, pack
from torch.nn.functional import cross_entropy, softplus

STATE, REACH = 3, 4
CASES = {
    "linear-recurrence": ["linear-recurrence"],
    "selective": ["selective"],
    "hybrid": ["selective", "attention"],
}


def shapes(mixers):
    found = {"embed.W_E": (VOCABULARY, WIDTH), "pos_embed.W_pos": (CONTEXT, WIDTH)}
    for layer, mixer in enumerate(mixers):
        width = HEAD if mixer == "attention" else STATE
        block = {"ln1.w": (WIDTH,), "ln1.b": (WIDTH,)}
        block |= {f"attn.W_{c}": (HEADS, WIDTH, HEAD if c == "V" else width) for c in "QKV"}
        if mixer != "attention":
            block["attn.convolution"] = (REACH, HEADS * (2 * STATE + HEAD))
            if mixer == "selective":
                block |= {"attn.step": (HEADS, WIDTH), "attn.step_bias": (HEADS,)}
            block["attn.decay"] = (HEADS,)
        block["attn.W_O"] = (HEADS, HEAD, WIDTH)
        found |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return found | {"ln_final.w": (WIDTH,), "ln_final.b": (WIDTH,), "unembed.W_U": (WIDTH, VOCABULARY)}


def initial(mixers):
    values = {}
    for k, (name, shape) in enumerate(shapes(mixers).items()):
        last = name.rsplit(".", 1)[1]
        u = [math.sin(0.37 * (i + 1) ** 2 + k) for i in range(math.prod(shape))]
        if last == "w":
            flat = [1 + 0.1 * x for x in u]
        elif last == "b":
            flat = [0.1 * x for x in u]
        else:
            flat = [x if last in ("W_E", "W_pos") else 0.7 * x for x in u]
        values[name] = torch.tensor(flat, dtype=torch.float32).double().reshape(shape).requires_grad_()
    return values


def attention(x, p):
    q, k, v = (torch.einsum("bpd,hde->bhpe", x, p[f"attn.W_{c}"]) for c in "QKV")
    future = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
    return (scores.masked_fill(future, -torch.inf).softmax(-1) @ v).permute(0, 2, 1, 3)


def recurrence(x, p, mixer):
    """[rows, positions, width] -> z [rows, positions, heads, 4]"""
    rows = x.shape[0]
    projected = torch.cat([torch.einsum("bpd,hde->bphe", x, p[f"attn.W_{c}"]).flatten(2) for c in "QKV"], -1)
    outputs = []
    state = torch.zeros(rows, HEADS, STATE, HEAD, dtype=torch.float64)
    numbers = torch.arange(HEADS, dtype=torch.float64)
    for t in range(CONTEXT):
        mixed = projected[:, t]
        for j in range(min(REACH, t + 1)):
            mixed = mixed + p["attn.convolution"][j] * projected[:, t - j]
        q, k, v = mixed.split([HEADS * STATE, HEADS * STATE, HEADS * HEAD], -1)
        q, k, v = q.view(rows, HEADS, STATE), k.view(rows, HEADS, STATE), v.view(rows, HEADS, HEAD)
        if mixer == "selective":
            step = softplus(x[:, t] @ p["attn.step"].T + p["attn.step_bias"])
            kept = torch.exp(-step * (numbers + 1) * p["attn.decay"].exp())
        else:
            step = torch.ones(rows, HEADS, dtype=torch.float64)
            kept = torch.exp(-(2 ** -(5 + numbers)) * p["attn.decay"].exp()).expand(rows, HEADS)
        state = kept[..., None, None] * state + step[..., None, None] * k[..., :, None] * v[..., None, :]
        y = torch.einsum("bhne,bhn->bhe", state, q) / math.sqrt(STATE)
        outputs.append(y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt())
    return torch.stack(outputs, 1)


def forward(mixers, p, tokens):
    resid = p["embed.W_E"][tokens] + p["pos_embed.W_pos"]
    for layer, mixer in enumerate(mixers):
        prefix = f"blocks.{layer}."
        own = {name[len(prefix) :]: t for name, t in p.items() if name.startswith(prefix)}
        x = norm(resid, own["ln1.w"], own["ln1.b"])
        z = attention(x, own) if mixer == "attention" else recurrence(x, own, mixer)
        resid = resid + torch.einsum("bqhe,hed->bqd", z, own["attn.W_O"])
    return norm(resid, p["ln_final.w"], p["ln_final.b"]) @ p["unembed.W_U"]


def train(case):
    mixers = CASES[case]
    p = initial(mixers)
    trained = list(p.values())
    optimiser = torch.optim.Adam(trained, lr=0.003)
    losses, grads, first = [], [], None
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimiser.zero_grad()
        logits = forward(mixers, p, tokens)
        first = first or pack([logits])
        loss = cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))
        loss.backward()
        losses.append(loss.item())
        if step in (0, STEPS - 1):
            grads.append(pack([t.grad for t in trained]))
        optimiser.step()
    described = [{"name": n, "index": k, "shape": list(t.shape)} for k, (n, t) in enumerate(p.items())]
    case = {"name": case, "mixer": mixers, "parameters": described, "logits": first}
    return case | {"losses": losses, "grads": grads, "final": pack(trained)}


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=here / "recurrent_layers.json")
    options = parser.parse_args()
    document = {"versions": {"torch": torch.__version__}, "cases": [train(case) for case in CASES]}
    options.out.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    for case in document["cases"]:
        print(case["name"], [round(loss, 4) for loss in case["losses"]])


if __name__ == "__main__":
    main()
