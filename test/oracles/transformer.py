"""A transformer of named pieces in plain PyTorch, with the weights of any of the families of test/fixtures/families.

One forward serves them all; its pieces are what circuits are made of: every head's and MLP's contribution to the residual
stream, and a copy of the stream for every query, key, value and MLP that reads it. `of` checks its logits against those of
transformers before anything is done with it. Axes: B rows, T positions, H query heads, G key-value heads, D of a head.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.activations import ACT2FN


@dataclass
class Norm:
    kind: str  # "rms" or "layer"
    w: Tensor
    b: Tensor | None
    eps: float

    def scale(self, x: Tensor) -> Tensor:
        """What x is divided by [..., 1]."""
        return (self.centred(x).square().mean(-1, keepdim=True) + self.eps).sqrt()

    def centred(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.kind == "layer" else x

    def share(self, part: Tensor, scale: Tensor) -> Tensor:
        """What a summand of the stream comes to where the whole stream has this scale; the bias left out."""
        return self.centred(part) * self.w / scale

    def __call__(self, x: Tensor) -> Tensor:
        out = self.share(x, self.scale(x))
        return out if self.b is None else out + self.b


def normed(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


def plus(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias


@dataclass
class Block:
    W_Q: Tensor  # [H, d_model, D]
    W_K: Tensor  # [G, d_model, D]
    W_V: Tensor
    W_O: Tensor  # [H, D, d_model]
    W_in: Tensor  # [d_model, d_mlp]
    W_out: Tensor
    W_gate: Tensor | None = None
    b_Q: Tensor | None = None  # [H, D]
    b_K: Tensor | None = None
    b_V: Tensor | None = None
    b_O: Tensor | None = None
    b_in: Tensor | None = None
    b_out: Tensor | None = None
    ln1: Norm | None = None
    ln1_post: Norm | None = None
    ln2: Norm | None = None
    ln2_post: Norm | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    qk_norm_all: bool = False  # over all heads as one vector
    window: int | None = None  # keys that a query reaches, its own included


@dataclass
class Transformer:
    blocks: list[Block]
    W_E: Tensor  # [d_vocab, d_model]
    W_U: Tensor  # [d_model, d_vocab]
    ln_final: Norm
    attn_scale: float
    activation: object
    W_pos: Tensor | None = None
    b_U: Tensor | None = None
    embed_scale: float = 1.0
    parallel: bool = False
    scores_cap: float | None = None
    logits_cap: float | None = None
    inv_freq: Tensor | None = None
    rotary_gain: float = 1.0
    family: str = ""
    extra: dict = field(default_factory=dict)

    @property
    def n_layers(self):
        return len(self.blocks)

    @property
    def n_heads(self):
        return self.blocks[0].W_Q.shape[0]

    @property
    def n_kv(self):
        return self.blocks[0].W_K.shape[0]

    @property
    def group(self):
        return self.n_heads // self.n_kv

    @property
    def d_model(self):
        return self.W_E.shape[1]

    def embed(self, ids: Tensor) -> Tensor:
        """All that stands in the stream before layer 0 [B, T, d_model]."""
        x = self.W_E[ids] * self.embed_scale
        return x if self.W_pos is None else x + self.W_pos[: ids.shape[1]]

    def rotate(self, x: Tensor) -> Tensor:
        """@param x [B, T, heads, D]"""
        if self.inv_freq is None:
            return x
        angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * self.inv_freq  # [T, rotary / 2]
        cos, sin = (f(angles)[:, None] * self.rotary_gain for f in (torch.cos, torch.sin))
        half = self.inv_freq.shape[0]
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)

    def unembed(self, x: Tensor, capped: bool = True) -> Tensor:
        """Logits of a stream [..., d_model]: final norm with its own statistics, unembedding, bias, soft cap."""
        logits = plus(self.ln_final(x) @ self.W_U, self.b_U)
        return self.cap(logits) if capped else logits

    def cap(self, logits: Tensor) -> Tensor:
        return logits if self.logits_cap is None else self.logits_cap * torch.tanh(logits / self.logits_cap)

    def run(self, ids: Tensor, hook=lambda name, x: x, read=None, split=False, start=None) -> Tensor:
        """Logits at the last position [B, d_vocab].

        hook(name, x) sees and may replace every named activation. With `split` (or `read`) every query head has copies of
        the stream of its own for query, key and value: hook_q_input, hook_k_input, hook_v_input [B, T, H, d_model], keys and
        values ungrouped. read(destinations, written, constant) gives the input of the destinations named, [B, T, each,
        d_model], from all outputs written so far, each [B, T, d_model], and the biases that belong to no source.
        start (layer, stream [B, T, d_model]) begins there instead of with ids.
        """
        H = self.n_heads
        first, stream = start if start is not None else (0, hook("embed", self.embed(ids)))
        written, constant = [stream], torch.zeros(self.d_model, dtype=stream.dtype)
        split = split or read is not None

        for l, block in enumerate(self.blocks):
            if l < first:
                continue
            at = lambda name, x, l=l: hook(f"blocks.{l}.{name}", x)
            stream = before = at("hook_resid_pre", stream)
            inputs = {}
            for part in "qkv":
                if read is not None:
                    copies = read([f"a{l}.h{h}<{part}>" for h in range(H)], written, constant)
                else:
                    copies = stream[:, :, None].expand(-1, -1, H if split else 1, -1)
                inputs[part] = at(f"hook_{part}_input", copies) if split else copies
            q, k, v = (self.project(block, inputs[part], part, split) for part in "qkv")
            z = self.attend(block, at("attn.hook_q", q), at("attn.hook_k", k), at("attn.hook_v", v), at)
            z = at("attn.hook_z", z)  # [B, T, H, D]
            heads = torch.einsum("bthd,hdm->bthm", z, block.W_O)
            whole = plus(heads.sum(2), block.b_O)
            bias = block.b_O
            if block.ln1_post is not None:
                assert bias is None, "a bias in front of a norm behind attention is no family's"
                heads = block.ln1_post.share(heads, block.ln1_post.scale(whole)[:, :, None])
            heads = at("head_out", heads)  # [B, T, H, d_model], what each head adds to the stream
            middle = stream + at("hook_attn_out", plus(heads.sum(2), bias))
            if not self.parallel:
                middle = at("hook_resid_mid", middle)
            seen = [*written, *heads.unbind(2)], plus(constant, bias)
            if read is not None:
                reads = read([f"m{l}"], *((written, constant) if self.parallel else seen))[:, :, 0]
            else:
                reads = before if self.parallel else middle
            reads = normed(block.ln2, at("hook_mlp_in", reads))
            hidden = plus(reads @ block.W_in, block.b_in)
            if block.W_gate is None:
                post = self.activation(hidden)
            else:
                post = self.activation(reads @ block.W_gate) * hidden
            mlp = plus(at("mlp.hook_post", post) @ block.W_out, block.b_out)
            mlp = at("hook_mlp_out", normed(block.ln2_post, mlp))
            written, constant = [*seen[0], mlp], seen[1]
            stream = at("hook_resid_post", middle + mlp)
        if read is not None:
            stream = read(["logits"], written, constant)[:, :, 0]
        return self.unembed(hook("final", stream)[:, -1])

    def project(self, block: Block, x: Tensor, part: str, split: bool) -> Tensor:
        """Queries, keys or values of copies of the stream [B, T, H or 1, d_model]."""
        weight, bias = {"q": (block.W_Q, block.b_Q), "k": (block.W_K, block.b_K), "v": (block.W_V, block.b_V)}[part]
        if split and part != "q":
            weight = weight.repeat_interleave(self.group, 0)
            bias = None if bias is None else bias.repeat_interleave(self.group, 0)
        x = normed(block.ln1, x)
        if x.shape[2] == 1:
            return plus(torch.einsum("btm,hmd->bthd", x[:, :, 0], weight), bias)
        return plus(torch.einsum("bthm,hmd->bthd", x, weight), bias)

    def norm_heads(self, block: Block, x: Tensor, norm: Norm | None) -> Tensor:
        """Norms of queries or keys, by head or over all heads; of ungrouped keys each copy has its KV head's weight."""
        if norm is None:
            return x
        if not block.qk_norm_all:
            return norm(x)
        w = norm.w.reshape(-1, x.shape[-1])  # [heads, D]
        w = w.repeat_interleave(x.shape[2] // w.shape[0], 0)
        flat = x.flatten(2)
        return Norm("rms", w.flatten(), None, norm.eps)(flat).reshape(x.shape)

    def attend(self, block: Block, q, k, v, at) -> Tensor:
        q, k = (self.norm_heads(block, q, block.q_norm), self.norm_heads(block, k, block.k_norm))
        q, k = at("attn.hook_rot_q", self.rotate(q)), at("attn.hook_rot_k", self.rotate(k))
        k, v = (x.repeat_interleave(self.n_heads // x.shape[2], 2) for x in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * self.attn_scale
        if self.scores_cap is not None:
            scores = self.scores_cap * torch.tanh(scores / self.scores_cap)
        distance = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])
        allowed = (distance >= 0) & (distance < (block.window or q.shape[1]))
        scores = at("attn.hook_attn_scores", scores.masked_fill(~allowed, -torch.inf))
        pattern = at("attn.hook_pattern", scores.softmax(-1))
        return torch.einsum("bhqk,bkhd->bqhd", pattern, v)


# --- weights of transformers' classes -----------------------------------------------------------------------------------


def linear(module):
    """(W [in, out], b) of a Linear or of GPT-2's Conv1D."""
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
    return weight, module.bias


def by_head(weight, bias, heads):
    """[in, heads * D] as [heads, in, D], and the bias as [heads, D]."""
    split = weight.reshape(weight.shape[0], heads, -1).permute(1, 0, 2)
    return split, None if bias is None else bias.reshape(heads, -1)


def norm(module, gemma=False):
    if module is None:
        return None
    kind = "layer" if isinstance(module, torch.nn.LayerNorm) else "rms"
    eps = next(getattr(module, name) for name in ("eps", "variance_epsilon") if hasattr(module, name))
    return Norm(kind, module.weight + 1 if gemma else module.weight, getattr(module, "bias", None), eps)


def attention_parts(config, q, k, v, o):
    H = config.num_attention_heads
    G = getattr(config, "num_key_value_heads", None) or H
    parts = {}
    for letter, (weight, bias), heads in (("Q", q, H), ("K", k, G), ("V", v, G)):
        parts[f"W_{letter}"], parts[f"b_{letter}"] = by_head(weight, bias, heads)
    weight, bias = o
    return {**parts, "W_O": weight.reshape(H, -1, weight.shape[1]), "b_O": bias}


def mlp_parts(into, out, gate=None):
    (w_in, b_in), (w_out, b_out) = into, out
    return {"W_in": w_in, "b_in": b_in, "W_out": w_out, "b_out": b_out, "W_gate": gate}


def llama_block(config, layer, l):
    """Llama's layout and what its relatives changed: fused weights, norms behind, norms of queries and keys, windows."""
    attn, mlp, kind = layer.self_attn, layer.mlp, config.model_type
    gemma = kind == "gemma2"
    if kind == "phi3":
        weight, _ = linear(attn.qkv_proj)
        D = config.hidden_size // config.num_attention_heads
        sizes = [config.num_attention_heads * D, *[config.num_key_value_heads * D] * 2]
        q, k, v = ((part, None) for part in weight.split(sizes, 1))
        gate, up = linear(mlp.gate_up_proj)[0].chunk(2, 1)
        inner = mlp_parts((up, None), linear(mlp.down_proj), gate)
    else:
        q, k, v = (linear(module) for module in (attn.q_proj, attn.k_proj, attn.v_proj))
        inner = mlp_parts(linear(mlp.up_proj), linear(mlp.down_proj), linear(mlp.gate_proj)[0])
    if kind == "olmo2":
        norms = {"ln1_post": norm(layer.post_attention_layernorm), "ln2_post": norm(layer.post_feedforward_layernorm)}
    elif gemma:
        norms = {
            "ln1": norm(layer.input_layernorm, True),
            "ln1_post": norm(layer.post_attention_layernorm, True),
            "ln2": norm(layer.pre_feedforward_layernorm, True),
            "ln2_post": norm(layer.post_feedforward_layernorm, True),
        }
    else:
        norms = {"ln1": norm(layer.input_layernorm), "ln2": norm(layer.post_attention_layernorm)}
    if hasattr(attn, "q_norm"):
        norms |= {"q_norm": norm(attn.q_norm), "k_norm": norm(attn.k_norm), "qk_norm_all": kind == "olmo2"}
    types = getattr(config, "layer_types", None)
    windowed = types[l] == "sliding_attention" if types else True
    window = getattr(config, "sliding_window", None) if windowed else None
    return Block(**attention_parts(config, q, k, v, linear(attn.o_proj)), **inner, **norms, window=window)


def gpt2_block(config, layer, l):
    weight, bias = linear(layer.attn.c_attn)
    q, k, v = zip(weight.chunk(3, 1), bias.chunk(3))
    return Block(
        **attention_parts(config, q, k, v, linear(layer.attn.c_proj)),
        **mlp_parts(linear(layer.mlp.c_fc), linear(layer.mlp.c_proj)),
        ln1=norm(layer.ln_1),
        ln2=norm(layer.ln_2),
    )


def gpt_neo_block(config, layer, l):
    attn = layer.attn.attention
    q, k, v, o = (linear(module) for module in (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj))
    return Block(
        **attention_parts(config, q, k, v, o),
        **mlp_parts(linear(layer.mlp.c_fc), linear(layer.mlp.c_proj)),
        ln1=norm(layer.ln_1),
        ln2=norm(layer.ln_2),
        window=config.window_size if config.attention_layers[l] == "local" else None,
    )


def gpt_neox_block(config, layer, l):
    H = config.num_attention_heads
    weight, bias = linear(layer.attention.query_key_value)  # by head: query, key, value
    parts = weight.reshape(weight.shape[0], H, 3, -1)
    q, k, v = (
        (parts[:, :, i].flatten(1), None if bias is None else bias.reshape(H, 3, -1)[:, i].flatten()) for i in range(3)
    )
    return Block(
        **attention_parts(config, q, k, v, linear(layer.attention.dense)),
        **mlp_parts(linear(layer.mlp.dense_h_to_4h), linear(layer.mlp.dense_4h_to_h)),
        ln1=norm(layer.input_layernorm),
        ln2=norm(layer.post_attention_layernorm),
    )


def opt_block(config, layer, l):
    attn = layer.self_attn
    q, k, v, o = (linear(module) for module in (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj))
    return Block(
        **attention_parts(config, q, k, v, o),
        **mlp_parts(linear(layer.fc1), linear(layer.fc2)),
        ln1=norm(layer.self_attn_layer_norm),
        ln2=norm(layer.final_layer_norm),
    )


def named(model):
    """(layers, block reader, final norm, positions or None) of one of transformers' classes."""
    kind = model.config.model_type
    if kind in ("gpt2", "gpt_neo"):
        inner = model.transformer
        return inner.h, gpt2_block if kind == "gpt2" else gpt_neo_block, inner.ln_f, inner.wpe.weight
    if kind == "gpt_neox":
        return model.gpt_neox.layers, gpt_neox_block, model.gpt_neox.final_layer_norm, None
    if kind == "opt":
        inner = model.model.decoder
        return inner.layers, opt_block, inner.final_layer_norm, inner.embed_positions.weight[2:]
    return model.model.layers, llama_block, model.model.norm, None


def of(model, ids, dtype=torch.float64, tolerance=2e-5):
    """The Transformer with the weights of one of transformers' models, in `dtype`; its logits must be the model's own
    on `ids` [B, T]."""
    config = model.config
    with torch.no_grad():
        expected = model(torch.tensor(ids), use_cache=False).logits[:, -1]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    rotary = next((m for name, m in model.named_modules() if name.endswith("rotary_emb")), None)
    model = model.to(dtype)
    layers, read_block, last, positions = named(model)
    blocks = [read_block(config, layer, l) for l, layer in enumerate(layers)]
    kind, D = config.model_type, blocks[0].W_Q.shape[2]
    gemma = kind == "gemma2"
    act = next(getattr(config, n) for n in ("hidden_activation", "activation_function", "hidden_act") if hasattr(config, n))
    output = model.get_output_embeddings()
    scale = {"gpt_neo": 1.0, "gemma2": getattr(config, "query_pre_attn_scalar", 1) ** -0.5}.get(kind, D**-0.5)
    found = Transformer(
        blocks=blocks,
        W_E=model.get_input_embeddings().weight,
        W_U=output.weight.T,
        b_U=output.bias,
        ln_final=norm(last, gemma),
        attn_scale=scale,
        activation=ACT2FN[act],
        W_pos=positions,
        embed_scale=math.sqrt(config.hidden_size) if gemma else 1.0,
        parallel=kind == "gpt_neox" and config.use_parallel_residual,
        scores_cap=getattr(config, "attn_logit_softcapping", None),
        logits_cap=getattr(config, "final_logit_softcapping", None),
        inv_freq=None if rotary is None else rotary.inv_freq.to(dtype),
        rotary_gain=1.0 if rotary is None else rotary.attention_scaling,
        family=kind,
    )
    with torch.no_grad():
        worst = (found.run(torch.tensor(ids)) - expected).abs().max().item()
        apart = (found.run(torch.tensor(ids), split=True) - expected).abs().max().item()
    assert max(worst, apart) < tolerance, f"{kind}: logits differ from transformers' by {worst} (split {apart})"
    return found
