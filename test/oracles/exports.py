"""Independent check of backend/exports: NumPy, json, csv, safetensors and transformers against headscope.

    python exports.py fixtures                what these libraries write, into test/fixtures/exports
    HEADSCOPE_EXPORTS_OUT=DIR npx vitest run test/unit/exports/oracle.test.ts
    python exports.py check DIR               reads what headscope wrote there; verdict into test/oracles/exports.json

The verdict holds the sha256 of every file that was read and accepted; exports-oracle.test.ts insists on those bytes.
Needs numpy, safetensors, torch and transformers (made with 2.4, 0.8, 2.9 and 4.57).
"""

import csv
import hashlib
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures" / "exports"


def write_fixtures():
    FIXTURES.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(9)
    # float32 values hit exact ties in the 19th digit; the rest are ordinary and extreme float64 values.
    ties = rng.random((40, 3), dtype=np.float32).astype(float)
    plain = rng.random((10, 3))
    extreme = np.array([[0.0, 1.0, -0.0], [5e-324, 1.7976931348623157e308, -1e-100], [1 / 3, 0.1, 1 + 2**-19]])
    values = np.concatenate([ties, plain, extreme])
    np.savetxt(FIXTURES / "savetxt.tsv", values, delimiter="\t")
    (FIXTURES / "savetxt.json").write_text(json.dumps(values.tolist()))

    # A pattern as DuoAttention saves one: values slightly outside [0, 1], which its loader clips.
    duo = FIXTURES / "duo"
    duo.mkdir(exist_ok=True)
    gates = np.clip(rng.normal(0.5, 0.6, (4, 2)), -0.01, 1.01)
    np.savetxt(duo / "full_attention_heads.tsv", gates, delimiter="\t")
    (duo / "config.json").write_text(json.dumps({"model_name": "tiny", "lr": 0.02, "sink_size": 128, "recent_size": 256}))
    (FIXTURES / "duo-clipped.json").write_text(json.dumps(np.clip(gates, 0, 1).tolist()))

    trials = rng.random((3, 4, 4)).round(4)
    heads = {f"{l}-{h}": trials[:, l, h].tolist() for l in range(4) for h in range(4)}
    (FIXTURES / "retrieval.json").write_text(json.dumps(heads))
    (FIXTURES / "retrieval-mean.json").write_text(json.dumps(trials.mean(0).tolist()))

    # DuoAttention's choice by sparsity, for scores that all differ (so that its tie-breaking noise decides nothing).
    cases = []
    for shape in [(4, 2), (30, 3), (1, 1), (5, 8)]:
        scores = rng.permutation(np.prod(shape)).reshape(shape) / np.prod(shape)
        for sparsity in [0, 0.07, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 1]:
            threshold = 2 if sparsity >= 1 else -1 if sparsity <= 0 else np.quantile(scores, sparsity)
            kept = (scores >= threshold).astype(int)
            cases.append({"scores": scores.tolist(), "quantile": sparsity, "kept": kept.tolist()})
    (FIXTURES / "sparsity.json").write_text(json.dumps(cases))

    # As MInference's own search writes them, on four layers of four heads: json.dump of a list of dictionaries.
    shapes = [("vertical_and_slash", 1000, 6096), ("vertical_and_slash", 30, 800), ("stream_llm", 100, 800), ("block_sparse", 100, 1)]
    places = [[int(rng.integers(4)) for _ in range(4)] for _ in range(4)]
    layers = [{str(h): [*shapes[kind], round(rng.random(), 4)] for h, kind in enumerate(row)} for row in places]
    (FIXTURES / "minference.json").write_text(json.dumps(layers))


def load_duo(folder):
    """As duo_attn.utils.load_attn_pattern reads it."""
    heads = np.clip(np.loadtxt(folder / "full_attention_heads.tsv", dtype=float, delimiter="\t"), 0, 1)
    config = json.loads((folder / "config.json").read_text())
    return heads, config["sink_size"], config["recent_size"]


