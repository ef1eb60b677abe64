"""Interventions made by hand in transformers: knock-out of attention edges, path patching in both forms, steering while decoding.

    python interventions.py          writes interventions.json beside this file (torch, transformers 5, eager attention, float32)

Models are the fixtures in test/fixtures/families. Nothing here knows of headscope:

- knock-out: the additive attention mask of one layer is lowered to the type's least number at some queries, keys and heads, so
  that the softmax runs over what is left.
- path patching: the corrupt prompt, with one head of layer 0 as in the clean prompt. "direct" adds what that head writes
  differently to the stream that layer 1's receivers read; "mlps" runs layer 0 again, MLP included, with that head's output.
- steering: a vector is added to layer 1's input at absolute positions, of the prompt and of what is generated, without a cache.
"""

import json
import math
import pathlib

import torch
import transformers
from transformers import AutoModelForCausalLM

torch.set_grad_enabled(False)
HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = HERE.parent / "fixtures" / "families"
IDS = [3, 17, 5, 9, 44, 23, 8, 61, 30, 12, 77, 2]
CLEAN, CORRUPT, ANSWER, WRONG = [3, 17, 5, 9, 44, 23, 8], [3, 17, 60, 9, 44, 71, 8], 11, 29
HEADS, KV_HEADS = 4, {"gpt2": 4}


def digits(x):
    if isinstance(x, torch.Tensor):
        x = x.tolist()
    return [digits(y) for y in x] if isinstance(x, list) else float(f"{x:.7g}")


def load(name):
    model = AutoModelForCausalLM.from_pretrained(FAMILIES / name, dtype=torch.float32, attn_implementation="eager").eval()
    blocks = model.transformer.h if name == "gpt2" else model.model.layers
    return model, blocks


def attention(block):
    return block.attn if hasattr(block, "attn") else block.self_attn


def output(block):
    return attention(block).c_proj if hasattr(block, "attn") else attention(block).o_proj


def input_norm(block):
    return block.ln_1 if hasattr(block, "ln_1") else block.input_layernorm


def run(model, ids, hooks=(), **more):
    """Runs one prompt with (module, kind, function) hooks."""
    handles = []
    for module, kind, function in hooks:
        if kind == "output":
            handles.append(module.register_forward_hook(function))
        else:
            handles.append(module.register_forward_pre_hook(function, with_kwargs=kind == "kwargs"))
    try:
        return model(torch.tensor([ids]), **more)
    finally:
        for handle in handles:
            handle.remove()


def knock_out(name, layer, queries, keys, heads):
    model, blocks = load(name)
    least = torch.finfo(torch.float32).min

    def lower(_, args, kwargs):
        mask = kwargs["attention_mask"].clone().expand(1, HEADS, len(IDS), len(IDS)).clone()
        for head in heads:
            for query in queries:
                mask[:, head, query, keys] = least
        return args, {**kwargs, "attention_mask": mask}

    out = run(model, IDS, [(attention(blocks[layer]), "kwargs", lower)], output_attentions=True)
    return {
        "model": name, "ids": IDS, "layer": layer, "queries": queries, "keys": keys, "heads": heads,
        "pattern": digits(out.attentions[layer][0]), "logits": digits(out.logits[0]),
    }


def difference(logits):
    return (logits[0, -1, ANSWER] - logits[0, -1, WRONG]).item()


def paths(name, receiver):
    model, (first, second) = load(name)
    width = output(first).weight.shape[0 if name == "gpt2" else 1] // HEADS
    groups = KV_HEADS.get(name, 2)

    def captured(ids):
        kept = {}
        hooks = [
            (output(first), "input", lambda _, args: kept.__setitem__("z", args[0].clone())),
            (second, "input", lambda _, args: kept.__setitem__("stream", args[0].clone())),
        ]
        return difference(run(model, ids, hooks).logits), kept

    clean, clean_kept = captured(CLEAN)
    corrupt, corrupt_kept = captured(CORRUPT)
    mine = slice(receiver * width, (receiver + 1) * width)
    group = receiver * groups // HEADS

    def received(stream, through):
        """The corrupt prompt with the receivers' queries, keys or values computed from another stream."""
        read = input_norm(second)(stream)
        if name == "gpt2":
            whole = attention(second).c_attn(read)
            offset = {"q": 0, "k": HEADS * width, "v": 2 * HEADS * width}[through]
            place, module = slice(offset + mine.start, offset + mine.stop), attention(second).c_attn
        else:
            module = getattr(attention(second), f"{through}_proj")
            whole = module(read)
            place = mine if through == "q" else slice(group * width, (group + 1) * width)

        def put(_, __, out):
            changed = out.clone()
            changed[..., place] = whole[..., place]
            return changed

        return difference(run(model, CORRUPT, [(module, "output", put)]).logits)

    def senders(form, through):
        row = []
        for head in range(HEADS):
            own = slice(head * width, (head + 1) * width)
            if form == "direct":
                z = torch.zeros_like(corrupt_kept["z"])
                z[..., own] = (clean_kept["z"] - corrupt_kept["z"])[..., own]
                weight = output(first).weight if name == "gpt2" else output(first).weight.T
                stream = corrupt_kept["stream"] + z @ weight
            else:
                kept = {}

                def one(_, args):
                    z = args[0].clone()
                    z[..., own] = clean_kept["z"][..., own]
                    return (z,)

                hooks = [
                    (output(first), "input", one),
                    (second, "input", lambda _, args: kept.__setitem__("stream", args[0].clone())),
                ]
                run(model, CORRUPT, hooks)
                stream = kept["stream"]
            row.append(received(stream, through))
        return row

    return {
        "model": name, "pair": {"clean": CLEAN, "corrupt": CORRUPT, "answer": ANSWER, "wrong": WRONG},
        "into": [1, receiver], "clean": digits(clean), "corrupt": digits(corrupt),
        "patched": {form: {through: digits(senders(form, through)) for through in "qkv"} for form in ("direct", "mlps")},
    }


def steering(name, positions, tokens):
    model, blocks = load(name)
    width = model.get_input_embeddings().weight.shape[1]
    vector = torch.tensor([3 * math.sin(i) for i in range(width)])
    ids, last, margin = list(CLEAN), [], math.inf

    def add(_, args, kwargs):
        stream = args[0].clone()
        for position in positions:
            if position < stream.shape[1]:
                stream[:, position] += vector
        return (stream, *args[1:]), kwargs

    for _ in range(tokens):
        logits = run(model, ids, [(blocks[1], "kwargs", add)]).logits[0, -1]
        best = logits.topk(2).values
        margin = min(margin, (best[0] - best[1]).item())
        last = digits(logits)
        ids.append(int(logits.argmax()))
    return {
        "model": name, "ids": CLEAN, "positions": positions, "generated": ids[len(CLEAN):], "lastLogits": last,
        "logitMargin": digits(margin),
    }


document = {
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    "knockOut": [
        knock_out("llama-gqa", 1, [3, 7, 11], [0, 1], [0, 1, 2, 3]),
        knock_out("mistral-window", 0, [5, 9, 11], [4, 5, 8], [1, 2]),
        knock_out("gpt2", 1, [6, 11], [0, 2, 3], [3]),
    ],
    "paths": [paths("llama-gqa", 2), paths("gpt2", 1)],
    "steering": [
        steering(name, positions, 6)
        for name in ("llama-gqa", "mistral-window", "gpt2")
        for positions in ([0], [2, 6], [8, 10])
    ],
}
(HERE / "interventions.json").write_text(json.dumps(document) + "\n")
