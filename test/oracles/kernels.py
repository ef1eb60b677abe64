"""Products on packed weights and attention over pages by their definitions in NumPy, float64: figures for 20,000 random calls.

    python kernels.py [--out kernels.f32]

Needs numpy (made with 2.4). Shapes, arguments and numbers of call c (0-based) follow from c alone, so that test/native/figures.cc
makes the same call: `bits(stream, i)` is the i-th output of the function below for the state 64 c + stream. Even calls
are products, odd ones attention. Of each call one figure is written, float32 little-endian: the sum of the results, each
times a number of the last stream (products: stream 9; z: stream 60, pattern: stream 61).
"""

import argparse
import pathlib

import numpy as np

CALLS = 20_000
ROUNDED = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
# bits, inputs of a scale, scales in half precision, minima, bfloat16, zero
FORMATS = [
    (32, 0, False, False, False, 0),
    (16, 0, False, False, False, 0),
    (16, 0, False, False, True, 0),
    (4, 32, True, False, False, 8),
    (4, 32, True, True, False, 0),
    (8, 32, True, False, False, 128),
    (8, 32, True, True, False, 0),
    (4, 32, False, True, False, 0),
    (4, 16, False, True, False, 0),
    (4, 16, False, False, False, 4),
    (8, 32, False, True, False, 0),
    (8, 16, False, False, False, 128),
]
SQUARE = 64


