"""Tiny random checkpoints with what transformers computes of them in float32, for what the twelve given ones don't cover.

Each folder of test/fixtures/families-extra is a checkpoint as `save_pretrained` writes it, with an oracle.json of the same
form as the twelve's: seeded ids, logits at some positions, attention of layer 1, the residual stream after layer 0, a greedy
continuation. Nothing of headscope is used.

    python3 -m venv .venv && .venv/bin/pip install torch==2.9.1 transformers==4.57.6
    .venv/bin/python test/oracles/families.py --out test/fixtures/families-extra [name ...]

--again FOLDER writes the oracle of a checkpoint that is there, for the ids that its oracle.json has.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY, LENGTH, PROMPT, NEW = 61, 24, 8, 12
POSITIONS = [0, 6, 12, 18, 23]
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def yarn(**more):
    return {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, **more}


# By name: class, config, the type that weights are stored in, and the largest file.
CASES = {
    "llama-yarn": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_scaling=yarn()), torch.float32, None),
    "llama-yarn-mscale": (
        LlamaForCausalLM,
        LlamaConfig(**SIZES, rope_scaling=yarn(mscale=0.7, mscale_all_dim=0.3, beta_fast=8.0, truncate=False)),
        torch.float32,
        None,
    ),
    "llama-linear-biased": (
        LlamaForCausalLM,
        LlamaConfig(
            **SIZES, rope_scaling={"rope_type": "linear", "factor": 2.0}, attention_bias=True, tie_word_embeddings=True
        ),
        torch.float32,
        None,
    ),
    "mistral-sharded-bf16": (
        MistralForCausalLM,
        MistralConfig(**{**SIZES, "num_hidden_layers": 3}, sliding_window=None),
        torch.bfloat16,
        "16KB",
    ),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            **{**SIZES, "num_hidden_layers": 3},
            head_dim=16,
            query_pre_attn_scalar=24,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_theta=1e6,
            rope_local_base_freq=10000.0,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
        torch.float32,
        None,
    ),
    "gpt_neox-serial": (
        GPTNeoXForCausalLM,
        GPTNeoXConfig(
            **{key: value for key, value in SIZES.items() if key != "num_key_value_heads"},
            rotary_pct=0.5,
            use_parallel_residual=False,
            hidden_act="gelu_new",
            tie_word_embeddings=True,
        ),
        torch.float32,
        None,
    ),
    "phi3-partial": (
        Phi3ForCausalLM,
        Phi3Config(**SIZES, partial_rotary_factor=0.5, sliding_window=6),
        torch.float32,
        None,
    ),
    "qwen3-window": (
        Qwen3ForCausalLM,
        Qwen3Config(**SIZES, head_dim=16, use_sliding_window=True, sliding_window=6, max_window_layers=1),
        torch.float32,
        None,
    ),
}


def draw(model, generator):
    """Weights large enough that attention is far from even and every norm and bias shows."""
    zero_centred = "Gemma" in type(model).__name__
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            middle = 0.0 if zero_centred or name.endswith("bias") else 1.0
            weight.data = middle + 0.2 * noise
        elif weight.dim() == 1:
            weight.data = 0.2 * noise
        else:
            weight.data = noise * (0.5 if "embed" in name or "lm_head" in name else 1.5 / weight.shape[1] ** 0.5)


def rounded(tensor, digits=5):
    return json.loads(json.dumps(tensor.tolist()), parse_float=lambda text: round(float(text), digits))


@torch.no_grad()
def write_oracle(folder, ids, positions):
    """Writes FOLDER/oracle.json from the files in it. The greedy continuation runs over stop tokens, without a cache.

    The checkpoint is read again in float32: casting a model to its stored type and back would round the rotary
    frequencies too, which no one who opens the files sees."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    out = model(ids, output_attentions=True, output_hidden_states=True)
    greedy = ids[:1, :PROMPT]
    for _ in range(NEW):
        greedy = torch.cat([greedy, model(greedy).logits[:, -1:].argmax(-1)], 1)
    found = {
        "ids": ids.tolist(),
        "logit_positions": positions,
        "logits": rounded(out.logits[:, positions]),
        "attention_l1": rounded(out.attentions[1][:1]),
        "hidden_after_l0": rounded(out.hidden_states[1][0, -1]),
        "greedy": greedy[0].tolist(),
    }
    (folder / "oracle.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/families-extra"))
    parser.add_argument("--again", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.again:
        given = json.loads((options.again / "oracle.json").read_text())
        return write_oracle(options.again, torch.tensor(given["ids"]), given["logit_positions"])
    for name in options.names or CASES:
        kind, config, dtype, largest = CASES[name]
        generator = torch.Generator().manual_seed(12)
        model = kind(config)
        draw(model, generator)
        folder = options.out / name
        model.to(dtype).save_pretrained(folder, **({"max_shard_size": largest} if largest else {}))
        (folder / "generation_config.json").unlink(missing_ok=True)
        ids = torch.randint(3, VOCABULARY, (2, LENGTH), generator=generator)  # without the special tokens
        write_oracle(folder, ids, POSITIONS)
        print(name, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


main()