TRAINING = {
    "dataset_format": "multiple_passkey",
    "lr": 0.02,
    "num_steps": 2000,
    "reg_weight": 0.05,
    "initial_value": 1.0,
    "num_passkeys": 10,
    "passkey_length": 32,
    "min_needle_depth_ratio": 0.05,
    "max_needle_depth_ratio": 0.95,
    "context_length_min": 1000,
    "context_length_max": 32000,
    "context_lengths_num_intervals": 50,
    "depth_ratio_num_intervals": 1000,
    "supervision": "distill",
    "threshold": 0.5,
    "sparsity": None,
    "seed": 42,
}


def load_minference(path, layer):
    """As MInference's attention takes a layer's patterns: by head, unpacked into type, two sizes and a score."""
    best = {int(head): entry for head, entry in json.loads(path.read_text())[layer].items()}
    rows = []
    for head in range(len(best)):
        kind, vertical, slash, score = best.get(head)
        assert kind in ("stream_llm", "vertical_and_slash", "block_sparse")
        rows.append((kind, vertical, slash, score))
    return rows


def load_qwen(folder, layer, heads):
    """As vLLM's dual chunk attention takes them: the list of a layer's heads, each vertical_and_slash."""
    settings = json.loads((folder / "dual_chunk_attention_config.json").read_text())["dual_chunk_attention_config"]
    assert settings["local_size"] <= settings["chunk_size"] and settings["original_max_position_embeddings"] > 0
    config = {int(i): j for i, j in json.loads((folder / "sparse_attention_config.json").read_text())[layer].items()}
    if not settings.get("sparse_attention_enabled", config is not None):
        return None
    rows = [config[i] for i in range(heads)]
    assert all(kind == "vertical_and_slash" for kind, _, _, _ in rows)
    return [tuple(row) for row in rows]


