"""Attribution, patching, edges, circuits, weights of heads and vectors from their definitions alone: PyTorch and autograd.

circuit_definitions.py has every definition, transformer.py the plain transformer of named pieces that they run on, whose
logits are checked against those of transformers first. Inputs are drawn here and stored beside the results. Nothing of
headscope is used.

    python test/oracles/circuits.py --out test/oracles/circuits [family ...]
    python test/oracles/circuits.py --out test/oracles/circuits --gguf SmolLM2-135M-Instruct.Q4_1.gguf [part ...]

README.md beside this file describes the files.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from circuit_definitions import (
    SIDES, Pair, assembled, attribution_of, circuit_metric, curve_of, eap, ends_of, exact_of, faithfulness,
    function_vector_of, gradient_path, gradient_tables, graph_of, head_name, heads_of, lens_of, mean, one_edge, patch_of, path_of,
    steering_of, straight_path, totals_of, without,
)  # fmt: skip
from transformer import of

HERE = Path(__file__).parent
FAMILIES = HERE.parent / "fixtures" / "families"


# --- documents ----------------------------------------------------------------------------------------------------------


def plain(value, digits=6):
    """Tensors as nested lists, floats to 6 significant digits."""
    if isinstance(value, dict):
        return {key: plain(v, digits) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, digits) for v in value]
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return plain(value.tolist(), digits)
    if isinstance(value, (float, np.floating)):
        rounded = float(f"{float(value):.{digits}g}")
        return int(rounded) if rounded == int(rounded) else rounded
    return value


def draw_pairs(model, rng, lengths, changes, least):
    """Pairs of random ids, some ids changed; the answer is what the clean prompt gives, the wrong one what the corrupt does.
    Drawn again until the metrics are some way apart, since faithfulness divides by that."""
    pairs, vocabulary = [], len(model.W_E)
    for length in lengths:
        while True:
            clean = rng.integers(3, vocabulary, length)
            corrupt = clean.copy()
            places = rng.choice(np.arange(1, length), changes, replace=False)
            corrupt[places] = rng.integers(3, vocabulary, changes)
            pair = Pair(clean.tolist(), corrupt.tolist(), 0, 0)
            pair.answer, pair.wrong = (int(model.run(pair.ids(side)).argmax()) for side in ("clean", "corrupt"))
            ends = ends_of(model, [pair])
            if pair.answer != pair.wrong and ends["clean"] - ends["corrupt"] > least:
                break
        pairs.append(pair)
    return pairs


def several(pairs, *groups):
    """The pairs of a section: (indices, pairs) of each group."""
    return [(list(group), [pairs[i] for i in group]) for group in groups]


def attribution_section(model, groups):
    return [
        {"pairs": which, **mean([attribution_of(model, p.ids("clean"), p.answer, p.wrong) for p in pairs])}
        for which, pairs in groups
    ]


def patch_section(model, groups, layers, by_position=None):
    """@param by_position layers of the tables by position, default `layers`; written beside them where they differ"""
    out = []
    for which, pairs in groups:
        alike = len({len(pair.clean) for pair in pairs}) == 1
        nodes = ["z", "mlp_out", *(["resid_pre"] if alike else []), *([] if by_position else ["mlp_post"])]
        for direction in SIDES:
            tables = [
                patch_of(model, pair, direction, {node: by_position or layers if node == "resid_pre" else layers for node in nodes})
                for pair in pairs
            ]
            tables = [{k: {m: [r.tolist() for r in t] for m, t in v.items()} if isinstance(v, dict) else v for k, v in t.items()} for t in tables]  # fmt: skip
            some = {"layers": by_position} if by_position else {}
            out.append({"pairs": which, "direction": direction, **some, **mean(tables)})
    return out


def path_section(model, groups, receivers, senders, mlps=("frozen", "recomputed")):
    out = []
    for which, pairs in groups:
        for into in receivers:
            for through in "qkv":
                for kv_group in [False, True] if model.group > 1 and through != "q" else [False]:
                    for direction in SIDES:
                        for kind in mlps:
                            rows = [
                                path_of(model, pair, into, through, direction, kind, kv_group, senders)
                                for pair in pairs
                            ]
                            out.append(
                                {
                                    "pairs": which,
                                    "into": [head_name(head) for head in into],
                                    "through": through,
                                    "kvGroup": kv_group,
                                    "direction": direction,
                                    "mlps": kind,
                                    "from": [head_name(head) for head in senders],
                                    "values": mean(rows),
                                }
                            )
    return out


STEPS = 5


def scores_of(model, graph, pairs):
    return {
        "eap": mean([eap(model, graph, pair) for pair in pairs]),
        "eap-ig": mean([eap(model, graph, pair, straight_path(model, pair, STEPS)) for pair in pairs]),
        "eap-gp": mean([eap(model, graph, pair, gradient_path(model, pair, STEPS)) for pair in pairs]),
    }


def edges_section(model, graph, groups):
    out = []
    for which, pairs in groups:
        scores = scores_of(model, graph, pairs)
        scores["exact"] = mean([exact_of(model, graph, pair) for pair in pairs])
        again = mean([one_edge(model, graph, pair, range(len(graph.edges))) for pair in pairs])
        assert (again - scores["exact"]).abs().max() < 1e-9, "the two ways to corrupt one edge differ"
        totals = {method: totals_of(graph, values) for method, values in scores.items()}
        out.append({"pairs": which, **ends_of(model, pairs), "total": len(graph.edges), "scores": scores, "totals": totals})
    return out


def run_section(model, graph, pairs, order, rng, sizes):
    total, ends = len(graph.edges), ends_of(model, pairs)
    everything = circuit_metric(model, graph, pairs, without(graph, []))
    nothing = circuit_metric(model, graph, pairs, ~without(graph, []))
    assert abs(everything - ends["clean"]) < 1e-9 and abs(nothing - ends["corrupt"]) < 1e-9
    half = sorted(rng.choice(total, total // 2, replace=False).tolist())
    few = sorted(rng.choice(total, 3, replace=False).tolist())
    circuits = [{"edges": half}, {"edges": order[: total // 4]}, {"without": few}, {"without": half}]
    runs = []
    for circuit in circuits:
        kept = without(graph, circuit["without"]) if "without" in circuit else ~without(graph, circuit["edges"])
        metric = circuit_metric(model, graph, pairs, kept)
        runs.append({**circuit, "metric": metric, "faithfulness": faithfulness(metric, **ends), "count": int(kept.sum())})
    return {"runs": runs, "curve": {"order": order, "sizes": sizes, **curve_of(model, graph, pairs, order, sizes)}}


def weights_section(model, heads, pairs=5, most=None):
    """@param most heads of which token pairs are looked for, default all"""
    return {process: heads_of(model, heads, process, pairs, most) for process in ("raw", "fold_ln")}


def draw_cases(model, rng, count, length):
    """Cases of in-context learning without a meaning: ids for clean, shuffled and zero-shot prompts, any answer."""
    ids = lambda n: rng.integers(3, len(model.W_E), n).tolist()
    cases = []
    for i in range(count):
        clean = ids(length + i)
        answer = int(model.run(torch.tensor([clean])).argmax())
        cases.append({"clean": clean, "shuffled": rng.permutation(clean).tolist(), "zero": ids(4), "answer": answer})
    return cases


def versions():
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def family_document(name):
    folder = FAMILIES / name
    source = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = json.loads((folder / "oracle.json").read_text())["ids"]
    model = of(source, ids)
    rng = np.random.default_rng([20, *name.encode()])
    pairs = draw_pairs(model, rng, [12, 12, 10], 3, 0.3)
    groups = several(pairs, [0], [0, 1, 2])
    layers, H = range(model.n_layers), model.n_heads
    graph = graph_of(model)
    edges = edges_section(model, graph, groups)
    order = edges[1]["scores"]["eap-ig"].abs().argsort(descending=True).tolist()
    heads, some = [(0, 0), (0, H - 1), (1, 1), (1, 2)], list(range(0, len(model.W_E), 8))
    return {
        "model": name,
        "versions": versions(),
        "pairs": [vars(pair) for pair in pairs],
        "gradients": gradient_tables(model, pairs[0], layers),
        "attribution": attribution_section(model, groups),
        "lens": [lens_of(model, pairs[0], position) for position in (11, 4)],
        "patch": patch_section(model, [*groups, *several(pairs, [0, 1])], layers),
        "paths": path_section(model, several(pairs, [0]), [[(1, 2)], [(1, 0), (1, 2)]], [(0, h) for h in range(H)]),
        "graph": {"edges": [graph.name(e) for e in range(len(graph.edges))]},
        "edges": edges,
        "circuit": {"pairs": groups[1][0], **run_section(model, graph, groups[1][1], order, rng, [5, 20, 60])},
        "heads": weights_section(model, heads),
        "functionVector": function_vector_of(model, draw_cases(model, rng, 4, 9), 3, [0, 1]),
        "steering": [
            steering_of(model, [pair.clean for pair in pairs[:count]], layer, positions, scale, some)
            for count, layer, positions, scale in ((1, 0, "all", 1), (1, 1, "last", -0.5), (2, 0, [2, 5], 2))
        ],
    }


# --- SmolLM2 ------------------------------------------------------------------------------------------------------------

TEXTS = (
    (
        "When Mary and John went to the store, John gave a drink to",
        "When Mary and John went to the store, Mary gave a drink to",
        " Mary",
        " John",
    ),
    (
        "After Alice and Tom had a long talk at the park, Alice handed the ball to",
        "After Alice and Tom had a long talk at the park, Tom handed the ball to",
        " Tom",
        " Alice",
    ),
    ("The capital of France is the city of", "The capital of Italy is the city of", " Paris", " Rome"),
)
ANTONYMS = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("fast", "slow"), ("old", "young"), ("good", "bad"),
    ("long", "short"), ("hard", "soft"), ("wet", "dry"), ("left", "right"),
)  # fmt: skip


def antonym_cases(encode, rng, count):
    """Three examples and a query; shuffled: the same with the answers among the examples moved."""
    cases = []
    for _ in range(count):
        chosen = [ANTONYMS[i] for i in rng.permutation(len(ANTONYMS))[:4]]
        words, answers = zip(*chosen)
        lines = lambda shown: "".join(f"{word}: {answer}\n" for word, answer in zip(words[:3], shown))
        clean, shuffled = (lines(shown) + f"{words[3]}:" for shown in (answers[:3], [answers[1], answers[2], answers[0]]))
        (answer,) = encode(" " + answers[3])
        cases.append({"clean": encode(clean), "shuffled": encode(shuffled), "zero": encode(f"{words[3]}:"), "answer": answer})
    return cases


class SmolLM2:
    """The real model's sections, in float32. Each can be made alone: what else the file holds stays."""

    def __init__(self, gguf):
        import smollm2 as reference

        source, tokenizer = reference.load(gguf)
        self.encode = lambda text: reference.encode(tokenizer, text)
        self.digest = reference.GGUF_SHA256
        self.model = of(source, [self.encode(TEXTS[0][0])], dtype=torch.float32, tolerance=2e-4)
        ids = [[self.encode(text) for text in texts] for texts in TEXTS]
        assert all(len(c) == len(d) and len(a) == len(w) == 1 for c, d, a, w in ids)
        self.pairs = [Pair(c, d, a[0], w[0]) for c, d, a, w in ids]
        self.groups = several(self.pairs, [0], [0, 1, 2])
        # Heads that move the name in the first pair, and one that does little.
        self.heads = [(12, 1), (17, 0), (18, 6), (28, 3)]

    def head(self):
        return {
            "model": "SmolLM2-135M-Instruct.Q4_1.gguf",
            "gguf": self.digest,
            "versions": versions(),
            "texts": [dict(zip(("clean", "corrupt", "answer", "wrong"), texts)) for texts in TEXTS],
            "pairs": [vars(pair) for pair in self.pairs],
        }

    def direct(self):
        last = len(self.pairs[0].clean) - 1
        return {
            "gradients": gradient_tables(self.model, self.pairs[0], [0, 10, 17, 29]),
            "attribution": attribution_section(self.model, self.groups),
            "lens": [lens_of(self.model, self.pairs[0], position) for position in (last, 4)],
        }

    def patch(self):
        return {"patch": patch_section(self.model, self.groups[:1], range(self.model.n_layers), SOME_LAYERS)}

    def paths(self):
        (layer, h), group = self.heads[2], self.model.group
        neighbour = (layer, h // group * group + (h + 1) % group)
        senders = [(0, 0), (9, 4), self.heads[0], self.heads[1]]
        receivers = [[self.heads[2]], [self.heads[2], neighbour]]
        return {"paths": path_section(self.model, self.groups[:1], receivers, senders)}

    def edges(self):
        rng = np.random.default_rng(2021)
        return smollm2_edges(self.model, graph_of(self.model), self.groups, rng)

    def weights(self):
        return {"heads": weights_section(self.model, self.heads, 8, 1)}

    def vectors(self):
        rng = np.random.default_rng(2022)
        some = sorted(rng.choice(len(self.model.W_E), 40, replace=False).tolist())
        return {
            "functionVector": function_vector_of(self.model, antonym_cases(self.encode, rng, 2), 10, [8, 12, 16]),
            "steering": [
                steering_of(self.model, [self.pairs[0].clean], layer, positions, scale, some)
                for layer, positions, scale in ((10, "all", 0.2), (20, "last", -2))
            ],
        }


SOME_LAYERS = [0, 8, 14, 17, 22, 29]
PARTS = ("direct", "patch", "paths", "edges", "weights", "vectors")


def smollm2_edges(model, graph, groups, rng):
    """Some edges with their scores (best by each method and others at random), totals of all, and circuits of them."""
    out, orders = [], []
    for which, pairs in groups:
        scores = scores_of(model, graph, pairs)
        order = scores["eap-ig"].abs().argsort(descending=True).tolist()
        orders.append(order)
        by_eap = scores["eap"].abs().argsort(descending=True).tolist()
        chosen = list(dict.fromkeys([*order[:40], *by_eap[:40], *rng.choice(len(graph.edges), 40, replace=False).tolist()]))
        exact = mean([one_edge(model, graph, pair, chosen) for pair in pairs])
        out.append(
            {
                "pairs": which,
                **ends_of(model, pairs),
                "total": len(graph.edges),
                "edges": [graph.name(e) for e in chosen],
                "scores": {**{m: v[chosen] for m, v in scores.items()}, "exact": exact},
                "totals": {method: totals_of(graph, values) for method, values in scores.items()},
            }
        )
    which, pairs = groups[0]
    order, ends, total = orders[0], ends_of(model, pairs), len(graph.edges)
    kept = order[:1000]
    check = assembled(model, graph, pairs[0], without(graph, order[:1])) - ends["clean"]
    assert abs(check - out[0]["scores"]["exact"][0]) < 1e-4
    runs = [
        # Edge i in the order of circuits.md: by destination, then source. So that no list is needed.
        ({"rule": "i * 7919 % 1000 < 700"}, np.arange(total) * 7919 % 1000 < 700),
        ({"rule": "i * 7919 % 1000 < 30"}, np.arange(total) * 7919 % 1000 < 30),
        ({"without": [graph.name(e) for e in order[:20]]}, without(graph, order[:20])),
    ]
    results = []
    for circuit, mask in runs:
        metric = circuit_metric(model, graph, pairs, mask)
        count = int(mask.sum())
        results.append({**circuit, "metric": metric, "faithfulness": faithfulness(metric, **ends), "count": count})
    sizes = [50, 200, 1000]
    curve = {"order": [graph.name(e) for e in kept], "sizes": sizes, **curve_of(model, graph, pairs, order, sizes)}
    return {"edges": out, "circuit": {"pairs": which, "runs": results, "curve": curve}}


def write(folder, name, document, digits=6):
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(document, digits), separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes", flush=True)


def write_smollm2(folder, gguf, parts):
    """Writes parts of smollm2.json; the others stay as they are."""
    work, path = SmolLM2(gguf), Path(folder) / "smollm2.json"
    for part in parts or PARTS:
        before = json.loads(path.read_text()) if path.exists() else {}
        print(part, flush=True)
        write(folder, "smollm2", {**work.head(), **before, **getattr(work, part)()}, 7)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--gguf", help="SmolLM2's file: its parts are written instead of the families")
    parser.add_argument("names", nargs="*", help=f"families, or with --gguf parts: {' '.join(PARTS)}; default all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.gguf:
        return write_smollm2(options.out, options.gguf, options.names)
    for name in options.names or sorted(p.name for p in FAMILIES.iterdir()):
        write(options.out, name, family_document(name))


if __name__ == "__main__":
    main()
