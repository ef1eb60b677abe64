"""What AutoTokenizer of transformers 5 makes of the files around tokenizer.json, and of folders without one.

Writes test/oracles/tokenizer_settings.json: for each case the model_type, the small files' contents (tokenizer.json, vocab.json and
merges.txt are made of test/fixtures/tokenizers/gpt2.json, with changes) and the ids, special ids and size.
Needs: transformers.

    python test/oracles/tokenizer_settings.py
"""

import json
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

HERE = Path(__file__).parent
BASE = json.loads((HERE.parent / "fixtures" / "tokenizers" / "gpt2.json").read_text())["tokenizer"]
VOCAB, MERGES = BASE["model"]["vocab"], BASE["model"]["merges"]
TEXTS = [
    "the capital of France", "", " leading", "a<|turn|>b <|end|> c", "<|endoftext|>x<|endoftext|> y", "it's 12345  \n\n x", "é日本😀", "<|fim|><extra>",
    "one two<|pad|>", "e\u0301 A\u030a", "\ta", "don't WE'LL",
]


def token(content, **settings):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True, **settings}


def template(*parts):
    item = lambda part: {"Sequence": {"id": "A", "type_id": 0}} if part == "A" else {"SpecialToken": {"id": part, "type_id": 0}}
    special = {part: {"id": part, "ids": [VOCAB[part]], "tokens": [part]} for part in parts if part != "A"}
    return {"type": "TemplateProcessing", "single": [item(part) for part in parts], "pair": [item("A"), {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}


END = "<|endoftext|>"
roberta = {"type": "RobertaProcessing", "sep": ["th", VOCAB["th"]], "cls": [END, VOCAB[END]], "trim_offsets": True, "add_prefix_space": False}
bert = {"type": "BertProcessing", "sep": ["th", VOCAB["th"]], "cls": [END, VOCAB[END]]}
byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
CASES = [
    ("llama", "json", {"tokenizer_config.json": {**FAST, "bos_token": END, "eos_token": END}}, {}),
    ("llama", "json", {}, {}),
    ("gpt2", "json", {}, {}),
    ("gpt2", "json", {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}}, {}),
    ("gpt_neox", "json", {"tokenizer_config.json": {"tokenizer_class": "GPTNeoXTokenizerFast", "add_prefix_space": True}}, {"normalizer": {"type": "NFC"}}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "add_prefix_space": True}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "eos_token": "<|end|>", "added_tokens_decoder": {"500": token("<|turn|>"), "499": token("<|end|>", lstrip=True), "0": token(END)}}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "added_tokens_decoder": {"420": token("<|turn|>", special=False, normalized=True)}}, "special_tokens_map.json": {"eos_token": END}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "additional_special_tokens": ["<|turn|>", "<|end|>"]}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "extra_special_tokens": ["<extra>"], "additional_special_tokens": ["<|turn|>"]}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "extra_special_tokens": {"image_token": "<extra>"}, "fim_token": "<|fim|>"}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "bos_token": None, "pad_token": "<|pad|>"}, "special_tokens_map.json": {"bos_token": END, "eos_token": token("th")}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "eos_token": "an"}, "special_tokens_map.json": {"eos_token": "th"}}, {}),
    ("llama", "json", {"tokenizer_config.json": FAST, "added_tokens.json": {"<|turn|>": 430, "<|end|>": 431}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "bos_token": END, "add_bos_token": True, "add_eos_token": True, "eos_token": "th"}}, {}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "bos_token": END, "add_bos_token": False}}, {"post_processor": template(END, "A")}),
    ("llama", "json", {"tokenizer_config.json": FAST}, {"post_processor": template(END, "A")}),
    ("llama", "json", {"tokenizer_config.json": {**FAST, "eos_token": "th"}}, {"post_processor": template("A", "th")}),
    ("llama", "json", {"tokenizer_config.json": FAST}, {"post_processor": template(END, "th", "A", "th", END)}),
    ("llama", "json", {"tokenizer_config.json": FAST}, {"post_processor": roberta}),
    ("llama", "json", {"tokenizer_config.json": FAST}, {"post_processor": bert}),
    ("llama", "json", {"tokenizer_config.json": FAST}, {"post_processor": {"type": "Sequence", "processors": [byte_level, template(END, "A", "th")]}}),
    ("opt", "vocab", {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "bos_token": END, "eos_token": END, "add_bos_token": True}}, {}),
    ("opt", "vocab", {"special_tokens_map.json": {"bos_token": "th", "eos_token": "th"}}, {}),
    ("gpt2", "vocab", {}, {}),
    ("gpt2", "vocab", {"tokenizer_config.json": {"add_prefix_space": True, "add_eos_token": True}}, {}),
    ("gpt_neox", "vocab", {"tokenizer_config.json": {"tokenizer_class": "GPTNeoXTokenizer", "pad_token": END}}, {}),
    ("qwen2", "vocab", {"tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"0": token(END), "430": token("<|turn|>")}}}, {}),
]


def run(model_type, kind, files, changes):
    with tempfile.TemporaryDirectory() as folder:
        write = lambda name, value: Path(folder, name).write_text(value if isinstance(value, str) else json.dumps(value))
        write("config.json", {"model_type": model_type})
        if kind == "json":
            write("tokenizer.json", {**BASE, **changes})
        else:
            write("vocab.json", VOCAB)
            write("merges.txt", "#version: 0.2\n" + "".join(" ".join(merge) + "\n" for merge in MERGES))
        for name, value in files.items():
            write(name, value)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        rows = [[tokenizer(text)["input_ids"], tokenizer(text, add_special_tokens=False)["input_ids"]] for text in TEXTS]
        return {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "size": len(tokenizer), "class": type(tokenizer).__name__, "rows": rows}


cases = [
    {"modelType": model_type, "kind": kind, "files": files, "changes": changes, **run(model_type, kind, files, changes)}
    for model_type, kind, files, changes in CASES
]
text = json.dumps({"texts": TEXTS, "cases": cases}).replace('{"modelType"', '\n{"modelType"')
(HERE / "tokenizer_settings.json").write_text(text + "\n")
print(len(cases), "cases", len(text), "bytes")
