"""Characters as the tables behind Rust's tokenizers class and normalise them, for tokenizer_unicode.mjs.

    python test/oracles/tokenizer_unicode.py | node test/oracles/tokenizer_unicode.mjs

prints the lists of backend/models/tokenizers/text/unicode.ts: where these tables differ from JavaScript's (of the Node that runs it).
Needs: tokenizers.
"""

import json
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

EVERY = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
TEXT = "".join(EVERY)


def matched(regex):
    left = set(normalizers.Replace(Regex(regex), "").normalize_str(TEXT))
    return [ord(char) for char in EVERY if char not in left]


def cutting(step):
    return [ord(char) for char in EVERY if len(step.pre_tokenize_str(f"a{char}a")) > 1]


def changed(step):
    return {ord(char): text for char in EVERY if (text := step.normalize_str(char)) != char}


NFD = normalizers.NFD()
PLAIN = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
facts = {
    "unassigned": matched(r"\p{Cn}"),
    "punctuation": cutting(pre_tokenizers.Punctuation()),
    "marks": [point for point, text in changed(normalizers.StripAccents()).items() if text == ""],
    "accents": [point for point, text in changed(normalizers.BertNormalizer(**{**PLAIN, "strip_accents": True})).items() if text == ""],
    "forms": {form: changed(getattr(normalizers, form)()) for form in ("NFC", "NFD", "NFKC", "NFKD")},
    # Marks that change places with one of the class 240, and with one of the class 1.
    "before": [ord(char) for char in EVERY if NFD.normalize_str(f"a\u0345{char}") != f"a\u0345{NFD.normalize_str(char)}"],
    "behind": [ord(char) for char in EVERY if NFD.normalize_str(f"a{char}\u0334") != f"a{NFD.normalize_str(char)}\u0334"],
}
json.dump(facts, sys.stdout)