def check(out):
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    inputs = json.loads((out / "inputs.json").read_text())
    scores = {name: np.array(metric["values"]) for name, metric in inputs["scores"]["metrics"].items()}
    layers, heads = scores["retrieval"].shape
    kv_heads = scores["gate"].shape[1]
    grouped = scores["retrieval"].reshape(layers, kv_heads, -1).max(-1)
    mask = np.array([[choice == "retrieval" for choice in row] for row in inputs["mask"]["kvHeads"]], dtype=float)
    keep = np.array([[choice == "keep" for choice in row] for row in inputs["mask"]["heads"]], dtype=float)
    ablated = np.argwhere(keep == 0)
    verdict = {}

    def same(name, a, b, tolerance=0.0):
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        assert a.shape == b.shape, (name, a.shape, b.shape)
        difference = float(np.abs(a - b).max()) if a.size else 0.0
        assert difference <= tolerance, (name, difference)
        verdict[name] = {"shape": list(a.shape), "maxDifference": difference}

    values, sink, recent = load_duo(out / "duo-mask")
    assert (sink, recent) == (inputs["mask"]["sink"], inputs["mask"]["recent"])
    same("duo-attention from a mask", values, mask)
    raw = np.loadtxt(out / "duo-scores" / "full_attention_heads.tsv", delimiter="\t")
    assert raw.min() >= 0 and raw.max() <= 1
    same("duo-attention from scores", load_duo(out / "duo-scores")[0], np.clip(grouped, 0, 1))
    buffer = out / "savetxt-again.tsv"
    np.savetxt(buffer, raw, delimiter="\t")
    assert buffer.read_bytes() == (out / "duo-scores" / "full_attention_heads.tsv").read_bytes()
    buffer.unlink()

    # Trained gates keep their training's arguments beside the window.
    config = json.loads((out / "duo-gates" / "config.json").read_text())
    trained = {k: v for k, v in TRAINING.items() if v is not None}
    assert {k: config[k] for k in trained} == trained and config["model_name"] == "tiny", config
    assert load_duo(out / "duo-gates")[1:] == (128, 256)
    same("duo-attention from gates", load_duo(out / "duo-gates")[0], np.clip(scores["gate"], 0, 1))

    patterns = [[(e["pattern"], e["a"], e["b"], e["score"]) for e in row] for row in inputs["patterns"]["layers"]]
    assert [load_minference(out / "minference.json", layer) for layer in range(layers)] == patterns
    verdict["minference"] = {"layers": layers, "heads": heads}
    slashes = [[("vertical_and_slash", *e[1:]) for e in row] for row in patterns]
    assert [load_qwen(out / "qwen", layer, heads) for layer in range(layers)] == slashes
    verdict["qwen-1m"] = {"layers": layers, "heads": heads}

    text = (out / "retrieval.json").read_text()
    assert "\n" not in text
    lists = json.loads(text)
    assert text == json.dumps(lists), "not as json.dumps lays it out"
    trials = np.array(inputs["scores"]["metrics"]["retrieval"]["trials"])
    read = np.array([[lists[f"{l}-{h}"] for h in range(heads)] for l in range(layers)])
    same("retrieval-head", read, np.moveaxis(trials, 0, -1))

    with safe_open(out / "mask.safetensors", "np") as file:
        assert set(file.keys()) == {"head_mask", "kv_head_mask"}
        assert file.get_tensor("head_mask").dtype == np.float32
        same("safetensors head_mask", file.get_tensor("head_mask"), keep)
        same("safetensors kv_head_mask", file.get_tensor("kv_head_mask"), mask)
        verdict["safetensors metadata"] = file.metadata()
    with safe_open(out / "scores.safetensors", "np") as file:
        for name, expected in scores.items():
            same(f"safetensors {name}", file.get_tensor(name), expected.astype(np.float32))

    rows = list(csv.DictReader((out / "mask.csv").open(newline="")))
    same("csv head_mask", [float(row["head_mask"]) for row in rows], keep.ravel())
    same("csv kv_head_mask", [float(r["kv_head_mask"]) for r in rows], np.repeat(mask, heads // kv_heads, 1).ravel())
    rows = list(csv.DictReader((out / "scores.csv").open(newline="")))
    same("csv retrieval", [float(row["retrieval"]) for row in rows], scores["retrieval"].ravel())
    same("csv gate", [float(row["gate"]) for row in rows], np.repeat(scores["gate"], heads // kv_heads, 1).ravel())

    prune = {int(layer): chosen for layer, chosen in json.loads((out / "prune.json").read_text()).items()}
    assert sorted((l, h) for l, chosen in prune.items() for h in chosen) == sorted(map(tuple, ablated.tolist()))
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=4 * heads, vocab_size=11, n_positions=8))
    gpt2.prune_heads(prune)
    left = [block.attn.num_heads for block in gpt2.transformer.h]
    same("hf-prune heads left by prune_heads", left, keep.sum(1))

    # The pruned folder in transformers equals the whole model with the heads' outputs zeroed before o_proj.
    def load(folder):
        model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
        assert type(model).__name__ == "LlamaForCausalLM"
        return model.eval()

    whole, pruned = load(out / "whole"), load(out / "pruned")
    size = whole.config.head_dim
    for layer, block in enumerate(whole.model.layers):
        gone = [h for l, h in ablated.tolist() if l == layer]

        def zero(_, arguments, gone=gone):
            z = arguments[0].clone()
            for head in gone:
                z[..., head * size : (head + 1) * size] = 0
            return (z,)

        block.self_attn.o_proj.register_forward_pre_hook(zero)
    tokens = torch.tensor([[1, 5, 2, 7, 3, 3, 9, 0]])
    with torch.no_grad():
        same("pruned-checkpoint logits against zeroed heads", pruned(tokens).logits, ablated_logits := whole(tokens).logits, 1e-6)
        for block in whole.model.layers:
            block.self_attn.o_proj._forward_pre_hooks.clear()
        effect = float((whole(tokens).logits - ablated_logits).abs().max())
    assert effect > 1e-2, "ablating must change something"
    verdict["largest change of a logit by the ablation"] = effect
    with safe_open(out / "whole" / "model.safetensors", "np") as file:
        assert set(file.keys()) == set(inputs["weights"])
        worst = max(np.abs(file.get_tensor(name).ravel() - data).max() for name, data in inputs["weights"].items())
    same("pruned-checkpoint weights when nothing is pruned", worst, 0)
    generation = json.loads((out / "pruned" / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2}

    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "inputs.json")
    sha256 = {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    report = {"command": "python exports.py check", "accepted": verdict, "sha256": sha256}
    (HERE / "exports.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"{len(verdict)} checks, {len(files)} files accepted")


if __name__ == "__main__":
    if sys.argv[1:] == ["fixtures"]:
        write_fixtures()
    elif len(sys.argv) == 3 and sys.argv[1] == "check":
        check(pathlib.Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
