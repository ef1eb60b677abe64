"""Attribution, patching, edges, circuits, weights of heads and vectors: each quantity from its definition alone.

Everything is computed on the plain transformer of named pieces beside this file, with hooks and autograd. Nothing of headscope
is used. A head is (layer, head); axes as there.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch


# --- pairs, metrics, hooks ----------------------------------------------------------------------------------------------


@dataclass
class Pair:
    clean: list[int]
    corrupt: list[int]
    answer: int
    wrong: int

    def ids(self, side):
        return torch.tensor([getattr(self, side)])

    def metric(self, logits):
        """logit(answer) - logit(wrong) [B] of logits [B, d_vocab]."""
        return logits[:, self.answer] - logits[:, self.wrong]


def mean(values):
    """Mean over pairs of numbers, tensors, or lists and dicts of them."""
    first = values[0]
    if isinstance(first, dict):
        return {key: mean([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [mean(list(column)) for column in zip(*values, strict=True)]
    return sum(values) / len(values)


def record(kept, *names):
    """A hook that keeps activations by name: those whose name ends in one of `names`, or all."""

    def hook(name, x):
        if not names or name.endswith(names):
            kept[name] = x.detach()
        return x

    return hook


def taps(found, wants):
    """A hook that adds a zero to the activations wanted; the gradient with respect to it is that of the activation."""

    def hook(name, x):
        if not wants(name):
            return x
        found[name] = torch.zeros_like(x, requires_grad=True)
        return x + found[name]

    return hook


def both(*hooks):
    def hook(name, x):
        for each in hooks:
            x = each(name, x)
        return x

    return hook


def gradients(model, ids, metric, wants, split=False, also=lambda name, x: x):
    """The gradients of metric(logits) [1] at the activations wanted, by name, and its value."""
    found = {}
    value = metric(model.run(ids, both(also, taps(found, wants)), split=split))
    names = list(found)
    return dict(zip(names, torch.autograd.grad(value.sum(), [found[name] for name in names]))), value.item()


# --- gradients ----------------------------------------------------------------------------------------------------------

POINTS = (
    "hook_resid_pre", "hook_q_input", "hook_k_input", "hook_v_input", "attn.hook_q", "attn.hook_k", "attn.hook_v",
    "attn.hook_rot_q", "attn.hook_rot_k", "attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_z", "hook_attn_out",
    "hook_resid_mid", "hook_mlp_in", "mlp.hook_post", "hook_mlp_out", "hook_resid_post",
)  # fmt: skip


def points_of(model, layers):
    absent = [*(["hook_resid_mid"] if model.parallel else []), *(["hook_rot"] if model.inv_freq is None else [])]
    return [f"blocks.{l}.{p}" for l in layers for p in POINTS if not any(name in p for name in absent)]


def summary(gradient):
    """What stands for a tensor: its norm, and the sum of its entries times sin(i), i the flat index."""
    flat = gradient.flatten()
    weights = torch.arange(len(flat), dtype=flat.dtype).sin()
    return {"norm": flat.norm().item(), "dot": (flat * weights).sum().item()}


def grouped(model, x):
    """Copies of a KV head's input added up over its query heads: [B, T, H, d] to [B, T, G, d]."""
    return x.unflatten(2, (model.n_kv, model.group)).sum(3)


