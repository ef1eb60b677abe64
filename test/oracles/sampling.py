"""transformers' logits processors on a few vectors of logits, one by one and in the order in which `generate` has them.

    python sampling.py          writes sampling.json beside this file (torch, transformers 5)

Of each case: which tokens are left, and their probabilities. Float32; no case lies near the edge of a limit.
"""

import json
import pathlib

import torch
import transformers
from transformers.generation import logits_process as processors

HERE = pathlib.Path(__file__).resolve().parent

CASES = [
    {"temperature": 1.0},
    {"temperature": 0.7},
    {"temperature": 1.0, "repetitionPenalty": 1.3},
    {"temperature": 1.0, "repetitionPenalty": 0.6},
    {"temperature": 1.0, "topK": 1},
    {"temperature": 2.0, "topK": 7},
    {"temperature": 1.0, "topK": 1000},
    {"temperature": 1.0, "topP": 0.0},
    {"temperature": 1.0, "topP": 0.35},
    {"temperature": 1.5, "topP": 0.9},
    {"temperature": 1.0, "topP": 1.0},
    {"temperature": 1.0, "minP": 0.0},
    {"temperature": 1.0, "minP": 0.1},
    {"temperature": 3.0, "minP": 0.5},
    {"temperature": 1.0, "minP": 1.0},
    {"temperature": 0.8, "repetitionPenalty": 1.2, "topK": 12, "topP": 0.85, "minP": 0.06},
    {"temperature": 2.5, "repetitionPenalty": 2.0, "topK": 20, "topP": 0.6, "minP": 0.3},
]

MAKERS = [
    ("repetitionPenalty", processors.RepetitionPenaltyLogitsProcessor),
    ("temperature", processors.TemperatureLogitsWarper),
    ("topK", processors.TopKLogitsWarper),
    ("topP", processors.TopPLogitsWarper),
    ("minP", processors.MinPLogitsWarper),
]


def run(logits, ids, case):
    scores = torch.tensor([logits])
    for name, maker in MAKERS:
        if name in case:
            scores = maker(case[name])(torch.tensor([ids]), scores)
    return [float(f"{p:.7g}") for p in scores.softmax(-1)[0].tolist()]


def main():
    generator = torch.Generator().manual_seed(22)
    vectors = []
    for scale in (1.5, 4.0):
        logits = [float(f"{x:.4g}") for x in (torch.randn(40, generator=generator) * scale).tolist()]
        ids = torch.randint(0, 40, (14,), generator=generator).tolist() + [int(torch.tensor(logits).argmax())]
        cases = [{"sampling": case, "probabilities": run(logits, ids, case)} for case in CASES]
        vectors.append({"logits": logits, "ids": ids, "cases": cases})
    made_with = {"transformers": transformers.__version__, "torch": torch.__version__}
    (HERE / "sampling.json").write_text(json.dumps({"versions": made_with, "vectors": vectors}) + "\n")


main()
