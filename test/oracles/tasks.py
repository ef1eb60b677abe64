"""Independent check of backend/common/random.ts: Philox 4x32-10 in whole numbers of Python.

    python tasks.py          writes tasks.json beside this file (needs nothing but Python)

The implementation is first held against the three vectors of the authors' known-answer file. Cases are words of
counter = [block, block >> 32, stream, 0], key = [seed, seed >> 32], and the normal numbers that Box-Muller makes of them.
"""

import json
import math
import pathlib

MASK = 0xFFFFFFFF


def philox(counter, key):
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (p1 >> 32) ^ b ^ k0, p1 & MASK, (p0 >> 32) ^ d ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [a, b, c, d]


def known(counter, key, answer):
    assert philox([int(w, 16) for w in counter.split()], [int(w, 16) for w in key.split()]) == [
        int(w, 16) for w in answer.split()
    ]


known("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8")
known("ffffffff " * 4, "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd")
known("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1")


def words(seed, stream, blocks):
    return [w for b in range(blocks) for w in philox([b & MASK, b >> 32, stream, 0], [seed & MASK, seed >> 32])]


def uniform(high, low):
    return ((high >> 5) * 2**26 + (low >> 6)) / 2**53


def normals(w):
    out = []
    for i in range(0, len(w), 4):
        radius = math.sqrt(-2 * math.log(1 - uniform(w[i], w[i + 1])))
        angle = 2 * math.pi * uniform(w[i + 2], w[i + 3])
        out += [radius * math.cos(angle), radius * math.sin(angle)]
    return out


if __name__ == "__main__":
    cases = []
    for seed, stream in [(0, 0), (7, 1), (2**40 + 17, 0xFFFFFFFF), (123456789, 0xF0000003)]:
        w = words(seed, stream, 5)
        cases.append({"seed": seed, "stream": stream, "words": w, "normals": normals(w)})
    path = pathlib.Path(__file__).resolve().parent / "tasks.json"
    path.write_text(json.dumps({"philox": cases}) + "\n")