def gradient_tables(model, pair, layers):
    """d metric / d activation of one row at every hook point, without the axis of rows."""
    with torch.no_grad():
        reference = model.run(pair.ids("clean")).log_softmax(-1)
    metrics = {
        "logit-diff": ("clean", pair.metric),
        "probability": ("clean", lambda logits: logits.softmax(-1)[:, pair.answer]),
        "log-probability": ("clean", lambda logits: logits.log_softmax(-1)[:, pair.answer]),
        # How far the corrupt prompt's run is from the clean one: KL(clean || run).
        "kl": ("corrupt", lambda logits: (reference.exp() * (reference - logits.log_softmax(-1))).sum(-1)),
    }
    names = points_of(model, layers)
    out = {}
    for metric, (side, function) in metrics.items():
        found, value = gradients(model, pair.ids(side), function, lambda name: name in names, split=True)
        # The keys and values that are hooked belong to KV heads: taken from a run whose copies are not split.
        plain, _ = gradients(model, pair.ids(side), function, lambda name: name in names)
        table = {}
        for name in names:
            gradient = plain[name] if name in plain else found[name]
            if name.endswith(("hook_k_input", "hook_v_input")):
                gradient = grouped(model, gradient)
            if name.endswith(("hook_pattern", "hook_attn_scores")):
                # What is masked can't be moved.
                gradient = gradient * allowed(model, int(name.split(".")[1]), gradient.shape[-1])  # [1, H, query, key]
            table[name] = summary(gradient)
            if metric == "logit-diff" and not name.endswith(("hook_pattern", "hook_attn_scores")):
                table[name]["last"] = gradient[0, -1].flatten()[:6]  # of the last position
        out[metric] = {"prompt": side, "value": value, "points": table}
    return out


def allowed(model, layer, T):
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return (distance >= 0) & (distance < (model.blocks[layer].window or T))


# --- direct attribution, lens -------------------------------------------------------------------------------------------


def attribution_of(model, ids, answer, wrong):
    kept = {}
    logits = model.run(ids, record(kept))
    norm, direction = model.ln_final, model.W_U[:, answer] - model.W_U[:, wrong]
    x = kept["final"][0, -1]
    scale = norm.scale(x)
    value = lambda part: (norm.share(part, scale) @ direction).item()
    layers = range(model.n_layers)
    last = lambda name: [kept[f"blocks.{l}.{name}"][0, -1] for l in layers]
    token = model.W_E[ids[0, -1]] * model.embed_scale
    uncapped = model.unembed(x, capped=False)
    parts = {
        "embed": value(token),
        "posEmbed": 0.0 if model.W_pos is None else value(model.W_pos[ids.shape[1] - 1]),
        "heads": [[value(head) for head in heads] for heads in last("head_out")],
        "mlps": [value(out) for out in last("hook_mlp_out")],
        "attnBias": [0.0 if block.b_O is None else value(block.b_O) for block in model.blocks],
        "finalNormBias": 0.0 if norm.b is None else (norm.b @ direction).item(),
        "unembedBias": 0.0 if model.b_U is None else (model.b_U[answer] - model.b_U[wrong]).item(),
        "softCap": (logits[0, answer] - logits[0, wrong] - uncapped[answer] + uncapped[wrong]).item(),
    }
    found = {"logitDiff": (logits[0, answer] - logits[0, wrong]).item(), "sum": total_of(parts), "parts": parts}
    assert abs(found["sum"] - found["logitDiff"]) < (1e-9 if logits.dtype == torch.float64 else 1e-3), found
    return found


def total_of(value):
    if isinstance(value, dict):
        return sum(total_of(v) for v in value.values())
    return sum(total_of(v) for v in value) if isinstance(value, list) else value


def lens_of(model, pair, position, top=5):
    kept = {}
    model.run(pair.ids("clean"), record(kept, "hook_resid_pre", "hook_resid_post"))
    names = [f"blocks.{l}.hook_resid_pre" for l in range(model.n_layers)]
    rows = []
    for name in [*names, f"blocks.{model.n_layers - 1}.hook_resid_post"]:
        logits = model.unembed(kept[name][0, position])
        best = logits.topk(top)
        rows.append(
            {
                "at": name,
                "answer": logits[pair.answer].item(),
                "wrong": logits[pair.wrong].item(),
                "rank": int((logits > logits[pair.answer]).sum()),
                "top": [{"id": int(i), "logit": v.item()} for v, i in zip(best.values, best.indices)],
            }
        )
    return {"position": position, "rows": rows}


# --- activation and attribution patching --------------------------------------------------------------------------------

SIDES = {"denoise": ("corrupt", "clean"), "noise": ("clean", "corrupt")}  # base run, source run
NODES = {"z": "attn.hook_z", "mlp_out": "hook_mlp_out", "resid_pre": "hook_resid_pre", "mlp_post": "mlp.hook_post"}
GROUP = 20  # neurons that are patched together; the last group of a layer has what is left


