"""NumPy on small arrays: the cache policies that kvpress has not, each by its definition, in float64.

    python test/oracles/policies.py     writes policies/definitions.json (NumPy; ml_dtypes, if there, checks the minifloats)

One section of the file for each function below whose name stands in SECTIONS; the function's docstring is the
definition, and `parameters` what it was run with. `inputs` names the arrays that go in: array `name` of `shape`
(row-major) has the elements float32(n_i) · scale, where n_0, n_1, ... are the standard normal numbers of the seed SEED
and the array's own `stream` (backend/common/random.ts: new Random(22, stream).fillNormal); `kind` "uniform" instead:
the uniform doubles of Random.uniform. Scales are powers of two, so that nothing is rounded twice.

Letters: T prompt tokens, N decode steps after them, H query heads, G KV heads, query head h belongs to KV head floor(h
G / H), d head width. q [H, T + N, d], k and v [G, T + N, d] are taken as stored (rotations don't matter here); logits
are q · k / sqrt(d); causal. The token of decode step t (0-based) has position T + t; its key and value are in the cache
when it attends, so it sees itself. "Mean over the group" is over the H / G query heads of a KV head. Where scores are
equal the lower position wins. Lists of positions ascend. Floats have 7 significant digits. Agreement to expect: 1e-5 in
floats, lists exactly.

Where a paper leaves something open, the docstring says what was chosen ("here: ...").
"""

import json
import math
from pathlib import Path

import numpy as np

from tasks import philox, uniform

SEED = 22
HERE = Path(__file__).resolve().parent

# --- numbers ----------------------------------------------------------------------------------------------------------


