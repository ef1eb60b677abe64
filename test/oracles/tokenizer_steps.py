"""Every step of tokenizer.json that is followed, with its settings, on hostile texts: what Rust's tokenizers make of them.

Writes test/fixtures/tokenizers/steps.json.gz: the texts, the models, and for each case its steps with digests of the ids (one a
hundred texts) and of the decoded texts. The model "spelling" shows every character of a piece and where the piece begins: each
character but the first stands behind a prefix, and all become bytes.
Needs: tokenizers.

    python test/oracles/tokenizer_steps.py
"""

import base64
import gzip
import hashlib
import json
import random
import struct
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

OUT = Path(__file__).parent.parent / "fixtures" / "tokenizers" / "steps.json.gz"
TEXTS = 2400
CHUNK = 100
SPECIALS = ["<s>", "</s>", "<mask>", "<|im_start|>", "[CLS]", "word", "<unk>"]

# First and last code points of what scripts, symbols and newer characters are drawn from.
BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7FD), (0x800, 0x8FF),
    (0x900, 0x97F), (0x980, 0x9FE), (0xA00, 0xAFF), (0xB00, 0xBFF), (0xC00, 0xCFF), (0xD00, 0xDFF), (0xE00, 0xEFF),
    (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x167F), (0x1680, 0x17FF),
    (0x1800, 0x18AF), (0x1900, 0x1AFF), (0x1AB0, 0x1AFF), (0x1B00, 0x1CFF), (0x1DC0, 0x1DFF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x20FF), (0x2100, 0x218F), (0x2190, 0x23FF), (0x2460, 0x25FF), (0x2600, 0x27BF),
    (0x2C00, 0x2DFF), (0x2E00, 0x2E7F), (0x3000, 0x30FF), (0x3130, 0x33FF), (0x3400, 0x3FFF), (0x4E00, 0x9FFF),
    (0xA000, 0xA6FF), (0xA700, 0xA7FF), (0xA800, 0xABFF), (0xAC00, 0xD7AF), (0xE000, 0xE0FF), (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFFD), (0x10000, 0x1013F), (0x10280, 0x103FF), (0x10400, 0x105FF),
    (0x10780, 0x107BF), (0x10900, 0x10FFF), (0x11000, 0x117FF), (0x11800, 0x11FFF), (0x12000, 0x124FF),
    (0x13000, 0x1345F), (0x16800, 0x16FFF), (0x1B000, 0x1B2FF), (0x1BC00, 0x1BCAF), (0x1CC00, 0x1CFFF),
    (0x1D000, 0x1D7FF), (0x1E000, 0x1E9FF), (0x1EE00, 0x1EEFF), (0x1F000, 0x1FAFF), (0x1FB00, 0x1FBFF),
    (0x20000, 0x2A6FF), (0x2B700, 0x2BFFF), (0x2F800, 0x2FA1F), (0x31350, 0x33479), (0xE0000, 0xE01EF),
]
SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u200a\u200b\u200c\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
MARKS = "\u0300\u0301\u0308\u0316\u0323\u0327\u0334\u0345\u05b0\u064b\u093c\u09be\u0e38\u0f71\u1ab0\u1ac8\u1dce\u20d2\u302a\u3099\ua66f\U0001d165\U0001e08f\u0898\U00010f46"
WORDS = (
    "the quick brown fox jumps over lazy dog don't it's WE'LL naïve café Straße İstanbul ΣΊΣΥΦΟΣ ﬁne ﬃ Å ① ½ Ⅷ x² ǅ ß ẞ ſ K "
    "résumé co-operate e.g. 3.14 1,000 100% a_b foo(bar); <tag> http://x.y/z?q=1 你好 世界 日本語 カタカナ ひらがな ｶﾞ 한국어 조합 "
    "Привет ёлка שלום مرحبا हिन्दी ไทย ▁low ▁▁ ##ing </w> <0x0A> Ġx 'S 'ſ '’s can’t 😀 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇩🇪 ☃️ ʕ•ᴥ•ʔ ١٢٣ ०१२ 𝟘𝟙 𝒜 𐍈 𖡄"
).split(" ")


def text(r):
    parts = []
    for _ in range(r.choice([1, 2, 3, 5, 8])):
        kind = r.random()
        if kind < 0.35:
            parts.append(r.choice(WORDS))
        elif kind < 0.5:
            parts.append("".join(r.choice(SPACES) for _ in range(r.choice([1, 1, 2, 5]))))
        elif kind < 0.6:
            parts.append(r.choice(SPECIALS))
        elif kind < 0.68:
            parts.append("a" + "".join(r.choice(MARKS) for _ in range(r.randint(1, 4))))
        elif kind < 0.72:
            parts.append(r.choice([" ", "  ", "\n", "\r\n", "\t", "aaa", "1", "--", "▁"]) * r.randint(1, 12))
        else:
            first, last = r.choice(BLOCKS)
            parts.append("".join(chr(r.randint(first, last)) for _ in range(r.randint(1, 4))))
        parts.append(r.choice(["", "", " ", " ", "  ", "."]))
    return "".join(parts)


