"""Small SentencePiece models of every kind and setting, and digests of the ids that sentencepiece gives for the hostile texts of
tokenizer_steps.py (those without the names of control tokens).

Writes test/fixtures/tokenizers/sentence-piece.json.gz.
Needs: sentencepiece, protobuf.

    python test/oracles/tokenizer_sentence_piece.py
"""

import base64
import gzip
import hashlib
import io
import json
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

TOKENIZERS = Path(__file__).parent.parent / "fixtures" / "tokenizers"
TEXTS = json.loads(gzip.decompress((TOKENIZERS / "steps.json.gz").read_bytes()))["texts"]
TEXTS = [text for text in TEXTS if not any(name in text for name in ("<s>", "</s>", "<unk>", "<pad>")) and "\0" not in text]
CHUNK = 100
SENTENCES = [line for text in TEXTS[:1200] for line in text.splitlines() if line.strip() and max(line) < "\u0500"]


def train(**settings):
    model = io.BytesIO()
    plain = {"vocab_size": 400, "hard_vocab_limit": False, "character_coverage": 0.98, "minloglevel": 2, "num_threads": 1}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES), model_writer=model, **plain, **settings)
    return model.getvalue()


def with_unused(model):
    parsed = proto.ModelProto()
    parsed.ParseFromString(model)
    normal = [i for i, piece in enumerate(parsed.pieces) if piece.type == 1 and len(piece.piece) > 1]
    for i in normal[::3]:
        parsed.pieces[i].type = 5
    return parsed.SerializeToString()


PLAIN = {"normalization_rule_name": "identity", "add_dummy_prefix": True, "remove_extra_whitespaces": False}
OWN = {"user_defined_symbols": ["▁▁", "<sep>", "ab", "word", "日本", "é"]}
MODELS = {
    f"{kind}, {name}": train(model_type=kind, **settings)
    for kind in ("bpe", "unigram")
    for name, settings in {
        "plain": {**PLAIN, "byte_fallback": True},
        "without bytes": PLAIN,
        "without prefix": {**PLAIN, "add_dummy_prefix": False, "byte_fallback": True},
        "extra white space removed": {**PLAIN, "remove_extra_whitespaces": True},
    }.items()
}
MODELS["bpe, user-defined"] = train(model_type="bpe", byte_fallback=True, **PLAIN, **OWN)
MODELS["bpe, nmt_nfkc"] = train(model_type="bpe", byte_fallback=True)
MODELS["unigram, space behind"] = train(
    model_type="unigram", normalization_rule_name="identity", treat_whitespace_as_suffix=True
)
MODELS["bpe, unused pieces"] = with_unused(MODELS["bpe, plain"])
MODELS["unigram, unused pieces"] = with_unused(MODELS["unigram, plain"])


def digests(rows):
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    return [hashlib.sha256(json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()[:12] for chunk in chunks]


cases = []
for name, model in MODELS.items():
    spm = sentencepiece.SentencePieceProcessor(model_proto=model)
    rows = [spm.encode(text) for text in TEXTS]
    cases.append({"name": name, "model": base64.b64encode(model).decode(), "ids": digests(rows)})
content = {"chunk": CHUNK, "cases": cases}
data = gzip.compress(json.dumps(content).encode(), 9, mtime=0)
(TOKENIZERS / "sentence-piece.json.gz").write_bytes(data)
print(len(TEXTS), "texts,", len(cases), "models,", len(data), "bytes")