def uniforms(stream, count):
    out = []
    for block in range((count + 1) // 2):
        w = philox([block, 0, stream, 0], [SEED, 0])
        out += [uniform(w[i], w[i + 1]) for i in (0, 2)]
    return out[:count]


def normals(stream, count):
    u = uniforms(stream, count + count % 2)
    out = []
    for a, b in zip(u[::2], u[1::2]):
        radius = math.sqrt(-2 * math.log(1 - a))
        out += [radius * math.cos(2 * math.pi * b), radius * math.sin(2 * math.pi * b)]
    return out[:count]


class Exact(list):
    """Numbers that are written with all their digits."""


class Inputs:
    """Draws the arrays of one section and remembers how."""

    def __init__(self, stream):
        self.stream = stream
        self.described = {}

    def draw(self, name, shape, scale=1, kind="normal"):
        count = math.prod(shape)
        numbers = normals(self.stream, count) if kind == "normal" else uniforms(self.stream, count)
        array = np.array(numbers).reshape(shape)
        if kind == "normal":
            array = array.astype(np.float32).astype(np.float64) * scale
        self.described[name] = {"kind": kind, "stream": self.stream, "shape": list(shape), "scale": scale}
        self.stream += 1
        return array

    def qkv(self, tokens, heads=4, kv_heads=2, width=8, scale=2):
        q = self.draw("q", (heads, tokens, width), scale)
        return q, self.draw("k", (kv_heads, tokens, width)), self.draw("v", (kv_heads, tokens, width))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def repeat(x, heads):
    return np.repeat(x, heads // x.shape[0], 0)


def logits_of(q, k):
    """Causal [H, T, T] of q [H, T, d], k [G, T, d]; minus infinity in the future."""
    x = np.einsum("hid,hjd->hij", q, repeat(k, len(q))) / math.sqrt(q.shape[-1])
    x[:, np.triu(np.ones(x.shape[1:], bool), 1)] = -np.inf
    return x


def group_mean(x, kv_heads):
    return x.reshape(kv_heads, -1, *x.shape[1:]).mean(1)


def best(scores, count):
    """Indices of the highest scores, ascending; equal ones by the lower index."""
    return np.sort(np.argsort(-np.asarray(scores), kind="stable")[:count])


def attend(q, k, v, position, lists):
    """z [H, d] and, by query head, the weights over lists[KV head]."""
    z, weights = [], []
    for h in range(len(q)):
        g = h * len(k) // len(q)
        rows = lists[g]
        w = softmax(k[g, rows] @ q[h, position] / math.sqrt(q.shape[-1]))
        weights.append(w)
        z.append(w @ v[g, rows])
    return np.array(z), weights


# --- token level ------------------------------------------------------------------------------------------------------


def accumulate(q, k, v, T, budget, recent, score_prompt, score_step):
    """The loop that H2O and Keyformer share: keep `recent` last positions and the budget's rest by accumulated
    score."""
    G, total = k.shape[0], k.shape[1]
    S = np.zeros((G, total))
    S[:, :T] = score_prompt(q[:, :T], k[:, :T])

    def cut(kept, g):
        old, new = kept[:-recent], kept[-recent:]
        return np.concatenate([old[best(S[g, old], budget - recent)], new])

    kept = [cut(np.arange(T), g) for g in range(G)]
    out = {"prefill": [list(x) for x in kept], "kept": [], "z": []}
    for t in range(total - T):
        lists = [np.append(x, T + t) for x in kept]
        z, weights = attend(q, k, v, T + t, lists)
        scores = score_step(t, lists, weights)
        for g in range(G):
            S[g, lists[g]] += scores[g]
        kept = [cut(lists[g], g) for g in range(G)]
        out["kept"].append([list(x) for x in kept])
        out["z"].append(z)
    out["scores"] = [S[g, kept[g]] for g in range(G)]
    return out


def h2o(inputs):
    """Heavy hitters with decode updates. budget n a KV head: recent = n - floor(n / 2), heavy = floor(n / 2). The score
    of a key is the attention that it has received from all queries so far, the prompt's (column sums of the causal
    pattern, its own query included) and each decode step's; mean over the group. At the end of the prefill and after
    every decode step (the new token's own attention counted, the new token among the recent): the last `recent`
    positions stay and of the others the `heavy` with the highest score. An evicted key's score is gone. `prefill`,
    `kept` [step][KV head]: positions; `z` [step][H][d]: what the step's query reads (before that step's eviction);
    `scores` [KV head]: of the finally kept, in their order."""
    T, N, n = 24, 6, 9
    q, k, v = inputs.qkv(T + N)
    G = k.shape[0]

    def step(_, lists, weights):
        g = len(weights) // G
        return [np.mean(weights[i * g : (i + 1) * g], 0) for i in range(G)]

    out = accumulate(q, k, v, T, n, n - n // 2, lambda a, b: group_mean(softmax(logits_of(a, b)).sum(1), G), step)
    return {"parameters": {"tokens": T, "steps": N, "budget": n}, **out}


def keyformer(inputs):
    """As h2o, with recent = trunc(0.3 n) and another score: softmax((x + noise) / tau) over the keys present, x the
    logits, noise Gumbel, -ln(-ln u), a number for each query head, query and key (`u_prompt` [H, T, T], future entries
    unused; `u` [H, N, T + N], by position of the key), tau = 1 in the prefill and 1 + (t + 1) / N at decode step t
    (0-based), so 2 at the last. Summed over queries, mean over the group. The attention itself (`z`) has neither noise
    nor tau."""
    T, N, n = 24, 6, 10
    q, k, v = inputs.qkv(T + N)
    H, G = len(q), len(k)
    gumbel = lambda u: -np.log(-np.log(u))
    first = gumbel(inputs.draw("u_prompt", (H, T, T), kind="uniform"))
    later = gumbel(inputs.draw("u", (H, N, T + N), kind="uniform"))

    def step(t, lists, _):
        scores = []
        for h in range(H):
            rows = lists[h * G // H]
            x = k[h * G // H, rows] @ q[h, T + t] / math.sqrt(q.shape[-1])
            scores.append(softmax((x + later[h, t, rows]) / (1 + (t + 1) / N)))
        return [np.mean(scores[g * H // G : (g + 1) * H // G], 0) for g in range(G)]

    prompt = lambda a, b: group_mean(softmax(logits_of(a, b) + first).sum(1), G)
    out = accumulate(q, k, v, T, n, int(0.3 * n), prompt, step)
    return {"parameters": {"tokens": T, "steps": N, "budget": n, "recent": int(0.3 * n)}, **out}


def razor_attention(inputs):
    """The compensation token of a head that is not kept whole: of the present positions 0 ... p it keeps the first
    `sinks` and the last `recent` (p among them) and drops m between. With K and V the means of the dropped keys and
    values, z = (m exp(q·K / sqrt d) V + sum_kept exp(q·k / sqrt d) v) / (m exp(q·K / sqrt d) + sum_kept exp(q·k / sqrt
    d)); with nothing dropped plain attention. While decoding the window slides and what leaves it enters the means. `z`
    [step][H][d]; `mass` [step][H]: the share of the softmax that the compensation token gets; `key`, `value` [KV
    head][d]: the means at the last step."""
    T, N, sinks, recent = 20, 4, 2, 6
    q, k, v = inputs.qkv(T + N)
    H, G, d = len(q), len(k), q.shape[-1]
    z, mass = [], []
    for p in range(T, T + N):
        dropped = np.arange(sinks, p + 1 - recent)
        kept = np.setdiff1d(np.arange(p + 1), dropped)
        row, share = [], []
        for h in range(H):
            g = h * G // H
            K, V = k[g, dropped].mean(0), v[g, dropped].mean(0)
            x = np.append(k[g, kept] @ q[h, p], K @ q[h, p]) / math.sqrt(d)
            x[-1] += math.log(len(dropped))
            w = softmax(x)
            row.append(w[:-1] @ v[g, kept] + w[-1] * V)
            share.append(w[-1])
        z.append(row)
        mass.append(share)
    return {
        "parameters": {"tokens": T, "steps": N, "sinks": sinks, "recent": recent},
        "z": z,
        "mass": mass,
        "key": k[:, dropped].mean(1),
        "value": v[:, dropped].mean(1),
    }


def quest(inputs):
    """Pages of `page` consecutive positions, with the channelwise minimum and maximum of their keys (the last page over
    what it holds). `scores` [step][H][pages]: sum over channels of max(q_c min_c, q_c max_c), not scaled. `heads`
    [step][H]: the pages that a query head would read by itself: the min(max(3, floor(budget / page)), pages) best.
    `pages` [step][KV head] here: what the KV head reads for its whole group: as many, by the mean of the group's
    scores, the newest page always among them (it takes the place of the worst). `z` [step][H][d]: attention over the
    positions of `pages`."""
    T, N, page, budget = 30, 4, 4, 13
    q, k, v = inputs.qkv(T + N)
    H, G = len(q), len(k)
    out = {"scores": [], "heads": [], "pages": [], "z": []}
    for p in range(T, T + N):
        count = p // page + 1
        take = min(max(3, budget // page), count)
        spans = [np.arange(i * page, min((i + 1) * page, p + 1)) for i in range(count)]
        scores = np.empty((H, count))
        for h in range(H):
            for i, rows in enumerate(spans):
                keys = k[h * G // H, rows]
                scores[h, i] = np.maximum(q[h, p] * keys.min(0), q[h, p] * keys.max(0)).sum()
        shared = group_mean(scores, G)
        shared[:, -1] = np.inf
        pages = [best(x, take) for x in shared]
        out["scores"].append(scores)
        out["heads"].append([list(best(x, take)) for x in scores])
        out["pages"].append([list(x) for x in pages])
        out["z"].append(attend(q, k, v, p, [np.concatenate([spans[i] for i in x]) for x in pages])[0])
    return {"parameters": {"tokens": T, "steps": N, "page": page, "budget": budget}, **out}


def recycled_attention(inputs):
    """Every `stride` decode steps (steps 0, stride, 2 stride, ...) a query attends to everything, and the `budget` keys
    with the most attention (the maximum over the group's query heads, the step's own key among the candidates) are
    remembered by KV head. The steps between read those and the positions that came after that full step (their own
    included). `read` [step][KV head]: positions; `z` [step][H][d]."""
    T, N, stride, budget = 20, 7, 3, 6
    q, k, v = inputs.qkv(T + N)
    H, G = len(q), len(k)
    out = {"read": [], "z": []}
    full, chosen = 0, []
    for t in range(N):
        p = T + t
        if t % stride == 0:
            lists = [np.arange(p + 1)] * G
        else:
            lists = [np.append(chosen[g], np.arange(full + 1, p + 1)) for g in range(G)]
        z, weights = attend(q, k, v, p, lists)
        if t % stride == 0:
            full = p
            top = np.array(weights).reshape(G, H // G, -1).max(1)
            chosen = [best(x, budget) for x in top]
        out["read"].append([list(x) for x in lists])
        out["z"].append(z)
    return {"parameters": {"tokens": T, "steps": N, "stride": stride, "budget": budget}, **out}


def token_select(inputs):
    """At a step the logits of every query head over the cached keys (without the first `sinks` and the last `recent`,
    the step's own among these) are softmaxed by head and summed over all H heads; the `budget` best are read by every
    head, with the sinks and the recent ones. The choice is reused while the cosine of the step's query (all heads side
    by side, H d numbers) and the query that made the choice is above `similarity`; then too sinks and recent are the
    step's own. Queries: q_0 = `q0`, q_t = q_{t-1} + 0.5 e_t with `e` (e_0 unused). `fresh` [step]: whether a choice was
    made; `chosen`, `read` [step]: positions; `cosine` [step] with the query of the choice in force before the step
    (null at the first)."""
    T, N, sinks, recent, budget, similarity = 24, 7, 2, 4, 5, 0.9
    H, G, d = 4, 2, 8
    start, noise = inputs.draw("q0", (H, d), 2), inputs.draw("e", (N, H, d))
    k, v = inputs.draw("k", (G, T + N, d)), inputs.draw("v", (G, T + N, d))
    q = np.zeros((H, T + N, d))
    q[:, T] = start
    for t in range(1, N):
        q[:, T + t] = q[:, T + t - 1] + 0.5 * noise[t]
    out = {"fresh": [], "cosine": [], "chosen": [], "read": [], "z": []}
    maker = None
    for t in range(N):
        p = T + t
        now = q[:, p].reshape(-1)
        cosine = None if maker is None else float(now @ maker / np.linalg.norm(now) / np.linalg.norm(maker))
        fresh = cosine is None or cosine <= similarity
        if fresh:
            maker = now
            middle = np.arange(sinks, p + 1 - recent)
            votes = sum(softmax(k[h * G // H, middle] @ q[h, p] / math.sqrt(d)) for h in range(H))
            chosen = middle[best(votes, budget)]
        read = np.union1d(chosen, np.append(np.arange(sinks), np.arange(p + 1 - recent, p + 1)))
        out["fresh"].append(fresh)
        out["cosine"].append(cosine)
        out["chosen"].append(list(chosen))
        out["read"].append(list(read))
        out["z"].append(attend(q, k, v, p, [read] * G)[0])
    parameters = {"tokens": T, "steps": N, "sinks": sinks, "recent": recent, "budget": budget, "similarity": similarity}
    return {"parameters": parameters, **out}


def look_m(inputs):
    """Eviction as h2o's at the end of the prefill (budget n: recent n - floor(n / 2), heavy floor(n / 2)), then each
    evicted key goes to the kept key of the same KV head with the highest cosine to it. A kept key c with evicted E:
    averaged (c + sum E) / (|E| + 1); pivotal (c + sum (e + c) / 2) / (|E| + 1); weighted (c + sum s_e e) / (|E| + 1),
    s_e the cosine. Values are merged with the same partners and, weighted, the keys' s_e. `kept`, `target` (for each
    evicted position in order, the kept position it goes to) by KV head; `keys`, `values` by form [KV head][kept][d]."""
    T, n = 18, 7
    q, k, v = inputs.qkv(T)
    G = len(k)
    S = group_mean(softmax(logits_of(q, k)).sum(1), G)
    recent = n - n // 2
    out = {"kept": [], "target": [], "keys": {}, "values": {}}
    for g in range(G):
        kept = np.concatenate([best(S[g, : T - recent], n - recent), np.arange(T - recent, T)])
        gone = np.setdiff1d(np.arange(T), kept)
        unit = k[g] / np.linalg.norm(k[g], axis=-1, keepdims=True)
        similar = unit[gone] @ unit[kept].T
        target = similar.argmax(1)
        out["kept"].append(list(kept))
        out["target"].append(list(kept[target]))
        for name, array in (("keys", k[g]), ("values", v[g])):
            for form in ("averaged", "pivotal", "weighted"):
                merged = []
                for i, c in enumerate(kept):
                    mine = np.flatnonzero(target == i)
                    extra = array[gone[mine]]
                    if form == "pivotal":
                        extra = (extra + array[c]) / 2
                    if form == "weighted":
                        extra = similar[mine, i][:, None] * extra
                    merged.append((array[c] + extra.sum(0)) / (len(mine) + 1))
                out[name].setdefault(form, []).append(merged)
    return {"parameters": {"tokens": T, "budget": n}, **out}


def squeezed_attention(inputs):
    """k-means of each KV head's T fixed keys by cosine: C clusters; the first centres are the unit keys at floor((i +
    0.5) T / C); assign each key to the centre with the highest cosine; new centre: mean of the members' unit keys,
    scaled to unit length (an empty one stays); until nothing changes, at most 30 times. A cluster's centroid for
    look-up is the plain mean of its members' keys. For a query: S_i = exp(q·c_i / sqrt d) / sum_j N_j exp(q·c_j / sqrt
    d), N_j the members; here, for a KV head, the maximum over the group; clusters with S_i > threshold are read.
    `assign` [KV head][T]; `sizes`; `centroids`; for each of N queries (positions T ...; the fixed context only)
    `scores` [query][H][C], `clusters` [query][KV head] and `read` [query][KV head] positions. `calibrated`: by KV head
    the threshold for `sparsity`: over these N queries, all (query, cluster) pairs by falling score (maximum over the
    group), the score of the first pair with which the keys read, sum of N_i, reach (1 - sparsity) T N: pairs with a
    score at or above it are read. `levels`: two levels with a `coarse` one of D clusters that rules out `ruled_out` of
    the keys: `assign` [KV head][C], the clusters of the C centroids by the same k-means; here a coarse centroid is the
    mean of all its keys. Coarse scores and their `thresholds` [KV head], calibrated for ruled_out, as above. Clusters
    of a coarse one below its threshold (maximum over the group) get no score and count with N_j = 0 for that query; the
    others' scores follow with the smaller sum; here their threshold is calibrated on these. `read` [query][KV head]:
    positions."""
    T, N, C, threshold, sparsity, D, ruled_out = 40, 3, 8, 0.03, 0.7, 3, 0.5
    q, k, _ = inputs.qkv(T + N)
    H, G, d = len(q), len(k), q.shape[-1]
    fixed = k[:, :T]

    def k_means(rows, count):
        unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        centres = unit[[int((i + 0.5) * len(rows) / count) for i in range(count)]]
        before = None
        for _ in range(30):
            now = (unit @ centres.T).argmax(1)
            if before is not None and (now == before).all():
                break
            before = now
            for i in range(count):
                if (now == i).any():
                    mean = unit[now == i].mean(0)
                    centres[i] = mean / np.linalg.norm(mean)
        return now

    def calibrate(top, sizes, share):
        thresholds = []
        for g in range(G):
            pairs = sorted(((x, sizes[g][i]) for n in range(N) for i, x in enumerate(top[n][g]) if x > 0), reverse=True)
            running = np.cumsum([size for _, size in pairs])
            thresholds.append(pairs[np.flatnonzero(running >= share * T * N)[0]][0])
        return thresholds

    assign, centroids, sizes = [], [], []
    for g in range(G):
        now = k_means(fixed[g], C)
        assign.append(now)
        sizes.append(np.bincount(now, minlength=C))
        centroids.append([fixed[g, now == i].mean(0) for i in range(C)])
    centroids, sizes = np.array(centroids), np.array(sizes)
    scores = np.empty((N, H, C))
    for n in range(N):
        for h in range(H):
            g = h * G // H
            x = centroids[g] @ q[h, T + n] / math.sqrt(d)
            scores[n, h] = np.exp(x) / (sizes[g] * np.exp(x)).sum()
    top = scores.reshape(N, G, H // G, C).max(2)
    calibrated = calibrate(top, sizes, 1 - sparsity)
    above = [k_means(centroids[g], D) for g in range(G)]
    of_key = [above[g][assign[g]] for g in range(G)]
    coarse_sizes = [np.bincount(own, minlength=D) for own in of_key]
    coarse = np.array([[fixed[g, of_key[g] == i].mean(0) for i in range(D)] for g in range(G)])

    def group_scores(n, g, vectors, counts):
        x = [np.exp(vectors @ q[h, T + n] / math.sqrt(d)) for h in range(g * H // G, (g + 1) * H // G)]
        return np.max([e / (counts * e).sum() for e in x], 0)

    first = [[group_scores(n, g, coarse[g], coarse_sizes[g]) for g in range(G)] for n in range(N)]
    limits = calibrate(first, coarse_sizes, 1 - ruled_out)
    second = []
    for n in range(N):
        looked = [(first[n][g] >= limits[g])[above[g]] for g in range(G)]
        second.append([np.where(looked[g], group_scores(n, g, centroids[g], sizes[g] * looked[g]), 0) for g in range(G)])
    fine = calibrate(second, sizes, 1 - sparsity)
    both = [[list(np.flatnonzero((second[n][g] >= fine[g])[assign[g]])) for g in range(G)] for n in range(N)]
    clusters = [[list(np.flatnonzero(top[n, g] > threshold)) for g in range(G)] for n in range(N)]
    read = [[list(np.flatnonzero(np.isin(assign[g], clusters[n][g]))) for g in range(G)] for n in range(N)]
    return {
        "parameters": {"tokens": T, "queries": N, "clusters": C, "threshold": threshold, "sparsity": sparsity},
        "assign": assign,
        "sizes": sizes,
        "centroids": centroids,
        "scores": scores,
        "clusters": clusters,
        "read": read,
        "calibrated": calibrated,
        "levels": {
            "parameters": {"coarse": D, "ruledOut": ruled_out},
            "assign": above,
            "thresholds": limits,
            "read": both,
        },
    }


def actqkv(inputs):
    """A chunk of `chunk` queries follows T cached tokens, in each of L layers (array `q` holds the layers' heads one
    after the other, layer by layer, `k` likewise; layer 0's keys are drawn times `firstLayerKeysTimes`). Running mean
    of a query head: m_i = mean of q_0 ... q_i, over all positions so far. The probe of a head is sum w_i q_i over the
    chunk with w_i = |q_i - m_i| / their sum. Cached blocks of `block` positions are ranked by softmax over blocks of
    probe · mean key / sqrt d, mean over the group: `scores` [layer][KV head][blocks]. A layer's entropy is that of
    these, natural logarithm, mean over its KV heads (`entropy` [layer]); of `budget` · L blocks a layer gets, here,
    max(1, round(budget · L · its share of the entropies' sum)) (halves to even). `blocks` [layer][KV head]: the
    best."""
    L, T, chunk, block, budget, H, G, d = 3, 32, 6, 4, 5, 4, 2, 8
    q, k = inputs.draw("q", (L * H, T + chunk, d), 2), inputs.draw("k", (L * G, T, d))
    k[:G] *= 8  # a layer that knows what it wants
    means = np.cumsum(q, 1) / np.arange(1, T + chunk + 1)[:, None]
    far = np.linalg.norm(q - means, axis=-1)[:, T:]
    probe = ((far / far.sum(1, keepdims=True))[..., None] * q[:, T:]).sum(1)
    pooled = k.reshape(L * G, T // block, block, d).mean(2)
    scores = softmax(np.einsum("hd,hbd->hb", probe, repeat(pooled, L * H)) / math.sqrt(d))
    scores = group_mean(scores, L * G).reshape(L, G, -1)
    entropy = -(scores * np.log(scores)).sum(-1).mean(-1)
    counts = np.maximum(1, np.rint(budget * L * entropy / entropy.sum())).astype(int)
    blocks = [[list(best(scores[layer, g], counts[layer])) for g in range(G)] for layer in range(L)]
    parameters = {"layers": L, "tokens": T, "chunk": chunk, "block": block, "budget": budget, "firstLayerKeysTimes": 8}
    return {"parameters": parameters, "scores": scores, "entropy": entropy, "counts": counts, "blocks": blocks}


# --- bits -------------------------------------------------------------------------------------------------------------


def integers(x, bits, axis):
    """Asymmetric round to nearest of groups along an axis: codes, scale (max - min) / (2^bits - 1), minimum."""
    low, high = x.min(axis, keepdims=True), x.max(axis, keepdims=True)
    scale = (high - low) / (2**bits - 1)
    codes = np.rint((x - low) / np.where(scale == 0, 1, scale))
    return codes.astype(int), scale, low, codes * scale + low


def kivi(inputs):
    """Keys by channel over groups of `group` consecutive tokens, values by token over groups of `group` consecutive
    channels, each group with scale s = (max - min) / (2^bits - 1) and zero point min: code = round((x - min) / s),
    restored as code · s + min (a group of equal numbers: code 0). The last `recent` tokens stay as they are: values of
    tokens before T - recent are stored in bits; of the keys only whole groups before it, the first floor((T - recent) /
    group) · group tokens. For each of bits 2 and 4: `keys`, `values` {codes, scale, min} of the quantised tokens: codes
    [G][tokens][d], a key's scale and min [G][groups][d], a value's [G][tokens][groups]; `z` [H][d]: the last query's
    attention over the mixed cache."""
    T, group, recent = 22, 4, 5
    q, k, v = inputs.qkv(T)
    G, d = len(k), k.shape[-1]
    nk, nv = (T - recent) // group * group, T - recent
    out = {}
    for bits in (2, 4):
        codes, scale, low, restored = integers(k[:, :nk].reshape(G, nk // group, group, d), bits, 2)
        keys = {"codes": codes.reshape(G, nk, d), "scale": scale[:, :, 0], "min": low[:, :, 0]}
        mixed_k, mixed_v = k.copy(), v.copy()
        mixed_k[:, :nk] = restored.reshape(G, nk, d)
        codes, scale, low, restored = integers(v[:, :nv].reshape(G, nv, d // group, group), bits, 3)
        values = {"codes": codes.reshape(G, nv, d), "scale": scale[..., 0], "min": low[..., 0]}
        mixed_v[:, :nv] = restored.reshape(G, nv, d)
        z = attend(q, mixed_k, mixed_v, T - 1, [np.arange(T)] * G)[0]
        out[f"bits{bits}"] = {"keys": keys, "values": values, "z": z}
    return {"parameters": {"tokens": T, "group": group, "recent": recent}, **out}


FORMATS = {  # exponent bits, mantissa bits, bias, largest
    "E4M3": (4, 3, 7, 448.0),
    "E5M2": (5, 2, 15, 57344.0),
    "E3M2": (3, 2, 3, 28.0),
    "E2M3": (2, 3, 1, 7.5),
    "E2M1": (2, 1, 1, 6.0),
}


def minifloat_value(code, exponent_bits, mantissa_bits, bias):
    exponent, mantissa = code >> mantissa_bits, code & (2**mantissa_bits - 1)
    if exponent == 0:
        return mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return (1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias)


def minifloats(inputs):
    """Sign, e exponent bits, m mantissa bits: code (exponent << m) | mantissa; exponent 0: mantissa · 2^(1 - bias - m),
    else (1 + mantissa / 2^m) · 2^(exponent - bias). All finite codes count up to `largest`: E4M3 (bias 7, one NaN, no
    infinity) 448, E5M2 (15, with infinities, which are not used) 57344, E3M2 (3) 28, E2M3 (1) 7.5, E2M1 (1) 6. A number
    becomes the nearest value, halfway to the even code, beyond the largest the largest. In a cache each group of
    `group` numbers (as kivi's groups) has scale = max |x| / largest; stored is round(x / scale), restored times the
    scale (scale 0: zeros). `values` by format, of those with at most 6 bits: all values that are not negative, by code
    (E4M3's and E5M2's follow from the rule). `rounded`: of the given `x`. `grouped`: the first 8 numbers y, of array
    `y`, as one group: `scale`, `restored`."""
    y = inputs.draw("y", (8,), 2)
    out = {"values": {}, "x": [], "rounded": {}, "grouped": {}}
    x = [
        0,
        2**-17,
        3 * 2**-18,
        2**-10,
        3 * 2**-10,
        0.0625,
        0.09,
        0.125,
        0.1875,
        0.25,
        0.3125,
        0.75,
        1.0625,
        1.1875,
        1.25,
    ]
    x += [1.75, 2.5, -2.5, 3.5, 5, -5.1, 7, 7.3, 9, 17, 26, 30, 100, 440, 464, 500, 6e4]
    out["x"] = Exact(x)
    for name, (e, m, bias, largest) in FORMATS.items():
        table = np.array([minifloat_value(c, e, m, bias) for c in range(2 ** (e + m))])
        table = table[table <= largest]

        def rounded(numbers, table=table):
            result = []
            for number in numbers:
                distance = np.abs(table - abs(number))
                near = np.flatnonzero(distance == distance.min())
                code = near[0] if len(near) == 1 else next(c for c in near if c % 2 == 0)
                result.append(math.copysign(table[code], number))
            return np.array(result)

        check_minifloat(name, rounded, largest)
        out["values"][name] = Exact(table)
        out["rounded"][name] = Exact(rounded(x))
        scale = np.abs(y).max() / largest
        out["grouped"][name] = {"scale": scale, "restored": rounded(y / scale) * scale}
    out["values"] = {name: table for name, table in out["values"].items() if len(table) <= 32}
    return out


def check_minifloat(name, rounded, largest):
    """Against ml_dtypes on 2,000 numbers, where that is installed."""
    try:
        import ml_dtypes
    except ImportError:
        return
    types = {
        "E4M3": "float8_e4m3fn",
        "E5M2": "float8_e5m2",
        "E3M2": "float6_e3m2fn",
        "E2M3": "float6_e2m3fn",
        "E2M1": "float4_e2m1fn",
    }
    x = np.random.default_rng(0).normal(0, largest / 3, 2000).clip(-largest, largest)
    x = np.concatenate([x, x / 64, x / 1024]).astype(np.float32)
    assert (rounded(x) == x.astype(getattr(ml_dtypes, types[name])).astype(np.float64)).all(), name


def kvquant(inputs):
    """Keys (before the rotation) by channel, values by token; the first token stays exact and is in no vector. In a
    vector of n numbers the m = ceil(outliers · n / 2) largest and the m smallest stay exact; the others are normalised
    to x' = (x - c) / s with c = (max + min) / 2, s = (max - min) / 2 of those others. The 2^bits levels are shared by
    all vectors of the array (one layer's keys, or values): k-means of all x' weighted by the Fisher information F (here
    the squares of `f_k`, `f_v`, gradients). First centres: with the x' sorted and W their weights' total, the first x'
    whose running weight is at least (i + 0.5) / 2^bits · W; then nearest centre (halfway: the lower), weighted mean,
    until no assignment changes, at most 100 times (an empty centre stays). Stored is the index of the nearest level,
    restored level · s + c. `keys`, `values`: {levels, codes [G][T][d] (-1: exact), restored at codes >= 0 as rms error:
    `error` = root of the mean square of (restored - x) over the numbers in bits}."""
    T, bits, outliers = 25, 2, 0.08
    G, d = 2, 8
    out = {}
    for name, axis in (("keys", 1), ("values", 2)):
        x, f = inputs.draw(name, (G, T, d)), inputs.draw("f_" + name, (G, T, d))
        weight = f**2
        body = x[:, 1:]
        n = body.shape[axis]
        m = math.ceil(outliers * n / 2)
        order = np.argsort(body, axis=axis, kind="stable")
        dense = np.zeros(body.shape, bool)
        np.put_along_axis(dense, np.take(order, np.r_[0:m, n - m : n], axis=axis), True, axis=axis)
        inside = np.where(dense, np.nan, body)
        high, low = np.nanmax(inside, axis, keepdims=True), np.nanmin(inside, axis, keepdims=True)
        c, s = (high + low) / 2, (high - low) / 2
        normal = (body - c) / s
        levels = weighted_means(normal[~dense], weight[:, 1:][~dense], 2**bits)
        codes = np.abs(normal[..., None] - levels).argmin(-1)
        restored = levels[codes] * s + c
        error = math.sqrt(np.mean((restored - body)[~dense] ** 2))
        whole = np.full(x.shape, -1)
        whole[:, 1:] = np.where(dense, -1, codes)
        out[name] = {"levels": levels, "codes": whole, "error": error}
    return {"parameters": {"tokens": T, "bits": bits, "outliers": outliers}, **out}


def weighted_means(x, w, count):
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    running = np.cumsum(w)
    centres = np.array([x[np.flatnonzero(running >= (i + 0.5) / count * running[-1])[0]] for i in range(count)])
    before = None
    for _ in range(100):
        now = np.abs(x[:, None] - centres).argmin(1)
        if before is not None and (now == before).all():
            break
        before = now
        for i in range(count):
            if (now == i).any():
                centres[i] = np.average(x[now == i], weights=w[now == i])
    return centres


def xkv(inputs):
    """The keys of a group of `layers` adjacent layers side by side, [T, layers · G · d] (layer by layer, in a layer KV
    head by KV head), have the singular value decomposition U Σ Vᵀ, without centring. Stored are the token basis A = U_r
    Σ_r [T, r], shared by the group, and each layer's columns of V_rᵀ [r, G · d]; restored is their product. `singular`:
    the first r + 1 values; `restored` [layers][G][d]: the last token's keys; `error` [layers]: root of the mean square
    of (restored - k); `numbers`: stored, and `full`."""
    T, L, G, d, r = 20, 3, 2, 4, 5
    k = inputs.draw("k", (L, G, T, d))
    flat = k.transpose(2, 0, 1, 3).reshape(T, L * G * d)
    u, sigma, vt = np.linalg.svd(flat, full_matrices=False)
    back = ((u[:, :r] * sigma[:r]) @ vt[:r]).reshape(T, L, G, d).transpose(1, 2, 0, 3)
    return {
        "parameters": {"tokens": T, "layers": L, "rank": r},
        "singular": sigma[: r + 1],
        "restored": back[:, :, -1],
        "error": np.sqrt(((back - k) ** 2).mean((1, 2, 3))),
        "numbers": r * (T + L * G * d),
        "full": T * L * G * d,
    }


def shadowkv(inputs):
    """What is chosen: chunks of `chunk` positions of the prompt; a chunk's landmark is the mean of its keys (after the
    rotation). The `outliers` chunks of each KV head whose least similar key (smallest cosine between a key and its
    landmark) is the least similar of all are kept whole and fast. At a step the other chunks compete: softmax over
    their landmarks of q · landmark / sqrt d by query head, here the mean over the group; the floor(budget / chunk) best
    are fetched. Read are: outlier chunks, fetched chunks, everything after the prompt. (The rank of the keys before the
    rotation is a storage of its own: exact here.) `similar` [KV head][chunks]: the smallest cosines; `outliers` [KV
    head]; `fetched` [step][KV head]: chunks; `z` [step][H][d]."""
    T, N, chunk, outliers, budget = 32, 3, 4, 1, 9
    q, k, v = inputs.qkv(T + N)
    H, G, d = len(q), len(k), q.shape[-1]
    chunks = k[:, :T].reshape(G, T // chunk, chunk, d)
    landmarks = chunks.mean(2)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    similar = (unit(chunks) * unit(landmarks)[:, :, None]).sum(-1).min(-1)
    odd = [best(-similar[g], outliers) for g in range(G)]
    fetched, z = [], []
    for p in range(T, T + N):
        lists, row = [], []
        for g in range(G):
            others = np.setdiff1d(np.arange(T // chunk), odd[g])
            heads = q[g * H // G : (g + 1) * H // G, p]
            votes = softmax(heads @ landmarks[g, others].T / math.sqrt(d)).mean(0)
            row.append(others[best(votes, budget // chunk)])
            of = np.union1d(row[-1], odd[g])
            lists.append(np.concatenate([(of[:, None] * chunk + np.arange(chunk)).reshape(-1), np.arange(T, p + 1)]))
        fetched.append([list(x) for x in row])
        z.append(attend(q, k, v, p, lists)[0])
    parameters = {"tokens": T, "steps": N, "chunk": chunk, "outliers": outliers, "budget": budget}
    return {
        "parameters": parameters,
        "similar": similar,
        "outliers": [list(x) for x in odd],
        "fetched": fetched,
        "z": z,
    }


# --- heads and layers -------------------------------------------------------------------------------------------------


def headkv(inputs):
    """Budgets: every KV head of the model gives b / beta of its budget b to a pool of all L G heads; head h has b - b /
    beta + s_h · L G b / beta, s_h its score's share of the sum of all (scores that are not negative; here squares of
    `scores`), but at least the window and at most the prompt. Here what the bounds take or leave is taken from, or goes
    to, the others in proportion to their scores, until all add up to L G b: clip(b - b / beta + x s_h, window, tokens)
    with the x of that sum. Where even all heads with a score are full, the rest is shared evenly by those without.
    Rounded down, and what is missing of the sum goes to the largest fractions, one each, of equal ones the first.
    Inside a head snapkv picks. `budgets` [case][L G], heads in order, for each of `cases`; in the last all scores but
    the first three count as 0."""
    L, G = 4, 3
    scores = inputs.draw("scores", (L, G)).reshape(-1) ** 2
    cases = [
        {"tokens": 1000, "budget": 32, "beta": 1.25, "window": 8, "scored": 12},
        {"tokens": 60, "budget": 32, "beta": 1.25, "window": 8, "scored": 12},
        {"tokens": 64, "budget": 32, "beta": 1, "window": 8, "scored": 12},
        {"tokens": 100, "budget": 40, "beta": 1.1, "window": 30, "scored": 12},
        {"tokens": 50, "budget": 33, "beta": 2, "window": 4, "scored": 3},
    ]

    def clipped(case, x):
        share = np.where(np.arange(L * G) < case["scored"], scores, 0)
        start = case["budget"] * (1 - 1 / case["beta"])
        # Those without a score rise only where x is beyond all bounds: far behind the others.
        rise = np.where(share > 0, x * share / share[share > 0].min(), max(0, x - case["tokens"]))
        return np.clip(start + rise, case["window"], case["tokens"])

    budgets = []
    for case in cases:
        total, low, high = case["budget"] * L * G, 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if clipped(case, middle).sum() < total else (low, middle)
        exact = clipped(case, high)
        whole = np.floor(exact + 1e-9).astype(int)
        order = np.argsort(-np.round(exact - whole, 9), kind="stable")
        whole[order[: total - whole.sum()]] += 1
        assert whole.sum() == total
        budgets.append(whole)
    return {"cases": cases, "budgets": budgets}


def gemfilter(inputs):
    """The last query's attention (softmax by query head over all T keys) at the chosen layer, summed over all query
    heads; the `budget` best input tokens, in their order, are the whole model's input, at positions 0, 1, .... Here the
    last token is always among them (the next token is to follow it). `kept`: positions in the prompt."""
    T, budget = 40, 9
    q, k, _ = inputs.qkv(T)
    votes = softmax(logits_of(q, k))[:, -1].sum(0)
    votes[-1] = np.inf
    return {"parameters": {"tokens": T, "budget": budget}, "kept": list(best(votes, budget))}


def lazyllm(inputs):
    """At each layer of `percentiles` the tokens still there whose attention from the last token, mean over all query
    heads (softmax over the tokens still there), is below that percentile (NumPy's: linear between order statistics) of
    these attentions leave for the layers from the next on; the last token always stays. Layer l has its own q, k: `q`,
    `k` drawn [layers · heads]. `kept` [layer]: positions after it.

    Decode steps choose anew among all tokens, the step's own among them. A layer has run on a token at most once: in the
    step in which it was first there. One that is there and has no keys in a layer is run on from the stream with which
    it waits before that layer (it has run through all layers before it, since a token that is there was there before
    each earlier layer). Here the keys of a token in a layer are the drawn ones, whenever the layer runs. Of the prompt
    (entry 0) and each step: `steps` [entry][layer]: positions there after the layer; `ran` [entry][layer]: positions
    that the layer runs on; `waiting` [entry][layer]: positions that wait before the layer, afterwards."""
    T, N, percentiles, H, G, d = 30, 4, [0, 30, 50], 4, 2, 8
    L = len(percentiles)
    q, k = inputs.draw("q", (L * H, T, d), 2), inputs.draw("k", (L * G, T, d))
    q = np.concatenate([q, inputs.draw("moreQ", (L * H, N, d), 2)], 1)
    k = np.concatenate([k, inputs.draw("moreK", (L * G, N, d))], 1)

    def choose(last):
        here, out = np.arange(last + 1), []
        for layer, percentile in enumerate(percentiles):
            votes = np.zeros(len(here))
            for h in range(H):
                votes += softmax(k[layer * G + h * G // H, here] @ q[layer * H + h, last] / math.sqrt(d)) / H
            stay = votes >= np.percentile(votes, percentile)
            stay[-1] = True
            here = here[stay]
            out.append(list(here))
        return out

    out = {"steps": [], "ran": [], "waiting": []}
    depth = np.zeros(T + N, int)  # layers that have run on a token
    for step in range(N + 1):
        last = T - 1 + step
        after = choose(last)
        before = [list(range(last + 1))] + after[:-1]
        ran = []
        for layer in range(L):
            fresh = [p for p in before[layer] if depth[p] == layer]
            assert all(depth[p] >= layer for p in before[layer])
            depth[fresh] += 1
            ran.append(fresh)
        out["steps"].append(after)
        out["ran"].append(ran)
        out["waiting"].append([[p for p in range(last + 1) if depth[p] == layer] for layer in range(L)])
    return {"parameters": {"tokens": T, "steps": N, "percentiles": percentiles}, "kept": out["steps"][0], **out}


# --- prefill patterns -------------------------------------------------------------------------------------------------


def with_sinks(inputs, tokens, heads=4, width=8):
    """q [H, T, d], k [H, T, d] of heads that differ: head 0 as drawn, the keys of positions 0 and 1 of head 1 moved
    towards its queries' mean (k += 2 u, with u = 1 in every channel, and q += u), head 2 local (q_i += 3 k_i), head 3
    flat (q / 8)."""
    q, k = inputs.draw("q", (heads, tokens, width)), inputs.draw("k", (heads, tokens, width))
    q[1] += 1
    k[1, :2] += 2
    q[2] += 3 * k[2]
    q[3] /= 8
    return q, k


def diagonal_sums(pattern, length):
    """[T] by distance i - j of a pattern [rows, T] whose rows are the last queries."""
    rows = len(pattern)
    out = np.zeros(length)
    for r in range(rows):
        i = length - rows + r
        out[: i + 1] += pattern[r, i::-1]
    return out


def vertical_slash(pattern, vertical, slash, last, sinks, local):
    """Columns and distances of MInference's vertical-slash pattern from the last queries' attention."""
    T = len(pattern)
    late = pattern[T - last :]
    columns = late.sum(0)
    columns[:sinks] = np.inf
    distances = diagonal_sums(late, T)
    distances[:local] = np.inf
    return best(columns, min(vertical, T)), best(distances, min(slash, T))


def minference(inputs):
    """MInference's offline search (first version) for each head of a causal pattern A [T, T], over `candidates`: recall
    = mean over queries i >= `from` of the attention inside the pattern; the best recall wins, the earlier candidate on
    a tie (in floats there is none). Inputs are changed as with_sinks says (each head has its own keys). Patterns,
    always within the causal triangle:
    - stream_llm (a, b): columns j < a, and distances i - j <= b.
    - vertical_and_slash (a, b): the a columns with the largest sums over the last `last` queries, the first `sinks`
      always among them; the b distances with the largest sums over the diagonals of the same rows, distances below
      `local` always among them. This choice is also the online one (there sinks 30, local 100, last 64; in the search
      local is 30).
    - block_sparse (r, 1): blocks of `block` x `block`; mean queries · mean keys (a last short block is filled up with
      zeros and still divided by `block`); each query block reads its floor(blocks / r) best key blocks among those not
      in the future (all where there are fewer). `scores` [head][candidate]; `best` [head]: index of the candidate;
      `columns`, `distances` [head]: of `online` (a, b); `own` [head]: the recall of the last candidate, block_sparse,
      where each query block reads its own key block in any case."""
    T, last, sinks, local, block, start = 64, 8, 2, 4, 8, 40
    candidates = [
        ["stream_llm", 4, 12],
        ["vertical_and_slash", 2, 14],
        ["vertical_and_slash", 6, 8],
        ["vertical_and_slash", 9, 5],
        ["block_sparse", 3, 1],
    ]
    online = [6, 7]
    q, k = with_sinks(inputs, T)
    patterns = softmax(logits_of(q, k))
    i, j = np.indices((T, T))
    scores, columns, distances, own = [], [], [], []
    for h, A in enumerate(patterns):
        row = []
        for kind, a, b in candidates:
            if kind == "stream_llm":
                mask = (j < a) | (i - j <= b)
            elif kind == "vertical_and_slash":
                vertical, slash = vertical_slash(A, a, b, last, sinks, local)
                mask = np.isin(j, vertical) | np.isin(i - j, slash)
            else:
                blocks = T // block
                pooled = q[h].reshape(blocks, block, -1).mean(1) @ k[h].reshape(blocks, block, -1).mean(1).T
                chosen = np.zeros((blocks, blocks), bool)
                for r in range(blocks):
                    chosen[r, best(pooled[r, : r + 1], blocks // a)] = True
                mask = chosen[i // block, j // block]
            recall = lambda mask: (A * (mask & (j <= i)))[start:].sum(1).mean()
            row.append(recall(mask))
        scores.append(row)
        own.append(recall(mask | (i // block == j // block)))
        vertical, slash = vertical_slash(A, *online, last, sinks, local)
        columns.append(list(vertical))
        distances.append(list(slash))
    parameters = {
        "tokens": T,
        "last": last,
        "sinks": sinks,
        "local": local,
        "block": block,
        "from": start,
        "candidates": candidates,
        "online": online,
    }
    return {
        "parameters": parameters,
        "scores": scores,
        "best": np.argmax(scores, 1),
        "columns": columns,
        "distances": distances,
        "own": own,
    }


def fixed_patterns(inputs):
    """Patterns that follow from positions alone, always causal. `a-shape` (sinks, local): keys j < sinks and distances
    i - j < local. `tri-shape` (sinks, local, last): the same, and the last `last` queries read everything. By blocks (r
    query block, c key block): `s2-attention` (local, stride) of head h: r - c < local, or c mod stride = h mod stride,
    so that `stride` heads together read all blocks. `longgen` (layers L, sinks, local, stride in blocks): the layers
    floor(L / 3) ... floor(L / 3) + ceil(L / 3) - 1 are full, here; the others read blocks c < sinks, r - c < local, and
    c mod stride = 0. Each as keys (blocks) by query (block)."""
    T, n, L = 10, 8, 7
    i, j = np.indices((T, T))
    r, c = np.indices((n, n))
    rows = lambda mask: [list(np.flatnonzero(row)) for row in mask]
    a = (j <= i) & ((j < 2) | (i - j < 3))
    return {
        "parameters": {
            "tokens": T,
            "blocks": n,
            "layers": L,
            "heads": 3,
            "sinks": 2,
            "local": 3,
            "last": 2,
            "blockLocal": 2,
            "stride": 3,
            "blockSinks": 1,
        },
        "a-shape": rows(a),
        "tri-shape": rows(a | ((j <= i) & (i >= T - 2))),
        "s2-attention": [rows((c <= r) & ((r - c < 2) | (c % 3 == h % 3))) for h in range(3)],
        "longgen": {
            "full": list(range(L // 3, L // 3 + -(-L // 3))),
            "others": rows((c <= r) & ((c < 1) | (r - c < 2) | (c % 3 == 0))),
        },
    }


def hyperattention(inputs):
    """One head. Without a mask, for n queries and n keys: code of a vector = bits (x · plane_b > 0), bit b worth 2^b;
    its bucket is the place of the code in the binary-reflected Gray code (the number g with g xor (g >> 1) = code).
    Queries and keys are sorted by bucket, each by itself, stably. The query at sorted place i attends to the keys at
    sorted places of its block, floor(i / block), exactly, and to m sampled keys (sorted places `samples`, the same for
    all queries, with repetitions) whose logits are raised by ln(n / m); a sample in the query's own block counts
    nothing. One softmax over both. Causal: n positions are halved until n <= `exact`, where attention is exact; the
    later half's queries read the earlier half's keys by the scheme above and their own half's by recursion, joined by
    their softmax sums. Samples of the earlier half at positions [a, b), drawn in the order outermost first, then the
    earlier half's, then the later's: floor(u (b - a)) of the next m numbers of `u`. `z` [T][d]; `buckets` of all
    queries and keys; `joined`: the (a, b) in the order drawn."""
    T, d, bits, block, m, exact = 32, 8, 3, 4, 3, 8
    q, k, v = (inputs.draw(name, (T, d), scale) for name, scale in (("q", 2), ("k", 1), ("v", 1)))
    planes = inputs.draw("planes", (bits, d))
    u = list(inputs.draw("u", (3 * m,), kind="uniform"))
    gray = {g ^ (g >> 1): g for g in range(2**bits)}
    bucket = lambda x: np.array([gray[int(((row @ planes.T > 0) * 2 ** np.arange(bits)).sum())] for row in x])
    joined = []

    def scheme(rows, keys):
        n = len(keys)
        joined.append([int(keys[0]), int(keys[-1]) + 1])
        samples = [int(u.pop(0) * n) for _ in range(m)]
        by_query, by_key = (np.argsort(bucket(x), kind="stable") for x in (q[rows], k[keys]))
        logits = q[rows][by_query] @ k[keys][by_key].T / math.sqrt(d)
        values = v[keys][by_key]
        z, total = np.empty((n, d)), np.empty(n)
        for i in range(n):
            own = np.arange(i // block * block, (i // block + 1) * block)
            others = [s for s in samples if s // block != i // block]
            x = np.concatenate([logits[i, own], logits[i, others] + math.log(n / m)])
            z[by_query[i]] = softmax(x) @ values[np.concatenate([own, others]).astype(int)]
            total[by_query[i]] = np.log(np.exp(x).sum())
        return z, total

    def causal(rows):
        n = len(rows)
        if n <= exact:
            x = logits_of(q[rows][None], k[rows][None])[0]
            return softmax(x) @ v[rows], np.log(np.exp(x).sum(-1))
        first, second = rows[: n // 2], rows[n // 2 :]
        far, far_total = scheme(second, first)
        z, total = causal(first)
        near, near_total = causal(second)
        share = 1 / (1 + np.exp(far_total - near_total))
        return (
            np.concatenate([z, share[:, None] * near + (1 - share)[:, None] * far]),
            np.concatenate([total, np.logaddexp(near_total, far_total)]),
        )

    z, _ = causal(np.arange(T))
    parameters = {"tokens": T, "bits": bits, "block": block, "samples": m, "exact": exact}
    return {"parameters": parameters, "buckets": {"queries": bucket(q), "keys": bucket(k)}, "joined": joined, "z": z}


def xattention(inputs):
    """Tiles of stride x stride: the score of query tile a and key tile b is the sum of the tile's antidiagonal, sum_u
    q[a S + S - 1 - u] · k[b S + u], divided by sqrt(d) S; tiles of the future (b > a) are out; softmax over b. A block
    of `block` x `block` has the sum of its (block / S)^2 tile weights: `scores` [head][blocks][blocks]. In each row of
    blocks the first and the diagonal block are taken; then, by falling score, others as long as the score taken so far
    is below threshold · the row's total. `blocks` [head][row]: key blocks. Inputs are changed as with_sinks says (each
    head has its own keys)."""
    T, S, block, threshold = 64, 4, 8, 0.75
    q, k = with_sinks(inputs, T)
    H, d = len(q), q.shape[-1]
    q, k = q * 2, k * 2  # so that the averages over a tile still differ
    n, tiles = T // block, T // S
    tile_q = q.reshape(H, tiles, S, d)[:, :, ::-1].reshape(H, tiles, S * d)
    x = tile_q @ k.reshape(H, tiles, S * d).transpose(0, 2, 1) / math.sqrt(d) / S
    x[:, np.triu(np.ones((tiles, tiles), bool), 1)] = -np.inf
    scores = softmax(x).reshape(H, n, block // S, n, block // S).sum((2, 4))
    blocks = []
    for h in range(H):
        rows = []
        for r in range(n):
            taken = sorted({0, r})
            mass = scores[h, r, taken].sum()
            for b in np.argsort(-scores[h, r, : r + 1], kind="stable"):
                if b in taken:
                    continue
                if mass >= threshold * scores[h, r].sum():
                    break
                taken.append(int(b))
                mass += scores[h, r, b]
            rows.append(sorted(taken))
        blocks.append(rows)
    return {
        "parameters": {"tokens": T, "stride": S, "block": block, "threshold": threshold, "times": 2},
        "scores": scores,
        "blocks": blocks,
    }


def flexprefill(inputs):
    """By head, with B = block, n = T / B blocks. P [B, T]: the causal attention of the last B queries. vertical = its
    mean over the queries, by key; slash = the sums of its diagonals divided by B, by distance (both sum to 1). estimate
    [n] = softmax(mean of the last B queries · mean key of each block / sqrt d); truth [n] = vertical summed by block;
    divergence = sqrt(JSD(estimate, truth)), natural logarithm, JSD = (KL(p | m) + KL(q | m)) / 2, m = (p + q) / 2.
    counts: cover(x) = 1 + how many running sums of x in falling order are <= gamma; columns: floor(cover(vertical) / B)
    + 1 blocks, distances: floor(cover(slash) / B) + 1, each at least `least` and at most n. divergence < tau: the head
    is query-aware (`aware`): both counts become `least`. Chosen columns: the best blocks of truth, block 0 always
    first; chosen distances: the best blocks of slash, summed over distances b B ... b B + B - 1, block distance 0
    always first. Block (r, c) is read where c is a chosen column, or r - c a chosen distance; block (0, 0) always. A
    query-aware head reads besides: the pairs (r, c), c <= r, of softmax over c of (mean query of r · mean key of c /
    sqrt d), all n(n+1)/2 (and the zeros of the future) in falling order while their running sum is <= gamma n.
    `divergence`, `aware`, `columns`, `distances` [head]; `blocks` [head][row]: key blocks. Inputs are changed as
    with_sinks says (each head has its own keys)."""
    T, B, gamma, tau, least = 64, 4, 0.8, 0.12, 1
    q, k = with_sinks(inputs, T)
    H, d = len(q), q.shape[-1]
    n = T // B
    patterns = softmax(logits_of(q, k))
    mean_q, mean_k = q.reshape(H, n, B, d).mean(2), k.reshape(H, n, B, d).mean(2)
    out = {"divergence": [], "aware": [], "columns": [], "distances": [], "blocks": []}
    cover = lambda x: 1 + int((np.cumsum(-np.sort(-x)) <= gamma).sum())
    for h in range(H):
        late = patterns[h, T - B :]
        vertical, slash = late.mean(0), diagonal_sums(late, T) / B
        truth, by_distance = vertical.reshape(n, B).sum(1), slash.reshape(n, B).sum(1)
        estimate = softmax(mean_k[h] @ mean_q[h, -1] / math.sqrt(d))
        m = (estimate + truth) / 2
        divergence = math.sqrt(0.5 * (estimate * np.log(estimate / m)).sum() + 0.5 * (truth * np.log(truth / m)).sum())
        aware = divergence < tau
        counts = [least, least] if aware else [min(n, max(least, cover(x) // B + 1)) for x in (vertical, slash)]
        truth[0], by_distance[0] = np.inf, np.inf
        columns, distances = best(truth, counts[0]), best(by_distance, counts[1])
        r, c = np.indices((n, n))
        read = (np.isin(c, columns) | np.isin(r - c, distances)) & (c <= r)
        if aware:
            x = mean_q[h] @ mean_k[h].T / math.sqrt(d)
            x[c > r] = -np.inf
            flat = softmax(x).reshape(-1)
            order = np.argsort(-flat, kind="stable")
            taken = order[np.cumsum(flat[order]) <= gamma * n]
            read.reshape(-1)[taken] = True
            read &= c <= r
        out["divergence"].append(divergence)
        out["aware"].append(bool(aware))
        out["columns"].append(list(columns))
        out["distances"].append(list(distances))
        out["blocks"].append([list(np.flatnonzero(row)) for row in read])
    return {"parameters": {"tokens": T, "block": B, "gamma": gamma, "tau": tau, "least": least}, **out}


SECTIONS = {
    "h2o": h2o,
    "keyformer": keyformer,
    "razor-attention": razor_attention,
    "quest": quest,
    "recycled-attention": recycled_attention,
    "token-select": token_select,
    "look-m": look_m,
    "squeezed-attention": squeezed_attention,
    "kivi": kivi,
    "minifloat": minifloats,
    "kvquant": kvquant,
    "xkv": xkv,
    "shadowkv": shadowkv,
    "headkv": headkv,
    "gemfilter": gemfilter,
    "lazyllm": lazyllm,
    "fixed-patterns": fixed_patterns,
    "minference": minference,
    "xattention": xattention,
    "flexprefill": flexprefill,
    "actqkv": actqkv,
    "hyperattention": hyperattention,
}


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, Exact):
        return [float(v) for v in value]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        rounded = float(f"{float(value):.7g}")
        return int(rounded) if rounded == int(rounded) else rounded
    return int(value) if isinstance(value, np.integer) else value


def main():
    lines = []
    for i, (name, section) in enumerate(SECTIONS.items()):
        inputs = Inputs(16 * (i + 1))
        result = plain(section(inputs))
        entry = {"inputs": inputs.described, **result}
        lines.append(f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}")
    path = HERE / "policies" / "definitions.json"
    path.write_text(f'{{"seed":{SEED},"numpy":"{np.__version__}",\n' + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
