"""Scores all edges of SmolLM2 by EAP-IG with the EAP-IG package in a process of its own and says what it took, as eap-ig.ts does
for headscope: one JSON line {"ms", "cpuMs", "firstMs", "peakBytes"}.

    python eap_ig.py PAIRS.json --gguf SmolLM2-135M-Instruct.Q4_1.gguf --package FOLDER [--steps 5] [--batch 10]

FOLDER is a checkout of https://github.com/hannamw/EAP-IG, which no registry has. PAIRS.json holds pairs in token ids. The model
is set as the package's ioi.ipynb sets it; batches of 10 pairs are the notebook's.
"""

import argparse
import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("pairs", type=Path)
parser.add_argument("--gguf", required=True)
parser.add_argument("--package", type=Path, required=True)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=1)
args = parser.parse_args()
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries print

sys.path[:0] = [str(args.package / "src"), str(args.package)]
import torch  # noqa: E402
from rivals import Rivals, peak_bytes  # noqa: E402

# The package makes its scores on a GPU; here there is none.
on_any_device = torch.zeros
torch.zeros = lambda *shape, device=None, **rest: on_any_device(*shape, device=None if device == "cuda" else device, **rest)

import eap.attribute  # noqa: E402
from eap.graph import Graph  # noqa: E402


def padded(_model, rows, max_length=None):
    """Pairs come in token ids: as the package's own function gives them, without its tokenizer."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return tokens, (torch.arange(width) < lengths[:, None]).long(), lengths, width


eap.attribute.tokenize_plus = padded


def logit_diff(logits, _clean_logits, lengths, labels):
    """The notebook's metric."""
    last = logits[torch.arange(len(logits)), lengths - 1]
    chosen = torch.gather(last, -1, labels)
    return -(chosen[:, 0] - chosen[:, 1]).mean()


rivals = Rivals(args.gguf, args.threads)
model = rivals.lens()
rivals.transformers.cache_clear()  # what the weights came from is not the package's memory
for name in ("use_split_qkv_input", "use_attn_result", "use_hook_mlp_in", "ungroup_grouped_query_attention"):
    setattr(model.cfg, name, True)
pairs = json.loads(args.pairs.read_text())
batches = [
    ([p["clean"] for p in batch], [p["corrupt"] for p in batch], torch.tensor([[p["answer"], p["wrong"]] for p in batch]))
    for batch in (pairs[i : i + args.batch] for i in range(0, len(pairs), args.batch))
]


def processor_ms():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e3


def once():
    graph = Graph.from_model(model)
    before, began = processor_ms(), time.perf_counter()
    eap.attribute.attribute(model, graph, batches, partial(logit_diff), method="EAP-IG-inputs", ig_steps=args.steps, quiet=True)
    return (time.perf_counter() - began) * 1e3, processor_ms() - before


first, _ = once()
ms, cpu = sorted(once() for _ in range(args.repeats))[args.repeats // 2]
print(json.dumps({"ms": ms, "cpuMs": cpu, "firstMs": first, "peakBytes": peak_bytes()}), file=out, flush=True)
