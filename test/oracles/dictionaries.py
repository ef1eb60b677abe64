"""SAELens's own encoders and decoders on small random dictionaries of every architecture that headscope reads.

Run with sae-lens 6 installed: python test/oracles/dictionaries.py. Writes test/oracles/dictionaries.json.
"""

import json
import tempfile
from pathlib import Path

import sae_lens
import torch
from sae_lens import SAE
from safetensors.torch import save_file

METADATA = {"hook_name": "blocks.0.hook_resid_post", "sae_lens_version": sae_lens.__version__}
WIDTH, FEATURES, INPUTS = 5, 12, 7
CASES = {
    "standard": {"architecture": "standard"},
    "standard, b_dec left in": {"architecture": "standard", "apply_b_dec_to_input": False},
    "topk": {"architecture": "topk", "k": 3},
    "topk, rescaled": {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True},
    "jumprelu": {"architecture": "jumprelu"},
}


def rounded(tensor: torch.Tensor):
    return [rounded(row) for row in tensor] if tensor.ndim > 1 else [float(f"{x:.7g}") for x in tensor.tolist()]


def drawn(*shape: int) -> torch.Tensor:
    return (torch.randn(*shape) * 1000).round() / 1000


def case(fields: dict) -> dict:
    weights = {
        "W_enc": drawn(WIDTH, FEATURES),
        "b_enc": drawn(FEATURES),
        "W_dec": drawn(FEATURES, WIDTH),
        "b_dec": drawn(WIDTH),
    }
    if fields["architecture"] == "jumprelu":
        weights["threshold"] = drawn(FEATURES)  # also below 0
    config = {"d_in": WIDTH, "d_sae": FEATURES, "dtype": "float32", "device": "cpu", "metadata": METADATA}
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights, Path(folder) / "sae_weights.safetensors")
        (Path(folder) / "cfg.json").write_text(json.dumps({**config, **fields}))
        sae = SAE.load_from_disk(folder)
        inputs = drawn(INPUTS, WIDTH)
        with torch.no_grad():
            features = sae.encode(inputs)
            decoded = sae.decode(features)
        # What SAELens itself saves, to be read as it is.
        sae.save_model(folder)
        saved = json.loads((Path(folder) / "cfg.json").read_text())
    return {
        "config": saved,
        "weights": {name: rounded(tensor) for name, tensor in weights.items()},
        "inputs": rounded(inputs),
        "features": rounded(features),
        "decoded": rounded(decoded),
    }


torch.manual_seed(20)
cases = {name: case(fields) for name, fields in CASES.items()}
for made in cases.values():
    made["config"]["metadata"].pop("sae_lens_training_version", None)
out = {"versions": {"sae_lens": sae_lens.__version__, "torch": torch.__version__}, "cases": cases}
Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")