class Draw:
    """Numbers of a call: every stream is a sequence of its own."""

    def __init__(self, call: int) -> None:
        self.call = call
        self.drawn = 0

    def bits(self, stream: int, count: int, first: int = 0) -> np.ndarray:
        """64 random bits by number, a finaliser of MurmurHash3 over the state and the number."""
        with np.errstate(over="ignore"):
            x = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            x += np.uint64(64 * self.call + stream + 1) * np.uint64(0xD1B54A32D192ED03)
            for factor in ROUNDED:
                x = (x ^ (x >> np.uint64(33))) * factor
            return x ^ (x >> np.uint64(33))

    def whole(self, least: int, most: int) -> int:
        """The next whole number of stream 0, both ends included."""
        self.drawn += 1
        return least + int(self.bits(0, 1, self.drawn - 1)[0] % np.uint64(most - least + 1))

    def numbers(self, stream: int, *shape: int) -> np.ndarray:
        """Float32 numbers from -1 to 1, multiples of 2^-23."""
        count = int(np.prod(shape))
        return ((self.bits(stream, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - 1).reshape(shape)

    def below(self, stream: int, most: int, *shape: int) -> np.ndarray:
        """Whole numbers from 0 to most - 1."""
        return (self.bits(stream, int(np.prod(shape))) % np.uint64(most)).astype(np.int64).reshape(shape)


def half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def product(draw: Draw) -> float:
    bits, block, half_scales, minima, brain, zero = FORMATS[draw.whole(0, len(FORMATS) - 1)]
    rows = draw.whole(1, 60)
    width = 32 * draw.whole(1, 8) if block else draw.whole(1, 200)
    count = draw.whole(1, 9)
    if block == 0:
        w = draw.numbers(1, rows, width)
        if bits == 16:
            w = (w.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) if brain else half(w)
        w = w.astype(np.float64)
    else:
        codes = draw.below(1, 16 if bits == 4 else 256 if zero else 128, rows, width)
        held = half if half_scales else np.asarray
        scales = held(draw.numbers(2, rows, width // block)).astype(np.float64)
        w = (codes - zero) * np.repeat(scales, block, axis=1)
        if minima:
            w = w + np.repeat(held(draw.numbers(3, rows, width // block)), block, axis=1)
    x = draw.numbers(4, count, width).astype(np.float64)
    return float((x @ w.T * draw.numbers(9, count, rows)).sum())


def cached(kind: int, x: np.ndarray) -> np.ndarray:
    """Rows [n, width] as a cache holds them: f32, f16, codes of 8 and of 4 bits."""
    if kind == 0:
        return x.astype(np.float64)
    if kind == 1:
        return half(x).astype(np.float64)
    rows, width = x.shape
    padded = np.zeros((rows, -(-width // 32) * 32), np.float32)
    padded[:, :width] = x
    blocks = padded.reshape(rows, -1, 32)
    low, high = blocks.min(axis=2, keepdims=True), blocks.max(axis=2, keepdims=True)
    scale = half(np.maximum(-low, high) / np.float32(127)) if kind == 2 else half((high - low) / np.float32(15))
    base = np.zeros_like(low) if kind == 2 else half(low)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    codes = np.clip(np.rint((blocks - base) * inverse), *((-127, 127) if kind == 2 else (0, 15)))
    return (codes.astype(np.float64) * scale + base).reshape(rows, -1)[:, :width]


def attention(draw: Draw) -> float:
    kind = draw.whole(0, 3)
    sequences = draw.whole(1, 3)
    tokens = draw.whole(1, 100 if draw.whole(0, 9) < 4 else 8)
    kv_heads, group = draw.whole(1, 3), draw.whole(1, 4)
    width = 16 * draw.whole(1, 6) if draw.whole(0, 1) else draw.whole(1, 100)
    cap = 0.5 * draw.whole(1, 8) if draw.whole(0, 2) == 0 else 0.0
    scale = 0.125 * draw.whole(1, 8)
    heads = kv_heads * group
    pages = [draw.whole(1, 120) for _ in range(draw.whole(1, 4))]
    keys = [cached(kind, draw.numbers(10 + 2 * p, rows, width)) for p, rows in enumerate(pages)]
    values = [cached(kind, draw.numbers(11 + 2 * p, rows, width)) for p, rows in enumerate(pages)]
    spans = []
    for _ in range(draw.whole(0, 20)):
        page = draw.whole(0, len(pages) - 1)
        count = draw.whole(0, pages[page])
        spans.append((page, draw.whole(0, pages[page] - count), draw.whole(0, 200), count))
    lists = []
    for _ in range(sequences * kv_heads):
        number = draw.whole(0, min(8, len(spans)))
        first = draw.whole(0, len(spans) - number)
        window, sink = draw.whole(0, 1) * draw.whole(1, 90), draw.whole(0, 1) * draw.whole(1, 9)
        lists.append((first, number, window, sink, draw.whole(0, 1) * draw.whole(1, 150)))
    q = draw.numbers(30, sequences, tokens, heads, width).astype(np.float64)
    positions = draw.below(31, 200, sequences, tokens)
    sinks = 2.0 * draw.numbers(32, heads) if draw.whole(0, 2) == 0 else None
    columns = int(positions.max()) + 1
    blocks = None
    if draw.whole(0, 2) == 0:
        shape = (heads if draw.whole(0, 1) else 1, -(-tokens // SQUARE), -(-columns // SQUARE))
        blocks = draw.below(33, 2, *shape).astype(bool)
    z = np.zeros(q.shape)
    pattern = np.zeros((sequences, tokens, heads, columns))
    for s in range(sequences):
        at = positions[s]
        for g in range(kv_heads):
            first, number, window, sink, local = lists[s * kv_heads + g]
            own = spans[first : first + number]
            k = np.concatenate([keys[p][row : row + n] for p, row, _, n in own] + [np.zeros((0, width))])
            v = np.concatenate([values[p][row : row + n] for p, row, _, n in own] + [np.zeros((0, width))])
            place = np.concatenate([np.arange(position, position + n) for _, _, position, n in own] + [np.zeros(0, int)])
            seen = place[None] <= at[:, None]
            if local:
                seen &= place[None] > at[:, None] - local
            if window:
                seen &= (place[None] > at[:, None] - window) | (place[None] < sink)
            for h in range(g * group, (g + 1) * group):
                sees = seen.copy()
                for b in range(0, tokens, SQUARE) if blocks is not None else ():
                    mine = at[b : b + SQUARE] // SQUARE
                    row = np.zeros(max(columns, int(place.max(initial=0)) + 1) // SQUARE + 1, bool)
                    row[: blocks.shape[2]] = blocks[h % blocks.shape[0], b // SQUARE]
                    row[mine.min() : mine.max() + 1] = True
                    sees[b : b + SQUARE] &= row[place // SQUARE][None]
                scores = q[s, :, h] @ k.T * scale
                if cap:
                    scores = cap * np.tanh(scores / cap)
                scores[~sees] = -np.inf
                floor = -np.inf if sinks is None else float(sinks[h])
                most = np.maximum(scores.max(axis=1, initial=-np.inf), floor)
                most[most == -np.inf] = 0
                weights = np.exp(scores - most[:, None])
                total = weights.sum(axis=1) + (np.exp(floor - most) if sinks is not None else 0)
                weights /= np.where(total == 0, 1, total)[:, None]
                z[s, :, h] = weights @ v
                near = place < columns  # nobody sees the others
                np.add.at(pattern[s, :, h].T, place[near], weights.T[near])
    return float((z * draw.numbers(60, *z.shape)).sum() + (pattern * draw.numbers(61, *pattern.shape)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("kernels.f32"))
    figures = [(product if call % 2 == 0 else attention)(Draw(call)) for call in range(CALLS)]
    np.asarray(figures, "<f4").tofile(parser.parse_args().out)


if __name__ == "__main__":
    main()
