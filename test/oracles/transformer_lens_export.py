"""TransformerLens 2 on models that headscope exported: its logits, for export-model-oracle.test.ts.

    HEADSCOPE_EXPORTS_OUT=DIR npx vitest run test/unit/exports/model-oracle.test.ts
    python transformer_lens_export.py DIR

The first line writes each model of the test as DIR/NAME; this script opens it with numpy (safetensors.numpy) and in
TransformerLens, runs `tokens` below and writes transformer-lens-export.json: the sha256 of each file that was read, and
logits [rows][positions][outputs] to six decimals. Needs transformer_lens (made with 2.18), torch and safetensors.
"""

import hashlib
import json
import pathlib
import re
import sys

import safetensors.numpy
import torch
from importlib.metadata import version
from transformer_lens import HookedTransformer, HookedTransformerConfig

HERE = pathlib.Path(__file__).resolve().parent
ROWS, POSITIONS = 2, 7


def tokens(vocabulary):
    """[rows][positions], by a formula that the test repeats."""
    return [[(5 * r + 3 * p * p + 1) % vocabulary for p in range(POSITIONS)] for r in range(ROWS)]


def run(folder):
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert all(array.dtype == "float32" for array in arrays.values())
    digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}
    if "headscope" in config:  # what TransformerLens cannot express, it must refuse
        try:
            HookedTransformerConfig.from_dict(config)
        except TypeError as error:
            return {"files": digests, "refused": str(error), "shapes": {n: list(a.shape) for n, a in arrays.items()}}
        raise AssertionError(f"{folder}: from_dict took a config that it does not know")
    model = HookedTransformer(HookedTransformerConfig.from_dict({**config, "device": "cpu"}))
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    parameters = {name: parameter for name, parameter in model.named_parameters()}
    assert not unexpected, unexpected
    assert not set(missing) & set(parameters), missing
    assert all(re.fullmatch(r"blocks\.\d+\.attn\.(mask|IGNORE|rotary_sin|rotary_cos)", name) for name in missing), missing
    for name, parameter in parameters.items():
        assert parameter.shape == state[name].shape, name
    with torch.no_grad():
        logits = model(torch.tensor(tokens(config["d_vocab"])))
    return {"files": digests, "logits": [[[round(x, 6) for x in p] for p in row] for row in logits.tolist()]}


def main():
    out = pathlib.Path(sys.argv[1])
    models = {folder.name: run(folder) for folder in sorted(out.iterdir())}
    versions = {name: version(name) for name in ("transformer_lens", "torch", "safetensors", "numpy")}
    text = json.dumps({"versions": versions, "models": models}, indent=1)
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
    (HERE / "transformer-lens-export.json").write_text(text + "\n")
    for name, model in models.items():
        print(name, "refused" if "refused" in model else "ran")


if __name__ == "__main__":
    main()
