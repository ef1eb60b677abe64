"""Random blocks of every tensor type, and what the Python package gguf dequantises them to.

Writes test/fixtures/formats/quantised.gguf (a tensor a type, raw random blocks with finite scales) and
quantised.safetensors beside it (the f32 values by tensor name). Needs: numpy, gguf, safetensors.

    python test/oracles/quantisation.py
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, GGUFWriter
from gguf.quants import dequantize
from safetensors.numpy import save_file

FIXTURES = Path(__file__).parent.parent / "fixtures" / "formats"
# Where the f16 scales of a block lie; all other bytes are free.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
ROWS = 2


def half_bytes(rng, count):
    """f16 scales of both signs over the whole range of magnitudes, subnormal ones and zeros among them."""
    values = (rng.standard_normal(count) * 10.0 ** rng.uniform(-7.5, 2, count)).astype(np.float16)
    values[rng.random(count) < 0.05] = 0
    return values.view(np.uint8).reshape(count, 2)


def main():
    rng = np.random.default_rng(20)
    writer = GGUFWriter(FIXTURES / "quantised.gguf", "llama")
    expected = {}
    for name, places in SCALES.items():
        kind = Type[name]
        elements, size = GGML_QUANT_SIZES[kind]
        count = ROWS * 512 // elements
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in places:
            blocks[:, at : at + 2] = half_bytes(rng, count)
        rows = blocks.reshape(ROWS, -1)
        writer.add_tensor(name, rows, raw_dtype=kind)
        expected[name] = dequantize(rows, kind).astype(np.float32)
    halves = half_bytes(rng, ROWS * 64).view(np.float16).reshape(ROWS, 64)
    writer.add_tensor("F16", halves)
    expected["F16"] = halves.astype(np.float32)
    floats = (rng.standard_normal((ROWS, 64)) * 10.0 ** rng.uniform(-40, 30, (ROWS, 64))).astype(np.float32)
    writer.add_tensor("F32", floats)
    expected["F32"] = floats
    brain = (floats.view(np.uint32) >> 16).astype(np.uint16)
    writer.add_tensor("BF16", brain.view(np.uint8), raw_dtype=Type.BF16)
    expected["BF16"] = dequantize(brain.view(np.uint8), Type.BF16).astype(np.float32).reshape(ROWS, 64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert all(np.isfinite(values).all() for values in expected.values())
    save_file(expected, FIXTURES / "quantised.safetensors", {"source": "gguf-py dequantize"})


main()