def places(node, x):
    """Masks [places, T, ...] of the places of a node's activation [T, ...]: heads, positions, groups of neurons, or the whole."""
    if node == "mlp_out":
        return torch.ones(1, *x.shape, dtype=torch.bool)
    if node == "mlp_post":
        group = torch.arange(x.shape[1]) // GROUP
        return (group == torch.arange(int(group[-1]) + 1)[:, None])[:, None].expand(-1, *x.shape)
    axis = {"z": 1, "resid_pre": 0}[node]
    eye = torch.eye(x.shape[axis], dtype=torch.bool)
    shape = [x.shape[axis], *(x.shape[axis] if a == axis else 1 for a in range(x.dim()))]
    return eye.reshape(shape).expand(-1, *x.shape)


def patch_of(model, pair, direction, layers):
    """{node: {"exact": table, "attribution": table}} of one pair for each node's layers, and the two metrics."""
    base, source = SIDES[direction]
    kept = {side: {} for side in SIDES[direction]}
    metric = {side: pair.metric(model.run(pair.ids(side), record(kept[side]))).item() for side in kept}
    ends = tuple(NODES[node] for node in layers)
    slopes, _ = gradients(model, pair.ids(base), pair.metric, lambda name: name.endswith(ends))
    out = {"clean": metric["clean"], "corrupt": metric["corrupt"]}
    for node in layers:
        exact, estimate = [], []
        for l in layers[node]:
            name = f"blocks.{l}.{NODES[node]}"
            there, here = kept[source][name][0], kept[base][name][0]
            masks = places(node, here)

            def edit(at, x, name=name, masks=masks, there=there):
                return torch.where(masks, there, x) if at == name else x

            stream = kept[base][f"blocks.{l}.hook_resid_pre"].expand(len(masks), -1, -1)
            exact.append(pair.metric(model.run(None, edit, start=(l, stream))))
            change = ((there - here) * slopes[name][0] * masks).flatten(1).sum(1)
            estimate.append(metric[base] + change)
        out[node] = {"exact": exact, "attribution": estimate}
    return out


# --- path patching ------------------------------------------------------------------------------------------------------