def corpus():
    r = random.Random(7)
    fixed = ["", " ", "\n", "\r\n", "\x00", "\ufeff", "\x85", "a\n", "\na\n\nb", "a\r\nb\r\n", " " * 200, "ab" * 200, "\ufffd", "𐍈" * 30]
    every = [chr(point) for first, last in BLOCKS[:60] for point in (first, last)]
    texts = fixed + ["".join(every[i : i + 6]) for i in range(0, len(every), 6)]
    while len(texts) < TEXTS:
        texts.append(text(r))
    return [t for t in texts if not any(0xD800 <= ord(c) < 0xE000 for c in t)]


CORPUS = corpus()
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def bpe(vocab, merges=(), **settings):
    plain = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    more = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **plain, **more, **settings, "vocab": vocab, "merges": list(merges)}


def trained(trainer, model, pre, normalizer=None):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CORPUS[100:1200], trainer)
    return json.loads(tokenizer.to_str())["model"]


def with_ids(model, **changes):
    return {**model, **changes}


SPELLING = bpe({token: i for i, token in enumerate(BYTES)}, byte_fallback=True, continuing_subword_prefix="#")
WORD_BPE = trained(
    trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>"], limit_alphabet=220, show_progress=False),
    models.BPE(unk_token="<unk>"),
    pre_tokenizers.Whitespace(),
)
PREFIXED = trained(
    trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>"], limit_alphabet=150, continuing_subword_prefix="##", show_progress=False),
    models.BPE(unk_token="<unk>", continuing_subword_prefix="##"),
    pre_tokenizers.Whitespace(),
)
SUFFIXED = trained(
    trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>"], limit_alphabet=150, end_of_word_suffix="</w>", show_progress=False),
    models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"),
    pre_tokenizers.Whitespace(),
)
SOME_BYTES = {**WORD_BPE["vocab"], **{token: len(WORD_BPE["vocab"]) + i for i, token in enumerate(BYTES[:0xC8] + BYTES[0xE0:0xE4])}}
PIECES = ["▁", "▁▁", "▁▁▁▁", *("▁" + token for token in list(WORD_BPE["vocab"])[1:300]), *list(WORD_BPE["vocab"])[1:]]
SCORES = [-9.0, -3.25, -7.5, -7.5, -11.0625]
UNIGRAM = {
    "type": "Unigram",
    "unk_id": 0,
    "byte_fallback": False,
    "vocab": [["<unk>", 0.0]] + [[token, SCORES[i % 5] - len(token) / 3] for i, token in enumerate(dict.fromkeys(PIECES))],
}
UNIGRAM_BYTES = {**UNIGRAM, "byte_fallback": True, "vocab": UNIGRAM["vocab"] + [[token, -20.0] for token in BYTES]}
WORD_PIECE = trained(
    trainers.WordPieceTrainer(vocab_size=700, special_tokens=["[UNK]"], limit_alphabet=200, show_progress=False),
    models.WordPiece(unk_token="[UNK]"),
    pre_tokenizers.BertPreTokenizer(),
)
WORD_LEVEL = trained(
    trainers.WordLevelTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False),
    models.WordLevel(unk_token="[UNK]"),
    pre_tokenizers.WhitespaceSplit(),
)
HOLES = {**WORD_LEVEL, "vocab": {token: 7 * i + 3 for token, i in WORD_LEVEL["vocab"].items()}}
WHOLE = {**WORD_BPE, "ignore_merges": True, "vocab": {**WORD_BPE["vocab"], "jumpsover": 900, "日本語テ": 901, "Привет": 902}}
MIXED = ["▁", "▁a", "a", "##b", "##", "b</w>", "</w>", "Ġx", "Ã", "©", "ĠâĢ", " .", "n't", " do not", "'s", "é", "日", " ", "  x", "."]
MODELS = {
    "spelling": SPELLING,
    "bpe": WORD_BPE,
    "bpe-fused": with_ids(WORD_BPE, fuse_unk=True),
    "bpe-silent": with_ids(WORD_BPE, unk_token=None),
    "bpe-prefix": PREFIXED,
    "bpe-suffix": SUFFIXED,
    "bpe-bytes": with_ids(WORD_BPE, vocab=SOME_BYTES, byte_fallback=True),
    "bpe-bytes-fused": with_ids(WORD_BPE, vocab=SOME_BYTES, byte_fallback=True, fuse_unk=True),
    "bpe-whole": WHOLE,
    "unigram": UNIGRAM,
    "unigram-bytes": UNIGRAM_BYTES,
    "wordpiece": WORD_PIECE,
    "wordpiece-short": with_ids(WORD_PIECE, max_input_chars_per_word=5),
    "wordlevel": WORD_LEVEL,
    "wordlevel-holes": HOLES,
    "mixed": {"type": "WordLevel", "unk_token": "a", "vocab": {token: i for i, token in enumerate(MIXED + BYTES)}},
}


