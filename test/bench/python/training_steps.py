"""Training steps in PyTorch of the models that the bench trains: the same shapes, losses and optimisers, data ready beforehand."""

import time
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

STEPS = 20  # steps in one repetition

# Task, model and optimiser as `headscope train` has them by default, but for what test/bench/training.ts changes too.
SIZES = {
    "induction": dict(
        rows=32, positions=64, vocabulary=64, outputs=64, layers=2, heads=4, width=64, mlp=None, norm=True, rotary=True,
        learned=False, readout=(), last=False, optimiser="adam",
    ),
    "reddy": dict(
        rows=128, positions=17, inputs=128, outputs=32, layers=2, heads=1, width=128, mlp=None, norm=False, rotary=False,
        learned=False, readout=(128, 128), last=True, optimiser="sgd",
    ),
    "regressor": dict(
        rows=64, positions=40, inputs=8, outputs=1, layers=4, heads=4, width=256, mlp=1024, norm=True, rotary=False,
        learned=True, readout=(), last=False, optimiser="adam",
    ),
}  # fmt: skip


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        width = s["width"]
        self.heads = s["heads"]
        self.ln1 = nn.LayerNorm(width) if s["norm"] else nn.Identity()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.mlp = None
        if s["mlp"]:
            self.ln2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, s["mlp"]), nn.GELU(), nn.Linear(s["mlp"], width))

    def forward(self, x, rotation):
        rows, positions, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(rows, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(z.transpose(1, 2).reshape(rows, positions, width))
        return x if self.mlp is None else x + self.mlp(self.ln2(x))


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        width = s["width"]
        self.last = s["last"]
        self.embed = nn.Linear(s["inputs"], width) if "inputs" in s else nn.Embedding(s["vocabulary"], width)
        self.positions = nn.Parameter(torch.randn(s["positions"], width) / width**0.5) if s["learned"] else None
        self.blocks = nn.ModuleList(Block(s) for _ in range(s["layers"]))
        self.ln = nn.LayerNorm(width) if s["norm"] else nn.Identity()
        sizes = (width, *s["readout"])
        hidden = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
        self.readout = nn.Sequential(*hidden, nn.Linear(sizes[-1], s["outputs"], bias="inputs" in s))
        self.rotation = None
        if s["rotary"]:
            half = width // s["heads"] // 2
            angles = torch.outer(torch.arange(s["positions"]), 10000.0 ** (-torch.arange(half) / half)).repeat(1, 2)
            self.rotation = (angles.cos(), angles.sin())

    def forward(self, read):
        x = self.embed(read)
        if self.positions is not None:
            x = x + self.positions
        for block in self.blocks:
            x = block(x, self.rotation)
        return self.readout(self.ln(x[:, -1] if self.last else x))


class Trainer:
    """Steps of one size, eager or with forward and loss compiled."""

    def __init__(self, size, compiled):
        s = SIZES[size]
        torch.manual_seed(0)
        self.model = Model(s)
        fused = s["optimiser"] == "adam"
        self.optimiser = (
            torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
            if fused
            else torch.optim.SGD(self.model.parameters(), lr=0.01, weight_decay=1e-6)
        )
        classes = s["outputs"] > 1
        shape = (s["rows"], s["positions"])
        scored = (s["rows"],) if s["last"] else shape
        read = torch.randn(*shape, s["inputs"]) if "inputs" in s else torch.randint(s["vocabulary"], shape)
        target = torch.randint(s["outputs"], scored) if classes else torch.randn(*scored, 1)
        weight = torch.ones(scored).flatten()

        def loss(read, target, weight):
            out = self.model(read).flatten(0, -2)
            each = F.cross_entropy(out, target.flatten(), reduction="none") if classes else (out - target.flatten(0, -2)).square().mean(-1)  # fmt: skip
            return (each * weight).sum() / weight.sum()

        run = torch.compile(loss) if compiled else loss

        def step():
            self.optimiser.zero_grad()
            value = run(read, target, weight)
            value.backward()
            self.optimiser.step()
            return value.item()

        self.step = step
        for _ in range(5):
            step()

    def milliseconds(self):
        started = time.perf_counter()
        for _ in range(STEPS):
            self.step()
        return (time.perf_counter() - started) * 1e3 / STEPS


@cache
def trainer(size, compiled):
    return Trainer(size, compiled)


def step_time(size, compiled, threads):
    """Milliseconds a step."""
    torch.set_num_threads(threads)
    return trainer(size, compiled).milliseconds()