def path_of(model, pair, into, through, direction, mlps, kv_group, senders):
    """The metric for each sender (layer, head): its other output, in what the receivers read alone."""
    base, source = SIDES[direction]
    kept = {side: {} for side in SIDES[direction]}
    for side in kept:
        model.run(pair.ids(side), record(kept[side]))
    received = set(into)
    if kv_group and through != "q":
        group = model.group
        received = {(l, g) for l, h in into for g in range(h // group * group, (h // group + 1) * group)}
    values = []
    for layer, head in senders:
        other = kept[source][f"blocks.{layer}.head_out"][:, :, head]
        change = other - kept[base][f"blocks.{layer}.head_out"][:, :, head]
        streams = {}
        if mlps == "frozen":
            streams = {l: kept[base][f"blocks.{l}.hook_resid_pre"] + change for l, _ in received}
        else:

            def hold(name, x, layer=layer, head=head, other=other):
                if name.endswith("head_out"):
                    x = kept[base][name].clone()
                    if name == f"blocks.{layer}.head_out":
                        x[:, :, head] = other
                if name.endswith("hook_resid_pre"):
                    streams[int(name.split(".")[1])] = x
                return x

            model.run(pair.ids(base), hold)

        def receive(name, x, streams=streams):
            at = [(l, h) for l, h in received if name == f"blocks.{l}.hook_{through}_input"]
            x = x.clone() if at else x
            for l, h in at:
                x[:, :, h] = streams[l]
            return x

        values.append(pair.metric(model.run(pair.ids(base), receive, split=True)).item())
    return values


# --- edges --------------------------------------------------------------------------------------------------------------


@dataclass
class Graph:
    """Sources in their order, destinations with the number of sources before them, and the edges in the order of both."""

    sources: list[str]
    destinations: list[tuple[str, int]]

    def __post_init__(self):
        self.edges = [(s, d) for d, count in self.destinations for s in range(count)]
        self.index = {d: i for i, (d, _) in enumerate(self.destinations)}
        first = np.cumsum([0, *(count for _, count in self.destinations)])
        self.first = dict(zip((d for d, _ in self.destinations), first.tolist()))

    def name(self, edge):
        source, destination = self.edges[edge]
        return f"{self.sources[source]}->{destination}"

    def kind(self, edge):
        """The two classes of an edge in totals."""
        source, destination = self.edges[edge]
        into = destination[-2] if destination.endswith(">") else "mlp" if destination[0] == "m" else "logits"
        start = {"e": "embed", "a": "head", "m": "mlp"}[self.sources[source][0]]
        return f"into {into}", f"from {start}"


def graph_of(model):
    H, sources, destinations = model.n_heads, ["embed"], []
    for l in range(model.n_layers):
        before = len(sources)
        destinations += [(f"a{l}.h{h}<{part}>", before) for h in range(H) for part in "qkv"]
        sources += [f"a{l}.h{h}" for h in range(H)]
        destinations.append((f"m{l}", before if model.parallel else len(sources)))
        sources.append(f"m{l}")
    return Graph(sources, [*destinations, ("logits", len(sources))])


def outputs_of(model, ids, hook=lambda name, x: x):
    """All sources' outputs in their order [sources, T, d_model] of a run."""
    kept = {}
    logits = model.run(ids, both(hook, record(kept, "embed", "head_out", "hook_mlp_out")))
    rows = [kept["embed"][0]]
    for l in range(model.n_layers):
        rows += [*kept[f"blocks.{l}.head_out"][0].unbind(1), kept[f"blocks.{l}.hook_mlp_out"][0]]
    return torch.stack(rows), logits


INPUTS = ("hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in", "final")


def input_gradients(model, pair, embed=None):
    """d metric / d input by destination name [T, d_model], on the clean run or with another embedding in front."""

    def start(name, x):
        return embed if name == "embed" and embed is not None else x

    found, _ = gradients(model, pair.ids("clean"), pair.metric, lambda n: n.endswith(INPUTS), split=True, also=start)
    by_name = {"logits": found["final"][0]}
    for l in range(model.n_layers):
        by_name[f"m{l}"] = found[f"blocks.{l}.hook_mlp_in"][0]
        for part in "qkv":
            for h, gradient in enumerate(found[f"blocks.{l}.hook_{part}_input"][0].unbind(1)):
                by_name[f"a{l}.h{h}<{part}>"] = gradient
    return by_name


def straight_path(model, pair, steps):
    """Embeddings on the straight way from the corrupt to the clean one."""
    start, end = model.embed(pair.ids("corrupt")), model.embed(pair.ids("clean"))
    return [start + k / steps * (end - start) for k in range(1, steps + 1)]


def all_logits(model, pair, embed):
    """Logits at every position [T, d_vocab] of a run that begins with an embedding."""
    seen = []

    def hook(name, x):
        if name == "final":
            seen.append(x)
        return embed if name == "embed" else x

    model.run(pair.ids("clean"), hook)
    return model.unembed(seen[0])[0]


def gradient_path(model, pair, steps):
    """Embeddings from the clean one on, each a step of length 1 down the slope of the squared distance between the logits at
    all positions and those of the corrupt run."""
    with torch.no_grad():
        goal = all_logits(model, pair, model.embed(pair.ids("corrupt")))
    points, x = [], model.embed(pair.ids("clean")).detach()
    for _ in range(steps):
        x = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad((all_logits(model, pair, x) - goal).square().sum(), x)
        x = (x - slope / slope.norm()).detach()
        points.append(x)
    return points


def eap(model, graph, pair, embeds=None):
    """Scores of all edges: sum over positions of (corrupt - clean output) . d metric / d input; of the clean run, or the
    mean over runs with other embeddings in front."""
    clean, _ = outputs_of(model, pair.ids("clean"))
    corrupt, _ = outputs_of(model, pair.ids("corrupt"))
    slopes = mean([input_gradients(model, pair, embed) for embed in embeds or [None]])
    change = (corrupt - clean).flatten(1)
    return torch.cat([change[:count] @ slopes[name].flatten() for name, count in graph.destinations])


def assembled(model, graph, pair, kept):
    """The metric of the clean prompt where each destination's input is assembled from its sources: those of `kept` edges
    (boolean, by edge) as they are in this very run, the others as in the corrupt run."""
    corrupt, _ = outputs_of(model, pair.ids("corrupt"))
    mask = torch.as_tensor(kept).to(corrupt.dtype)

    def read(destinations, written, constant):
        own, other = (x.flatten(1) for x in (torch.stack([x[0] for x in written]), corrupt[: len(written)]))
        first = [graph.first[destination] for destination in destinations]
        share = torch.stack([mask[i : i + len(written)] for i in first])  # [destinations, sources]
        inputs = (share @ own + (1 - share) @ other).reshape(len(first), *written[0].shape[1:]) + constant
        return inputs.transpose(0, 1)[None]

    return pair.metric(model.run(pair.ids("clean"), read=read)).item()


def faithfulness(metric, clean, corrupt):
    return (metric - corrupt) / (clean - corrupt)


def totals_of(graph, scores):
    out = {name: {"edges": 0, "sum": 0.0, "sumAbs": 0.0} for name in ("into q", "into k", "into v", "into mlp", "into logits")}
    out |= {name: {"edges": 0, "sum": 0.0, "sumAbs": 0.0} for name in ("from embed", "from head", "from mlp")}
    for edge, score in enumerate(scores.tolist()):
        for name in graph.kind(edge):
            out[name]["edges"] += 1
            out[name]["sum"] += score
            out[name]["sumAbs"] += abs(score)
    return out


def ends_of(model, pairs):
    side = lambda name: mean([pair.metric(model.run(pair.ids(name))).item() for pair in pairs])
    return {"clean": side("clean"), "corrupt": side("corrupt")}


def circuit_metric(model, graph, pairs, kept):
    return mean([assembled(model, graph, pair, kept) for pair in pairs])


def without(graph, edges):
    kept = np.ones(len(graph.edges), dtype=bool)
    kept[list(edges)] = False
    return kept


def exact_of(model, graph, pair):
    """Metric with one edge alone corrupted, less the clean one."""
    clean = pair.metric(model.run(pair.ids("clean"))).item()
    values = [assembled(model, graph, pair, without(graph, [e])) - clean for e in range(len(graph.edges))]
    return torch.tensor(values, dtype=torch.float64)


def one_edge(model, graph, pair, edges):
    """The same for a few edges: a destination alone reads another output of one source, everything before it is clean."""
    kept = {}
    clean, logits = outputs_of(model, pair.ids("clean"), record(kept, "hook_resid_pre"))
    corrupt, _ = outputs_of(model, pair.ids("corrupt"))
    values = []
    for edge in edges:
        source, destination = graph.edges[edge]
        change = corrupt[source] - clean[source]
        layer = model.n_layers - 1 if destination == "logits" else int(destination[1:].split(".")[0])

        def edit(name, x, destination=destination, layer=layer, change=change):
            if destination == "logits":
                return x + change if name == "final" else x
            if destination[0] == "m":
                return x + change if name == f"blocks.{layer}.hook_mlp_in" else x
            if name == f"blocks.{layer}.hook_{destination[-2]}_input":
                x = x.clone()
                x[:, :, int(destination.split(".h")[1][:-3])] += change
            return x

        stream = kept[f"blocks.{layer}.hook_resid_pre"]
        values.append(pair.metric(model.run(None, edit, split=True, start=(layer, stream))) - pair.metric(logits))
    return torch.cat(values)


def curve_of(model, graph, pairs, order, sizes):
    """Faithfulness of the first edges of `order`, with the areas over the share of edges up to all of them."""
    total, ends = len(graph.edges), ends_of(model, pairs)
    curve = []
    for size in sizes:
        metric = circuit_metric(model, graph, pairs, ~without(graph, order[:size]))
        curve.append(
            {"edges": size, "share": size / total, "metric": metric, "faithfulness": faithfulness(metric, **ends)}
        )
    x = [point["share"] for point in curve] + [1.0]
    y = [point["faithfulness"] for point in curve] + [1.0]
    return {
        **ends,
        "total": total,
        "curve": curve,
        "cpr": float(np.trapezoid(y, x)),
        "cmd": float(np.trapezoid(np.abs(1 - np.array(y)), x)),
    }


# --- weights of heads ---------------------------------------------------------------------------------------------------


@dataclass
class Factors:
    """W_Q, W_K [d_model, D], W_V [d_model, D], W_O [D, d_model] of one head, W_E and W_U; raw or with the norms' gains."""

    W_Q: torch.Tensor
    W_K: torch.Tensor
    W_V: torch.Tensor
    W_O: torch.Tensor

    @property
    def OV(self):
        return self.W_V @ self.W_O

    @property
    def QK(self):
        return self.W_Q @ self.W_K.T


def fold(norm, weight):
    """A norm's gain into the matrix that reads from it [d_model, ...]; behind a LayerNorm also centred over d_model."""
    if norm is None:
        return weight
    weight = norm.w[:, None] * weight
    return weight - weight.mean(0, keepdim=True) if norm.kind == "layer" else weight


def factors_of(model, head, process):
    layer, h = head
    block, kv = model.blocks[layer], h // model.group
    norm = block.ln1 if process == "fold_ln" else None
    q, k, v = (fold(norm, weight) for weight in (block.W_Q[h], block.W_K[kv], block.W_V[kv]))
    return Factors(*(weight.double() for weight in (q, k, v, block.W_O[h])))


def head_name(head):
    return f"{head[0]}.{head[1]}"


def spectrum(matrix):
    values = torch.linalg.svdvals(matrix)
    return {"singular": values[:5], "norm": matrix.norm().item()}


def heads_of(model, heads, process, pairs, most=None):
    # Sums over the vocabulary lose digits in float32.
    W_E, W_U = model.W_E.double(), fold(model.ln_final if process == "fold_ln" else None, model.W_U).double()
    found = {head: factors_of(model, head, process) for head in heads}
    rows, token_pairs = [], []
    for head, f in found.items():
        values = torch.linalg.eigvals(f.W_O @ (W_U @ (W_E @ f.W_V)))
        copying = (values.real.sum() / values.abs().sum()).item()
        rows.append({"head": head_name(head), "copying": copying, "ov": spectrum(f.OV), "qk": spectrum(f.QK)})
        if most is None or len(token_pairs) < most:
            token_pairs.append({"head": head_name(head), **token_pairs_of(W_E @ f.W_V, f.W_O @ W_U, pairs)})
    composition = []
    for sender in heads:
        for receiver in heads:
            if sender[0] >= receiver[0]:
                continue
            OV, QK, V = found[sender].OV, found[receiver].QK, found[receiver].OV
            ratio = lambda other: ((OV @ other).norm() / (OV.norm() * other.norm())).item()
            ends = {"from": head_name(sender), "to": head_name(receiver)}
            composition.append({**ends, "q": ratio(QK), "k": ratio(QK.T), "v": ratio(V)})
    return {"heads": rows, "composition": composition, "tokenPairs": token_pairs}


def token_pairs_of(reads, writes, count):
    """Largest entries of reads [d_vocab, D] @ writes [D, d_vocab], and the ranks of its diagonal, a chunk of rows at a time."""
    best, ranks = [], []
    for first in range(0, len(reads), 1024):
        rows = reads[first : first + 1024] @ writes
        own = rows[torch.arange(len(rows)), torch.arange(first, first + len(rows))]
        ranks.append((rows > own[:, None]).sum(1))
        top = rows.flatten().topk(count)
        best += [(v.item(), first + int(i) // rows.shape[1], int(i) % rows.shape[1]) for v, i in zip(*top)]
    ranks = torch.cat(ranks).double()
    best.sort(reverse=True)
    return {
        "pairs": [{"source": s, "target": t, "value": v} for v, s, t in best[:count]],
        "diagonal": {
            "top1": (ranks == 0).double().mean().item(),
            "top10": (ranks < 10).double().mean().item(),
            "median": float(np.median(ranks.numpy())),
            "mean": ranks.mean().item(),
        },
    }


# --- vectors ------------------------------------------------------------------------------------------------------------


def function_vector_of(model, cases, top, layers):
    H, L = model.n_heads, model.n_layers
    zs = []
    for case in cases:
        kept = {}
        model.run(torch.tensor([case["clean"]]), record(kept, "attn.hook_z"))
        zs.append(torch.stack([kept[f"blocks.{l}.attn.hook_z"][0, -1] for l in range(L)]))  # [L, H, D]
    z = mean(zs)
    probability = lambda logits, case: logits.softmax(-1)[:, case["answer"]]
    table, per_case = torch.zeros(L, H, dtype=z.dtype), []
    for case in cases:
        kept = {}
        shuffled = torch.tensor([case["shuffled"]])
        base = probability(model.run(shuffled, record(kept, "hook_resid_pre")), case).item()
        clean = probability(model.run(torch.tensor([case["clean"]])), case).item()
        per_case.append({"clean": clean, "shuffled": base})
        for l in range(L):

            def one_each(name, x, l=l):
                if name == f"blocks.{l}.attn.hook_z":
                    x = x.clone()
                    for h in range(H):
                        x[h, -1, h] = z[l, h]
                return x

            stream = kept[f"blocks.{l}.hook_resid_pre"].expand(H, -1, -1)
            table[l] += (probability(model.run(None, one_each, start=(l, stream)), case) - base) / len(cases)
    best = table.flatten().argsort(descending=True)[:top].tolist()
    heads = [(i // H, i % H) for i in best]
    vector = sum(z[l, h] @ model.blocks[l].W_O[h] for l, h in heads)

    def zero_shot(layer):
        probabilities, ranks = [], []
        for case in cases:

            def add(name, x):
                if name == f"blocks.{layer}.hook_resid_post":
                    x = x.clone()
                    x[:, -1] += vector
                return x

            logits = model.run(torch.tensor([case["zero"]]), add)
            probabilities.append(probability(logits, case).item())
            ranks.append(int((logits[0] > logits[0, case["answer"]]).sum()))
        return {"probability": mean(probabilities), "ranks": ranks}

    return {
        "cases": cases,
        "top": top,
        "values": table,
        "heads": [head_name(head) for head in heads],
        "vector": vector,
        "perCase": per_case,
        "zeroShot": {"none": zero_shot(None), **{str(layer): zero_shot(layer) for layer in layers}},
        # How far apart the two heads are that decide who is the last of the top.
        "margin": (table.flatten()[best[-1]] - table.flatten().sort(descending=True).values[top]).item(),
    }


def steering_of(model, rows, layer, positions, scale, vocabulary, top=5):
    vector = torch.tensor([3 * math.sin(i) for i in range(model.d_model)], dtype=model.W_E.dtype)
    ids, kept, name = torch.tensor(rows), {}, f"blocks.{layer}.hook_resid_post"
    T = ids.shape[1]
    at = {"all": list(range(T)), "last": [T - 1]}[positions] if isinstance(positions, str) else positions

    def add(point, x):
        if point == name:
            x = x.clone()
            x[:, at] += scale * vector
        return x

    base, steered = model.run(ids, record(kept, name)), model.run(ids, add)
    best = lambda logits: [{"id": int(i), "logit": v.item()} for v, i in zip(*logits[0].topk(top))]
    return {
        "rows": rows,
        "layer": layer,
        "positions": positions,
        "scale": scale,
        "norm": vector.norm().item(),
        "residNorm": kept[name][:, at].norm(dim=-1).mean().item(),
        "base": {"top": best(base)},
        "steered": {"top": best(steered)},
        "vocabulary": vocabulary,
        "lastLogits": steered[:, vocabulary],  # of each row, some ids
    }
