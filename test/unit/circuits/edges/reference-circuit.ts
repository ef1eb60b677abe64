import type { TokenPair } from "../../../../backend/circuits/pairs.ts";
import { localWindow } from "../../../../backend/models/config.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { rotaryFrequencies } from "../../../../backend/models/transformer/rope.ts";
import type { BlockWeights } from "../../../../backend/models/weights/block-parts.ts";
import {
  apply,
  cap,
  data,
  dot,
  mlp,
  norm,
  plus,
  rms,
  rotated,
  type Vector,
} from "../../../helpers/reference-transformer.ts";

/** Outputs of nodes by name, [position][d_model], and under "rest {layer}" what a layer's attention adds beside its heads. */
type Outputs = Map<string, Vector[]>;
/** Chooses the run from whose output an edge reads. */
type Edges = (from: string, to: string) => boolean;

/**
 * A circuit's run in plain float64 arithmetic, one destination after the other: each reads the sum of its sources' outputs, of this
 * run where the edge is in the circuit, else of the corrupt one.
 * @returns logit(answer) - logit(wrong) at the last position
 */
export function referenceCircuit(model: Model, pair: TokenPair, inCircuit: Edges): number {
  const corrupt = run(model, pair.corrupt, () => true, undefined).outputs;
  const { logits } = run(model, pair.clean, inCircuit, corrupt);
  return logits[Number(pair.answer)]! - logits[Number(pair.wrong)]!;
}

function run(
  model: Model,
  tokens: readonly number[],
  inCircuit: Edges,
  corrupt: Outputs | undefined,
): { outputs: Outputs; logits: Vector } {
  const { config, weights } = model;
  const { n_heads, d_model, attn_only, parallel_attn_mlp } = config;
  const outputs: Outputs = new Map([["embed", embedded(model, tokens)]]);
  const before: string[] = ["embed"];
  const rests: string[] = [];
  const inputOf = (to: string, sources: readonly string[], constants: readonly string[]): Vector[] =>
    tokens.map((_, t) => {
      const sum = new Array<number>(d_model).fill(0);
      for (const from of [...sources, ...constants]) {
        const own = constants.includes(from) || corrupt === undefined || inCircuit(from, to);
        const vector = (own ? outputs : corrupt!).get(from)![t]!;
        for (let i = 0; i < d_model; i++) sum[i]! += vector[i]!;
      }
      return sum;
    });
  weights.blocks.forEach((block, layer) => {
    const earlier = [...before];
    const constants = [...rests];
    const names = Array.from({ length: n_heads }, (_, h) => `a${layer}.h${h}`);
    const inputs = names.map((name) =>
      (["q", "k", "v"] as const).map((part) => inputOf(`${name}<${part}>`, earlier, constants)),
    );
    const { heads, rest } = attention(inputs, block, { model, layer });
    for (const [h, name] of names.entries()) outputs.set(name, heads[h]!);
    outputs.set(`rest ${layer}`, rest);
    before.push(...names);
    rests.push(`rest ${layer}`);
    if (attn_only) return;
    const read = parallel_attn_mlp ? { earlier, constants } : { earlier: before, constants: rests };
    outputs.set(`m${layer}`, mlp(inputOf(`m${layer}`, read.earlier, read.constants), block, config));
    before.push(`m${layer}`);
  });
  const end = norm(inputOf("logits", before, rests).at(-1)!, weights.lnFinal, config);
  const logits = plus(apply(weights.unembed, [end])[0]!, data(weights.unembedBias));
  return { outputs, logits: logits.map((u) => cap(u, config.output_logits_soft_cap)) };
}

function embedded({ config, weights }: Model, tokens: readonly number[]): Vector[] {
  const { d_model, embed_scale = 1 } = config;
  const row = (values: Float64Array, i: number): Vector => [...values.subarray(i * d_model, (i + 1) * d_model)];
  const [embed, place] = [data(weights.embed.widen())!, data(weights.posEmbed?.widen())];
  return tokens.map((id, t) =>
    plus(
      row(embed, id).map((v) => v * embed_scale),
      place && row(place, t),
    ),
  );
}

