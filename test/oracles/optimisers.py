"""PyTorch's optimisers on a tiny attention-only transformer: what headscope's trainer must reproduce step by step.

    python optimisers.py [--frozen NAMES] [--out optimisers.json]

Needs torch (made with 2.9). Everything that goes in follows from formulas, so that a test can replay it without Python:

- Model: one layer, attention only, vocabulary 11, width 8, 2 heads of width 4, context 6, learned positions, layer norms
  with eps 1e-5 before the attention and before the unembedding, causal softmax attention scaled by 1 / sqrt(4).
- Parameters: in the order of SHAPES below (TransformerLens's names and shapes), parameter k (0-based), flat element i
  (0-based, row-major): u = sin(0.37 (i + 1)^2 + k), and the value is 1 + 0.1 u for a norm's w, 0.1 u for a norm's b and
  every other bias, u for W_E and W_pos, 0.7 u for every other matrix; rounded to float32. A parameter whose last part is
  among --frozen (default b_Q,b_K,b_V,b_O,b_U: headscope's own models of tokens have no such biases) is zero, is not
  trained and is missing in the output; k counts it nevertheless: `index` of each parameter is its k.
- Batch of step s (0-based): 3 rows of 7 tokens, token p of row r = (3 s + 5 r + 2 p^2 + p r) mod 11; tokens 0 to 5 go in,
  tokens 1 to 6 are the targets. Loss: cross-entropy in nats, mean over the 18 predictions.
- Learning rate of step s: `learningRate` l constant, or with warm-up w over n steps: l (s + 1) / w while s < w, then
  l (1 + cos(pi (s - w) / (n - w))) / 2.
- Clipping: where the global L2 norm of all gradients exceeds `clip`, they are scaled by clip / (norm + 1e-6)
  (torch.nn.utils.clip_grad_norm_); clip 0 is none.
- Optimisers: torch.optim.Adam, AdamW, SGD with betas (0.9, 0.999), eps 1e-8, momentum 0.9. Weight decay d applies to every
  parameter: Adam and SGD add d * parameter to the (clipped) gradient, AdamW multiplies the parameter by 1 - rate * d first.

Computed in float64. For each step: `rate`, `loss` (before the step), `norm` (of the gradients before clipping) and `grad`, the
gradients before clipping of all trained parameters one after the other in the order of `parameters`, float32
little-endian in base64; `final` is the parameters after the last step, packed alike. Agreement to expect in float32: 1e-5
(b_K, if it is trained, differs in `final` under Adam: softmax does not see it, so its gradient is rounding alone).
"""

import argparse
import base64
import json
import math
import pathlib

import torch

VOCABULARY, WIDTH, HEADS, HEAD, CONTEXT, STEPS = 11, 8, 2, 4, 6, 10
SHAPES = {
    "embed.W_E": (VOCABULARY, WIDTH),
    "pos_embed.W_pos": (CONTEXT, WIDTH),
    "blocks.0.ln1.w": (WIDTH,),
    "blocks.0.ln1.b": (WIDTH,),
    "blocks.0.attn.W_Q": (HEADS, WIDTH, HEAD),
    "blocks.0.attn.W_K": (HEADS, WIDTH, HEAD),
    "blocks.0.attn.W_V": (HEADS, WIDTH, HEAD),
    "blocks.0.attn.W_O": (HEADS, HEAD, WIDTH),
    "blocks.0.attn.b_Q": (HEADS, HEAD),
    "blocks.0.attn.b_K": (HEADS, HEAD),
    "blocks.0.attn.b_V": (HEADS, HEAD),
    "blocks.0.attn.b_O": (WIDTH,),
    "ln_final.w": (WIDTH,),
    "ln_final.b": (WIDTH,),
    "unembed.W_U": (WIDTH, VOCABULARY),
    "unembed.b_U": (VOCABULARY,),
}
CASES = [
    {"optimiser": "adam", "learningRate": 0.01, "weightDecay": 0, "clip": 0, "warmup": 0, "schedule": "constant"},
    {"optimiser": "adam", "learningRate": 0.02, "weightDecay": 0.01, "clip": 0.5, "warmup": 3, "schedule": "cosine"},
    {"optimiser": "adamw", "learningRate": 0.01, "weightDecay": 0.1, "clip": 0, "warmup": 0, "schedule": "constant"},
    {"optimiser": "adamw", "learningRate": 0.02, "weightDecay": 0.1, "clip": 0.5, "warmup": 3, "schedule": "cosine"},
    {"optimiser": "sgd", "learningRate": 0.1, "weightDecay": 0.01, "clip": 0, "warmup": 0, "schedule": "constant"},
    {"optimiser": "sgd", "learningRate": 0.2, "weightDecay": 0.01, "clip": 0.5, "warmup": 3, "schedule": "cosine"},
]


