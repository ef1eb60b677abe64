"""A tiny llama checkpoint with a tokenizer, in both formats, and the token ids that transformers gives for awkward texts.

Writes under test/fixtures/formats: llama-tiny.gguf and llama-tiny/ (model.safetensors, config.json, tokenizer.json,
tokenizer_config.json), the same model twice; and test/oracles/tokenizer.json with ids and decoded texts by
transformers. With the SmolLM2 file its ids are recorded too. Needs: numpy, torch, transformers, gguf, safetensors.

    python test/oracles/tokenizer.py [SmolLM2-135M-Instruct.Q4_1.gguf]
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures" / "formats"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MESSAGES = [{"role": "user", "content": "Where is Paris?"}, {"role": "assistant", "content": " In France. \n"}]
TEXTS = [
    "The capital of France is",
    "",
    " ",
    "  two  spaces   three    four ",
    "tab\tnewline\n\n\ncarriage\r\n mixed \t \n end\n",
    "no-break\u00a0space, em\u2003space, ideographic\u3000space, zero\u200bwidth, line\u2028separator, next\u0085line",
    "\ufeffbyte order mark",
    "0 1 22 333 4444 3.14159 1,000,000 2026-11-24 ½ ² Ⅷ ٣٤٥ १२३",
    "I'm you're he'll we've they'd it's DON'T I'M x'y ''s",
    "def f(x: int) -> list[int]:\n    return [i ** 2 for i in range(x)]  # squares\n",
    "<a href=\"https://example.org/?q=1&b=%20\">link</a> {{ }} \\n \\u0041 $x^2$ ~!@#$%^&*()_+`-=[]\\;',./",
    "Grüße aus Köln, naïve café, Ångström, Łódź, İstanbul, ﬁ ligature",
    "e\u0301 decomposed é composed",
    "Привет, мир! Ελληνικά, українська",
    "你好,世界。今日は良い天気ですね。안녕하세요 세계",
    "مرحبا بالعالم שלום עולם",
    "नमस्ते दुनिया สวัสดีชาวโลก தமிழ்",
    "😀 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 ☕️ a😀b",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠜎",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa hahahahahaha ........ -------- \"\"\"\"",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>",
    "almost <|im_start| > and < |im_end|> <|im_end|><|im_end|> x",
    "\x00\x01\x7f control",
    "CamelCaseWordsAndsnake_case_words SCREAMING_CASE kebab-case",
]
D_MODEL, HEADS, KV_HEADS, D_HEAD, D_MLP, LAYERS = 32, 4, 2, 8, 32, 2


def smollm(vocab, merges, specials):
    """SmolLM's tokenizer.json: digits apart, then GPT-2's byte-level cut."""
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges) if vocab else models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    if vocab:
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer


def train():
    tokenizer = smollm(None, None, SPECIAL)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text for text in TEXTS if "<|" not in text] * 2, trainer)
    return tokenizer


def record(tokenizer):
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
    rows = []
    for text in TEXTS:
        ids = fast.encode(text, add_special_tokens=False)
        rows.append({
            "text": text,
            "ids": ids,
            "decoded": fast.decode(ids, clean_up_tokenization_spaces=False),
            "withoutSpecial": fast.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        })
    return rows


def interleave(rows, heads):
    """As llama.cpp's converter permutes query and key rows."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_model(tokenizer):
    rng = np.random.default_rng(12)
    weights, writer = {}, GGUFWriter(FIXTURES / "llama-tiny.gguf", "llama")
    vocab = tokenizer.get_vocab_size()

    def add(name, gguf_name, shape, kind, heads=None):
        values = (rng.standard_normal(shape) * 0.2).astype(np.float32)
        if kind == Type.F32:
            writer.add_tensor(gguf_name, values if len(shape) > 1 else values + 1)
            weights[name] = values if len(shape) > 1 else values + 1
            return
        blocks = quantize(values, kind)
        weights[name] = dequantize(blocks, kind)
        writer.add_tensor(gguf_name, interleave(blocks, heads) if heads else blocks, raw_dtype=kind)

    add("model.embed_tokens.weight", "token_embd.weight", (vocab, D_MODEL), Type.Q8_0)
    for layer in range(LAYERS):
        hf, gg = f"model.layers.{layer}", f"blk.{layer}"
        add(f"{hf}.input_layernorm.weight", f"{gg}.attn_norm.weight", (D_MODEL,), Type.F32)
        add(f"{hf}.self_attn.q_proj.weight", f"{gg}.attn_q.weight", (HEADS * D_HEAD, D_MODEL), Type.Q4_1, HEADS)
        add(f"{hf}.self_attn.k_proj.weight", f"{gg}.attn_k.weight", (KV_HEADS * D_HEAD, D_MODEL), Type.Q5_0, KV_HEADS)
        add(f"{hf}.self_attn.v_proj.weight", f"{gg}.attn_v.weight", (KV_HEADS * D_HEAD, D_MODEL), Type.Q8_0)
        add(f"{hf}.self_attn.o_proj.weight", f"{gg}.attn_output.weight", (D_MODEL, HEADS * D_HEAD), Type.Q4_0)
        add(f"{hf}.post_attention_layernorm.weight", f"{gg}.ffn_norm.weight", (D_MODEL,), Type.F32)
        add(f"{hf}.mlp.gate_proj.weight", f"{gg}.ffn_gate.weight", (D_MLP, D_MODEL), Type.Q4_1)
        add(f"{hf}.mlp.up_proj.weight", f"{gg}.ffn_up.weight", (D_MLP, D_MODEL), Type.Q4_1)
        add(f"{hf}.mlp.down_proj.weight", f"{gg}.ffn_down.weight", (D_MODEL, D_MLP), Type.F16 if layer else Type.Q5_1)
    add("model.norm.weight", "output_norm.weight", (D_MODEL,), Type.F32)

    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(D_MODEL)
    writer.add_feed_forward_length(D_MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(5000.0)
    writer.add_rope_dimension_count(D_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    folder = FIXTURES / "llama-tiny"
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": D_MODEL,
        "intermediate_size": D_MLP, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS, "head_dim": D_HEAD, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0, "rope_scaling": None, "tie_word_embeddings": True, "vocab_size": vocab,
        "attention_bias": False, "mlp_bias": False,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    settings = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "add_bos_token": False, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def chat(fast):
    return [fast.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=prompt) for prompt in (False, True)]


def smollm2(path):
    fields = {name: field for name, field in GGUFReader(path).fields.items()}
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    specials = [token for token, kind in zip(tokens, types) if kind == 3]
    tokenizer = smollm({token: i for i, token in enumerate(tokens)}, merges, specials)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=specials[1], eos_token=specials[2])
    fast.chat_template = fields["tokenizer.chat_template"].contents()
    return {"rows": record(tokenizer), "chat": chat(fast)}


def main():
    tokenizer = train()
    write_model(tokenizer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2])
    fast.chat_template = TEMPLATE
    out = HERE / "tokenizer.json"
    before = json.loads(out.read_text()) if out.exists() else {}
    result = {"messages": MESSAGES, "tiny": {"rows": record(tokenizer), "chat": chat(fast)}}
    result["smollm2"] = smollm2(sys.argv[1]) if len(sys.argv) > 1 else before.get("smollm2")
    text = json.dumps(result, ensure_ascii=True)
    out.write_text(text.replace('{"text"', '\n{"text"') + "\n")


main()