def darts(entries):
    """A table of normalisations as sentencepiece has it: a double array over the keys, and the replacements."""
    keys = sorted((key.encode(), value) for key, value in entries.items())
    texts, units = b"", [0] * 65536
    used, values = {0}, {}
    for key, value in keys:
        values[key] = len(texts)
        texts += value.encode() + b"\0"
    next_base = [1]

    def build(prefix, node, label):
        children = sorted({key[len(prefix)] for key, _ in keys if key.startswith(prefix) and len(key) > len(prefix)})
        leaf = prefix in values
        labels = ([0] if leaf else []) + children
        base = next_base[0]
        while any((base ^ c) in used or base ^ c == 0 for c in labels) or (base ^ node) >= 1 << 21 or base in used:
            base += 1
        for c in labels:
            used.add(base ^ c)
        units[node] |= (base ^ node) << 10 | (0x100 if leaf else 0) | label
        if leaf:
            units[base] = values[prefix] | 0x80000000
        for c in children:
            build(prefix + bytes([c]), base ^ c, c)

    build(b"", 0, 0)
    size = (max(used) | 255) + 1
    blob = b"".join(struct.pack("<I", unit) for unit in units[:size])
    return base64.b64encode(struct.pack("<I", len(blob)) + blob + texts).decode()


CHARSMAP = darts({"ﬁ": "fi", "①": "1", "½": "1⁄2", "\u3000": " ", "\x85": "", "a\u0301": "á", "é": "e", "の": "no", "Å": "Å", "ab": "X"})
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
POSSESSIVE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
REGEXES = [
    GPT2, CL100K, POSSESSIVE, O200K, r"[一-龥぀-ゟ゠-ヿ]+", r"[\p{P}\p{S}]", r"\d{1,3}(?=(?:\d{3})*\b)", r"\w+", r"\W+", r"[\w']+", r"[\W&&[^\s]]",
    r"^.", r".$", r"\b", r"\B", r"\A.|.\z", r".\Z", r"(?<=a)b|(?<!\s)\p{Lu}", r"(?>\s+)x?", r"a*", "", r"[[:alpha:]]+|[[:space:]]",
    r"\p{^L}{2}", r"\P{N}+?", r"[^\p{Ll}\p{Lo}]", r"\h+", r"\x{e9}|\u00e8|\x41", r"(?<word>the|fox) ?", r"\p{Han}|\p{Hiragana}+|\p{Cyrillic}",
    r"\p{Cn}|\p{Co}|\p{Cf}", r"[]a-c]|[a\]b-]", r"(?i)the|k", r"x{,2}a", r"{|}", r"[a-z&&[^aeiou]]+", r"\s", r"\S{3}", r"\p{M}+", r"(?:a|ab)(?:c|bcd)?",
]


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