def initial(frozen):
    values = {}
    for k, (name, shape) in enumerate(SHAPES.items()):
        u = [math.sin(0.37 * (i + 1) ** 2 + k) for i in range(math.prod(shape))]
        last = name.rsplit(".", 1)[1]
        if last in frozen:
            flat = [0.0 for _ in u]
        elif last == "w":
            flat = [1 + 0.1 * x for x in u]
        elif last.startswith("b"):
            flat = [0.1 * x for x in u]
        else:
            flat = [x if last in ("W_E", "W_pos") else 0.7 * x for x in u]
        tensor = torch.tensor(flat, dtype=torch.float32).double().reshape(shape)
        values[name] = tensor.requires_grad_(last not in frozen)
    return values


def batch(step):
    rows = [[(3 * step + 5 * r + 2 * p * p + p * r) % VOCABULARY for p in range(CONTEXT + 1)] for r in range(3)]
    tokens = torch.tensor(rows)
    return tokens[:, :-1], tokens[:, 1:]


def norm(x, w, b):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w + b


def logits(p, tokens):
    """[rows, positions] -> [rows, positions, vocabulary]"""
    resid = p["embed.W_E"][tokens] + p["pos_embed.W_pos"]
    x = norm(resid, p["blocks.0.ln1.w"], p["blocks.0.ln1.b"])
    q, k, v = (torch.einsum("bpd,hde->bhpe", x, p[f"blocks.0.attn.W_{c}"]) + p[f"blocks.0.attn.b_{c}"][:, None] for c in "QKV")
    scores = torch.einsum("bhqe,bhke->bhqk", q, k) / math.sqrt(HEAD)
    future = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
    pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
    z = torch.einsum("bhqk,bhke->bhqe", pattern, v)
    resid = resid + torch.einsum("bhqe,hed->bqd", z, p["blocks.0.attn.W_O"]) + p["blocks.0.attn.b_O"]
    return norm(resid, p["ln_final.w"], p["ln_final.b"]) @ p["unembed.W_U"] + p["unembed.b_U"]


def make(case, parameters):
    rate, decay = case["learningRate"], case["weightDecay"]
    if case["optimiser"] == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    kind = torch.optim.Adam if case["optimiser"] == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)


def factor(case, step):
    warmup = case["warmup"]
    if step < warmup:
        return (step + 1) / warmup
    if case["schedule"] == "constant":
        return 1
    return (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup))) / 2


def pack(tensors):
    flat = torch.cat([t.detach().reshape(-1) for t in tensors]).float().numpy()
    return base64.b64encode(flat.astype("<f4").tobytes()).decode()


def train(case, frozen):
    p = initial(frozen)
    trained = [t for t in p.values() if t.requires_grad]
    optimiser = make(case, trained)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: factor(case, step))
    steps = []
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(p, tokens).reshape(-1, VOCABULARY), targets.reshape(-1))
        loss.backward()
        grad = pack([t.grad for t in trained])
        size = torch.nn.utils.clip_grad_norm_(trained, case["clip"] or math.inf)
        steps.append({"rate": schedule.get_last_lr()[0], "loss": loss.item(), "norm": size.item(), "grad": grad})
        optimiser.step()
        schedule.step()
    return {**case, "steps": steps, "final": pack(trained)}


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--frozen", default="b_Q,b_K,b_V,b_O,b_U", help="last parts of parameter names that stay zero")
    parser.add_argument("--out", type=pathlib.Path, default=here / "optimisers.json")
    options = parser.parse_args()
    frozen = [name for name in options.frozen.split(",") if name]
    document = {
        "versions": {"torch": torch.__version__},
        "frozen": frozen,
        "parameters": [
            {"name": name, "index": k, "shape": shape}
            for k, (name, shape) in enumerate(SHAPES.items())
            if name.rsplit(".", 1)[1] not in frozen
        ],
        "cases": [train(case, frozen) for case in CASES],
    }
    options.out.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    for case in document["cases"]:
        print(case["optimiser"], [round(s["loss"], 4) for s in case["steps"]], [round(s["norm"], 3) for s in case["steps"]])


if __name__ == "__main__":
    main()
