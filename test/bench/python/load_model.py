"""Loads a model with transformers in a process of its own and says what it took, as load.ts does for headscope: one JSON
line {"loadMs", "firstMs", "peakBytes"}. Imports are not counted as time; what they hold is counted as memory.

    python load_model.py PATH [--dtype float32|bfloat16] [--tokens 8] [--threads 2]

PATH is a GGUF file or a Hugging Face folder.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import transformers
from rivals import peak_bytes

parser = argparse.ArgumentParser()
parser.add_argument("path", type=Path)
parser.add_argument("--dtype", default="float32")
parser.add_argument("--tokens", type=int, default=8)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
torch.set_num_threads(args.threads)
where = (args.path.parent, {"gguf_file": args.path.name}) if args.path.suffix == ".gguf" else (args.path, {})
from transformers import AutoModelForCausalLM  # noqa: E402 (transformers imports lazily: now, not within the time)

AutoModelForCausalLM.from_pretrained  # noqa: B018
began = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(where[0], dtype=getattr(torch, args.dtype), **where[1]).eval()
loaded = time.perf_counter()
with torch.inference_mode():
    ids = torch.arange(args.tokens)[None] * 7919 + 17
    model(input_ids=ids % model.config.vocab_size, logits_to_keep=1).logits.sum().item()
first = time.perf_counter()
peak = peak_bytes()
print(json.dumps({"loadMs": 1e3 * (loaded - began), "firstMs": 1e3 * (first - began), "peakBytes": peak}))