NORMALIZERS = [
    *({"type": name} for name in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"]),
    {"type": "Prepend", "prepend": "▁"},
    *({"type": "Strip", "strip_left": left, "strip_right": right} for left, right in [(True, True), (True, False), (False, True)]),
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    {"type": "Replace", "pattern": {"String": "."}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": r"\s{2,}|\A\s"}, "content": "$1"},
    {"type": "Replace", "pattern": {"Regex": "^"}, "content": "|"},
    {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
    *(
        {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip, "lowercase": lower}
        for clean, chinese, strip, lower in [(True, True, None, True), (True, True, None, False), (False, False, True, False), (False, True, False, True)]
    ),
    {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}]},
]
PRE_TOKENIZERS = [
    *({"type": name} for name in ["Whitespace", "WhitespaceSplit", "BertPreTokenizer"]),
    *({**BYTE_LEVEL, "add_prefix_space": prefix, "use_regex": regex} for prefix in (True, False) for regex in (True, False)),
    *(metaspace(scheme, parts) for scheme in ("always", "first", "never") for parts in (True, False)),
    {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True},
    *(split({"Regex": regex}) for regex in REGEXES),
    *(split({"Regex": r"\s+"}, behavior, invert) for behavior in BEHAVIORS for invert in (False, True)),
    *(split({"String": "a"}, behavior, invert) for behavior in BEHAVIORS for invert in (False, True)),
    *(split({"String": text}) for text in [" ", "^", "]", "\\", "▁", "--"]),
    *({"type": "Punctuation", "behavior": behavior} for behavior in BEHAVIORS),
    *({"type": "Digits", "individual_digits": alone} for alone in (True, False)),
    {"type": "CharDelimiterSplit", "delimiter": "a"},
    *({"type": "FixedLength", "length": length} for length in (1, 3)),
    sequence({"type": "WhitespaceSplit"}, metaspace("always")),
    sequence(metaspace("first"), {"type": "Punctuation", "behavior": "Isolated"}),
    sequence({"type": "Digits", "individual_digits": True}, split({"Regex": GPT2}), {**BYTE_LEVEL, "use_regex": False}),
    sequence(split({"Regex": r"\p{N}{1,3}"}), split({"Regex": r"[一-龥]+"}), split({"Regex": CL100K}), {**BYTE_LEVEL, "use_regex": False}),
]
UNMARK = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
DECODERS = [
    None,
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    *({"type": "WordPiece", "prefix": "##", "cleanup": cleanup} for cleanup in (True, False)),
    *({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True} for scheme in ("always", "first", "never")),
    {"type": "BPEDecoder", "suffix": "</w>"},
    UNMARK,
    {"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "-"},
    *({"type": "Strip", "content": " ", "start": start, "stop": stop} for start, stop in [(1, 0), (0, 1), (3, 0)]),
    {"type": "Fuse"},
    {"type": "ByteFallback"},
    {"type": "Sequence", "decoders": [UNMARK, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
]


def added(content, **settings):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": 0, "content": content, **plain, **settings}


ADDED = {
    "plain": [added("<s>"), added("<unk>", special=False)],
    "strip": [added("<mask>", lstrip=True), added("</s>", rstrip=True), added("[CLS]", lstrip=True, rstrip=True)],
    "single-word": [added("word", single_word=True, special=False), added("a", single_word=True), added("é", single_word=True)],
    "normalized": [added("WORD", normalized=True, special=False), added("<S>", normalized=True), added("the", normalized=True)],
    "overlapping": [added("  "), added(" <s>"), added("<s>", rstrip=True), added("<s"), added("aa"), added("aaa", special=False), added("")],
    "twice": [added("<s>", lstrip=True), added("<s>", rstrip=True), added("<|im_start|>", special=False)],
}


def digest(rows):
    return hashlib.sha256(json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()[:12]


def digests(rows):
    return [digest(rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]


def case(name, model="spelling", rows=None, **steps):
    plain = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    document = {**plain, "pre_tokenizer": None, "post_processor": None, "decoder": None, **steps, "model": MODELS[model]}
    tokenizer = Tokenizer.from_str(json.dumps(document))
    result = {"name": name, "model": model, **steps}
    if rows is None:
        rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in CORPUS]
        result["ids"] = digests(rows)
    if model == "spelling" and "added_tokens" not in steps:
        return result
    texts = [[tokenizer.decode(row, skip_special_tokens=skip) for skip in (False, True)] for row in rows]
    return {**result, "texts": digests(texts)}


def main():
    r = random.Random(11)
    size = len(MIXED) + 256
    rows = [[r.choice([r.randrange(len(MIXED)), len(MIXED) + r.randrange(256), r.randrange(size + 5)]) for _ in range(r.randint(0, 9))] for _ in range(1500)]
    rows += [[len(MIXED) + byte for byte in text.encode()] for text in CORPUS[200:400]]
    cases = [case(json.dumps(step, ensure_ascii=False), normalizer=step) for step in NORMALIZERS]
    cases += [case(json.dumps(step, ensure_ascii=False), pre_tokenizer=step) for step in PRE_TOKENIZERS]
    cases += [case(f"decoder {json.dumps(step, ensure_ascii=False)}", "mixed", rows, decoder=step) for step in DECODERS]
    whitespace = {"type": "Whitespace"}
    cases += [case(f"model {name}", name, pre_tokenizer=pre) for name in MODELS for pre in (whitespace, metaspace("always", False)) if name != "spelling"]
    for name, tokens in ADDED.items():
        cases.append(case(f"added {name}", "bpe", added_tokens=tokens, pre_tokenizer=whitespace))
        lower = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "▁"}]}
        cases.append(case(f"added {name}, normalised", "spelling", added_tokens=tokens, normalizer=lower))
        cases.append(case(f"added {name}, first", "wordlevel-holes", added_tokens=tokens, pre_tokenizer=metaspace("first")))
    content = {"chunk": CHUNK, "texts": CORPUS, "rows": rows, "models": MODELS, "cases": cases}
    data = gzip.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 9, mtime=0)
    OUT.write_bytes(data)
    print(len(CORPUS), "texts,", len(cases), "cases,", len(data), "bytes")


main()
