"""Reads a long prompt and decodes a few tokens with llama.cpp in a process of its own, as children/decode.ts does for
headscope: one JSON line {"promptMs", "tokenMs", "loadedBytes", "peakBytes"}; bytes are the most that the process held.

    python decode_model.py GGUF [--length 7900] [--cache f16|f32|q8] [--threads 2]
"""

import argparse
import json
import time

from llama import LlamaCpp
from rivals import VOCABULARY, peak_bytes

parser = argparse.ArgumentParser()
parser.add_argument("gguf")
parser.add_argument("--length", type=int, default=7900)
parser.add_argument("--cache", default="f16")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

llama = LlamaCpp(args.gguf, args.threads)
loaded = peak_bytes()
ids = [17 + i * 7919 % (VOCABULARY - 17) for i in range(args.length)]
began = time.perf_counter()
tokenMs = llama.decode(ids, args.cache)
promptMs = (time.perf_counter() - began) * 1e3
print(json.dumps({"promptMs": promptMs, "tokenMs": tokenMs, "loadedBytes": loaded, "peakBytes": peak_bytes()}))
