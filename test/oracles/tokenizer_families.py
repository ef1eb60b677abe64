"""Small tokenizers, each in the pipeline of a family, and the ids that Python's libraries give for awkward texts.

Writes test/fixtures/tokenizers/NAME.json: tokenizer.json and its config, what a GGUF file of it would hold, and rows of
text, ids and decoded text by tokenizers (`rows`) and, for SentencePiece models, by sentencepiece (`spm`).
Needs: tokenizers, transformers, sentencepiece, protobuf.

    python test/oracles/tokenizer_families.py
"""

import io
import json
import re
import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GemmaTokenizerFast, LlamaTokenizerFast

HERE = Path(__file__).parent
OUT = HERE.parent / "fixtures" / "tokenizers"
CORPUS = json.loads((HERE / "tokenizer.json").read_text())
TEXTS = [row["text"] for row in CORPUS["tiny"]["rows"] if "<|" not in row["text"]] + [
    " leading and trailing ",
    "\n\n  indented\n\tcode\r\n",
    "e\u0301\u0327 A\u030a \u1100\u1161\u11a8 ｶﾞ ﬃ ①",
    "\u0085\ufeff\u2028\u180e\u200d \u00a0\u00a0x",
    "DON'T we'LL I'Ve 'S 123456 7.89e-10",
    "日本語テキスト with English, и русский 😀😀",
    "🧑🏿‍🚀🏴󠁧󠁢󠁳󠁣󠁴󠁿 ☃\ufe0f",
    "price: $1,234.56 (≈ €1.100) — “quotes” …",
    "▁underline ▁▁ <0x41> <unk>",
    "ÀÉ İı ßẞ ǅ ΣΑΣ",
]
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def rows(tokenizer, texts, specials=()):
    result = []
    for text in [*texts, *specials]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        row = {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
        result.append({**row, "withoutSpecial": tokenizer.decode(ids)})
    return result


def save(name, **content):
    OUT.mkdir(exist_ok=True)
    text = json.dumps(content, ensure_ascii=True)
    (OUT / f"{name}.json").write_text(re.sub(r"\{\"text\"", '\n{"text"', text) + "\n")


def byte_level(name, pre, cut, specials, bos=None, normalizer=None, ignore_merges=False, added=()):
    """Byte-level BPE whose texts are cut by `cut`; `pre` is its name in GGUF."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=430, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    if ignore_merges:  # a word that merges alone don't reach
        description = json.loads(tokenizer.to_str())
        description["model"]["vocab"]["Ġtokyo"] = len(description["model"]["vocab"])
        description["model"]["ignore_merges"] = True
        tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in added])
    if bos:
        template = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        tokenizer.post_processor = template
    texts = TEXTS + [" tokyo tokyo"]
    special = ["".join([specials[0], "Hi", specials[-1], "\n", specials[0]]), f"x {specials[0]} y"]
    description = json.loads(tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    gguf = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [token for token, _ in vocabulary],
        "tokenizer.ggml.token_type": [3 if token in specials else 4 if token in added else 1 for token, _ in vocabulary],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in description["model"]["merges"]],
        **({"tokenizer.ggml.bos_token_id": tokenizer.token_to_id(bos)} if bos else {}),
    }
    config = {"bos_token": bos} if bos else {}
    save(name, tokenizer=description, config=config, gguf=gguf, bos=bool(bos), rows=rows(tokenizer, texts, special))


def split(regex):
    cut = pre_tokenizers.Split(Regex(regex), behavior="isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentence_piece(name, fast, prefix, kind="bpe", symbols=(), **ids):
    """A SentencePiece model, and the tokenizer.json that transformers makes of it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS if text.strip() and max(text) < "\u0500"] * 3),
        model_writer=model, model_type=kind, vocab_size=620, byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=prefix,
        remove_extra_whitespaces=False, character_coverage=0.98, user_defined_symbols=list(symbols),
        allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2, hard_vocab_limit=False, **ids,
    )
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.model"
        path.write_bytes(model.getvalue())
        tokenizer = fast(str(path))
    size = range(spm.vocab_size())
    types = [2 if spm.is_unknown(i) else 3 if spm.is_control(i) else 6 if spm.is_byte(i) else 1 for i in size]
    tokens = [spm.id_to_piece(i) for i in size]
    types = [4 if token in symbols else kind for token, kind in zip(tokens, types)]
    # As llama.cpp's converter does: what a user defined is matched in the text as it is written.
    tokens = [token.replace("▁", " ") if kind == 4 else token for token, kind in zip(tokens, types)]
    gguf = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [spm.get_score(i) for i in size],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": spm.bos_id(),
        "tokenizer.ggml.eos_token_id": spm.eos_id(),
        "tokenizer.ggml.unknown_token_id": spm.unk_id(),
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    texts = [text for text in TEXTS if "<unk>" not in text]
    special = ["<s>Hi</s>\n<s> x", "a<s> b </s>c"]
    by_spm = [{"text": text, "ids": spm.encode(text), "decoded": spm.decode(spm.encode(text))} for text in texts]
    more = {"gguf": gguf, "spm": by_spm} if kind == "bpe" else {}
    description = json.loads(tokenizer.to_str())
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    save(name, tokenizer=description, config=config, bos=kind == "bpe", rows=rows(tokenizer, texts, special), **more)


def llama(legacy):
    def make(path):
        return LlamaTokenizerFast(vocab_file=path, legacy=legacy, add_prefix_space=True).backend_tokenizer
    return make


def gemma(path):
    options = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return GemmaTokenizerFast(vocab_file=path, **options).backend_tokenizer


def unigram(path):
    """A Unigram model in the pipeline of T5's kin, without a table of normalisations."""
    spm = sentencepiece.SentencePieceProcessor(model_file=path)
    vocabulary = [(spm.id_to_piece(i), spm.get_score(i)) for i in range(spm.vocab_size())]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=spm.unk_id(), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>"])
    return tokenizer


def main():
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    byte_level("gpt2", "gpt-2", plain, ["<|endoftext|>"])
    spaces = ["  ", "    ", "        "]
    byte_level("gpt-neox", "olmo", plain, ["<|endoftext|>", "<|padding|>"], normalizer=normalizers.NFC(), added=spaces)
    llama3 = split(WORDS + r"|\p{N}{1,3}" + REST)
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    byte_level("llama3", "llama-bpe", llama3, specials, bos="<|begin_of_text|>", ignore_merges=True)
    qwen2 = split(WORDS + r"|\p{N}" + REST)
    byte_level("qwen2", "qwen2", qwen2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC())
    byte_level("tekken", "tekken", split(TEKKEN), ["<unk>", "<s>", "</s>"], bos="<s>", ignore_merges=True)
    sentence_piece("llama2", llama(True), True)
    sentence_piece("mistral", llama(False), True)
    order = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
    sentence_piece("gemma", gemma, False, symbols=["▁▁", "▁▁▁▁", "\n\n", "<table>"], **order)
    sentence_piece("unigram", unigram, True, kind="unigram")


main()