/** Heads one by one. @param inputs by head, of q, k and v [position][d_model] */
function attention(
  inputs: readonly (readonly Vector[][])[],
  block: BlockWeights,
  { model, layer }: { model: Model; layer: number },
): { heads: Vector[][]; rest: Vector[] } {
  const { config } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D, d_model, qk_norm, eps } = config;
  const T = inputs[0]![0]!.length;
  const local = localWindow(config, layer);
  const own = local === undefined ? undefined : config.rotary_local;
  const waves =
    config.positional_embedding_type === "rotary"
      ? rotaryFrequencies(config.rotary_dim, own?.base ?? config.rotary_base, own ? own.scaling : config.rotary_scaling)
      : undefined;
  const kvHead = (h: number): number => Math.floor(h / (H / G));
  const project = (x: Vector[], first: number): Vector[] => {
    const rows = apply(
      block.qkv,
      x.map((v) => norm(v, block.ln1, config)),
    );
    return rows.map((row) => plus(row, data(block.qkvBias)).slice(first * D, (first + 1) * D));
  };
  const normed = (heads: Vector[][], w: Float64Array | undefined, weightOf: (h: number) => number): Vector[][] => {
    if (!w) return heads;
    if (qk_norm === "head") return heads.map((head) => head.map((v) => rms(v, w, eps)));
    const scales = Array.from({ length: T }, (_, t) => {
      const all = heads.flatMap((head) => head[t]!);
      return Math.sqrt(dot(all, all) / all.length + eps);
    });
    return heads.map((head, h) => head.map((v, t) => v.map((x, i) => (x / scales[t]!) * w[weightOf(h) * D + i]!)));
  };
  const turned = (heads: Vector[][]): Vector[][] =>
    waves ? heads.map((head) => head.map((v, t) => rotated(v, t, waves))) : heads;
  const q = turned(
    normed(
      inputs.map(([x], h) => project(x!, h)),
      data(block.qNorm),
      (h) => h,
    ),
  );
  const k = turned(
    normed(
      inputs.map(([, x], h) => project(x!, H + kvHead(h))),
      data(block.kNorm),
      kvHead,
    ),
  );
  const v = inputs.map(([, , x], h) => project(x!, H + G + kvHead(h)));
  const [w, bias] = [data(block.o.widen())!, data(block.oBias)];
  const written = q.map((_, h) =>
    Array.from({ length: T }, (_, i) => {
      const reaches = (j: number): boolean => j <= i && (local === undefined || i - j < local);
      const scores = k[h]!.map((key, j) =>
        reaches(j) ? cap(dot(q[h]![i]!, key) * config.attn_scale, config.attn_scores_soft_cap) : -Infinity,
      );
      const raised = scores.map((s) => Math.exp(s - Math.max(...scores)));
      const sum = raised.reduce((a, b) => a + b, 0);
      const z = Array.from({ length: D }, (_, d) => raised.reduce((a, e, j) => a + (e / sum) * v[h]![j]![d]!, 0));
      return Array.from({ length: d_model }, (_, o) => dot(z, w.subarray(o * H * D + h * D, o * H * D + (h + 1) * D)));
    }),
  );
  const zero = new Array<number>(d_model).fill(0);
  if (!block.ln1Post || config.normalization_type === null)
    return { heads: written, rest: Array.from({ length: T }, () => plus(zero, bias)) };
  const gain = data(block.ln1Post.w)!;
  const scales = Array.from({ length: T }, (_, t) => {
    const whole = plus(
      written.reduce((sum, head) => plus(sum, head[t]!), zero),
      bias,
    );
    return Math.sqrt(dot(whole, whole) / d_model + config.eps);
  });
  const scaled = (x: Vector, t: number): Vector => x.map((value, i) => (value * gain[i]!) / scales[t]!);
  return {
    heads: written.map((head) => head.map(scaled)),
    rest: scales.map((_, t) => scaled(plus(zero, bias), t)),
  };
}
