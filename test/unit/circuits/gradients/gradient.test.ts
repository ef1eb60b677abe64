import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { gradient, gradientInTurns } from "../../../../backend/circuits/gradients/gradient.ts";
import { metricValues } from "../../../../backend/circuits/metrics/measure.ts";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { Model } from "../../../../backend/models/model.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { Matrix } from "../../../../backend/models/weights/matrix.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";
import { type LayerFacts, reference, type Waves } from "../../../helpers/reference-transformer.ts";

await initBackend();

const waves = (dim: number): Waves => ({
  inverse: Array.from({ length: dim / 2 }, (_, i) => 10000 ** ((-2 * i) / dim)),
  factor: 1,
});
const metric = { name: "logit-diff", answers: [3], wrong: [5] } as const;

/** Shapes that between them have every feature of the families. */
interface Case {
  name: string;
  config: Partial<ModelConfig>;
  facts?: (layer: number) => LayerFacts;
  /** Of the differences, where the model is less smooth. */
  step?: number;
}
const CASES: Case[] = [
  { name: "grouped queries", config: {} },
  {
    name: "attention beside the MLP, layer norm, partial rotation",
    config: {
      parallel_attn_mlp: true, normalization_type: "LN", rotary_dim: 2, gated_mlp: false, act_fn: "gelu_new", n_key_value_heads: 6,
    }, // biome-ignore format: a table
    facts: () => ({ waves: waves(2) }),
  },
  {
    name: "norms on both sides, soft caps, windows, a norm of each head",
    config: {
      norm_placement: "both", qk_norm: "head", attn_scores_soft_cap: 5, output_logits_soft_cap: 3, embed_scale: 2,
      window_size: 4, attn_types: ["local", "global"], act_fn: "gelu_pytorch_tanh",
    }, // biome-ignore format: a table
    facts: (layer) => ({ waves: waves(8), local: layer === 0 ? 4 : undefined }),
  },
  { name: "norms behind, a norm over all heads", config: { norm_placement: "post", qk_norm: "all" } },
  {
    name: "attention only, learned positions",
    config: { attn_only: true, positional_embedding_type: "standard", normalization_type: "LN", n_ctx: 16 },
    facts: () => ({}),
  },
  {
    name: "no norms, no positions",
    config: { normalization_type: null, positional_embedding_type: "none", act_fn: "quick_gelu", gated_mlp: false },
    facts: () => ({}),
  },
]; // biome-ignore format: a table

const modelOf = (config: Partial<ModelConfig>) =>
  randomModel(smallConfig({ n_layers: 2, tie_word_embeddings: false, ...config }));

/** The derivative of the metric by one number of the embedding table, by differences in float64 of a transformer without the engine. */
function derivativeInFloat64(
  model: Model,
  tokens: number[],
  index: number,
  facts: (layer: number) => LayerFacts,
): number {
  const { embed } = model.weights;
  const values = embed.widen().dataSync() as Float32Array;
  const moved = (by: number): [number, number] => {
    const changed = values.slice();
    changed[index]! += by;
    const matrix = Matrix.fromValues(changed, embed.shape);
    const other = new Model({ ...model, weights: { ...model.weights, embed: matrix } });
    const last = reference(other, tokens, facts).logits.at(-1)!;
    matrix.dispose();
    return [last[3]! - last[5]!, changed[index]!];
  };
  const [[high, above], [low, below]] = [moved(1e-3), moved(-1e-3)];
  return (high - low) / (above - below);
}

describe.each(CASES)("with $name", ({ config, facts = () => ({ waves: waves(8) }), ...smoothness }) => {
  it("the gradient at every hook point is the derivative of the metric there", () => {
    const model = modelOf(config);
    const tokens = randomTokens(1, 7, 96);
    const { values, gradients } = gradient(model, { tokens }, metric, () => true);
    expect(gradients.names).toEqual(hookNames(model));
    const { logits, resid } = forward(model, { tokens, logitsAt: "last" });
    expect(values[0]).toBeCloseTo(metricValues(logits!, metric)[0]!, 4);
    for (const name of gradients.names) {
      const direction = normals(gradients.get(name).shape);
      const expected = derivativeAlong({ model, input: { tokens }, metric, ...smoothness }, name, direction);
      // The differences are of runs in float32, whose rounding is the processor's own.
      expect(relativeError(expected, innerProduct(gradients.get(name), direction)), name).toBeLessThan(1.5e-2);
      direction.dispose();
    }
    tf.dispose([logits!, resid]);
    gradients.dispose();
    model.dispose();
  });

  it("the gradient at the embeddings is that of a transformer in float64 without the engine", () => {
    const model = modelOf(config);
    const tokens = [11, 40, 2, 77, 63, 8, 30];
    const { gradients } = gradient(model, { tokens: [tokens] }, metric, ["hook_embed"]);
    const found = gradients.get("hook_embed").dataSync();
    const { d_model, embed_scale = 1 } = model.config;
    for (const position of [0, 3, 6])
      for (const d of [0, 17]) {
        const expected = derivativeInFloat64(model, tokens, tokens[position]! * d_model + d, facts);
        const gradientThere = found[position * d_model + d]! * embed_scale;
        // Without norms the logits are large, and float32 has fewer digits to tell them apart.
        const limit = model.config.normalization_type === null ? 1e-3 : 1e-4;
        expect(relativeError(expected, gradientThere), `${position}, ${d}`).toBeLessThan(limit);
      }
    gradients.dispose();
    model.dispose();
  });
});

it("goes through rectified units as they are", () => {
  const model = modelOf({ act_fn: "relu", gated_mlp: false });
  const tokens = [11, 40, 2, 77, 63, 8, 30];
  const { gradients } = gradient(model, { tokens: [tokens] }, metric, ["hook_embed"]);
  const index = tokens[3]! * 48 + 9;
  const expected = derivativeInFloat64(model, tokens, index, () => ({ waves: waves(8) }));
  expect(relativeError(expected, gradients.get("hook_embed").dataSync()[3 * 48 + 9]!)).toBeLessThan(1e-4);
  gradients.dispose();
  model.dispose();
});

describe("a gradient", () => {
  const model = modelOf({});
  const rows = [...randomTokens(1, 5, 96, 1), ...randomTokens(1, 9, 96, 2)];
  const NAMES = ["hook_embed", "blocks.0.attn.hook_z", "blocks.1.attn.hook_pattern", "blocks.1.hook_resid_post"];

  it("of rows of different lengths is each row's own, with zeros behind its end", () => {
    const together = gradient(model, { tokens: rows }, metric, NAMES);
    rows.forEach((row, r) => {
      const alone = gradient(model, { tokens: [row] }, metric, NAMES);
      expect(together.values[r]).toBeCloseTo(alone.values[0]!, 4);
      for (const name of NAMES) {
        const own = together.gradients.slice(name, { row: r });
        const single = alone.gradients.slice(name, { row: 0 });
        expect(maxDifference(own, single), name).toBeLessThan(1e-5);
        tf.dispose([own, single]);
      }
      alone.gradients.dispose();
    });
    const behind = tf.tidy(() => tf.max(tf.abs(tf.slice(together.gradients.get(NAMES[0]!), [0, 5, 0], [1, 4, -1]))));
    expect(behind.dataSync()[0]).toBe(0);
    behind.dispose();
    together.gradients.dispose();
  });

  it("at the stream is the sum of what flows through a block and what passes by", () => {
    const names = [
      "hook_resid_pre",
      "hook_attn_out",
      "hook_mlp_out",
      "hook_resid_mid",
      "hook_mlp_in",
      "hook_resid_post",
    ];
    const { gradients } = gradient(
      model,
      { tokens: rows },
      metric,
      names.map((name) => `blocks.0.${name}`),
    );
    const at = (name: string): Tensor => gradients.get(`blocks.0.${name}`);
    expect(maxDifference(at("hook_mlp_out"), at("hook_resid_post"))).toBe(0);
    expect(maxDifference(at("hook_attn_out"), at("hook_resid_mid"))).toBe(0);
    const sum = tf.add(at("hook_mlp_in"), at("hook_resid_post"));
    expect(maxDifference(sum, at("hook_resid_mid"))).toBeLessThan(1e-6);
    sum.dispose();
    gradients.dispose();
  });

  it("from a residual stream is that of the whole run, and refuses what lies before it", () => {
    const NAME = "blocks.1.hook_q_input";
    const whole = gradient(model, { tokens: rows.slice(0, 1) }, metric, [NAME]);
    const { resid } = forward(model, { tokens: rows.slice(0, 1), stopLayer: 1 });
    const part = gradient(model, { resid, startLayer: 1 }, metric, [NAME]);
    expect(maxDifference(whole.gradients.get(NAME), part.gradients.get(NAME))).toBeLessThan(1e-5);
    expect(part.gradients.names).toEqual([NAME]);
    for (const name of ["blocks.0.hook_resid_post", "hook_embed"])
      expect(() => gradient(model, { resid, startLayer: 1 }, metric, [name])).toThrow(HeadscopeError);
    resid.dispose();
    for (const { gradients } of [whole, part]) gradients.dispose();
  });

  it("of a function of the logits is that of the metric that it computes", () => {
    const byName = gradient(model, { tokens: rows }, metric, NAMES);
    const byFunction = gradient(
      model,
      { tokens: rows },
      (logits) => {
        const at = (id: number): Tensor => tf.slice(logits, [0, 0, id], [-1, -1, 1]);
        return tf.sum(tf.sub(at(3), at(5)));
      },
      NAMES,
    );
    for (const name of NAMES)
      expect(maxDifference(byName.gradients.get(name), byFunction.gradients.get(name))).toBeLessThan(1e-6);
    expect(byFunction.values[0]).toBeCloseTo(byName.values[0]! + byName.values[1]!, 4);
    for (const { gradients } of [byName, byFunction]) gradients.dispose();
  });

  it("lets others in between layers, and leaves nothing behind when it is given up", async () => {
    const request = { input: { tokens: rows }, metric, names: NAMES };
    const direct = gradient(model, { tokens: rows }, metric, NAMES);
    let turns = 0;
    const made = await gradientInTurns(model, { ...request, turn: async () => void turns++ });
    expect(turns).toBeGreaterThanOrEqual(model.config.n_layers);
    for (const name of NAMES) expect(maxDifference(made.gradients.get(name), direct.gradients.get(name))).toBe(0);
    for (const { gradients } of [made, direct]) gradients.dispose();
    const before = tf.memory().numTensors;
    const stop = new Error("given up");
    const given = gradientInTurns(model, { ...request, turn: () => Promise.reject(stop) });
    await expect(given).rejects.toBe(stop);
    const onLayer = (): never => {
      throw stop;
    };
    expect(() => gradient(model, { tokens: rows, onLayer }, metric, NAMES)).toThrow(stop);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("keeps no tensors but those that it hands out", () => {
    const before = tf.memory().numTensors;
    const { gradients } = gradient(model, { tokens: rows }, metric, () => true);
    expect(tf.memory().numTensors).toBe(before + gradients.names.length);
    gradients.dispose();
    expect(() => gradient(model, { tokens: rows }, { name: "loss", answers: [96] }, NAMES)).toThrow(HeadscopeError);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is refused for unknown hook points, options and no hook point at all", () => {
    const any = (value: unknown): never => value as never;
    const kindOf = (call: () => unknown): string => {
      try {
        call();
        return "none";
      } catch (error) {
        return error instanceof HeadscopeError ? error.kind : String(error);
      }
    };
    expect(kindOf(() => gradient(model, { tokens: rows }, metric, ["blocks.0.hook_nothing"]))).toBe("usage");
    expect(kindOf(() => gradient(model, { tokens: rows }, metric, ["blocks.2.hook_resid_pre"]))).toBe("usage");
    expect(kindOf(() => gradient(model, { tokens: rows }, metric, []))).toBe("usage");
    expect(kindOf(() => gradient(model, any({ tokens: rows, cache: 1 }), metric, NAMES))).toBe("usage");
    expect(kindOf(() => gradient(model, { tokens: rows }, any({ name: "loss" }), NAMES))).toBe("usage");
    expect(kindOf(() => gradient(model, { tokens: [[96]] }, metric, NAMES))).toBe("input");
  });
});

describe("the gradient of a changed run", () => {
  const model = modelOf({});
  const tokens = randomTokens(1, 7, 96);
  const changes: { name: string; interventions: Intervention[]; at: string[] }[] = [
    {
      name: "an ablated head",
      interventions: [{ at: "blocks.1.attn.hook_z", heads: [2], do: "zero" }],
      at: ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z", "blocks.1.hook_v_input", "hook_embed"],
    },
    {
      name: "a scaled stream",
      interventions: [{ at: "blocks.1.hook_resid_pre", positions: [2, 3], do: "scale", with: 0.5 }],
      at: ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "hook_embed"],
    },
    {
      name: "a token that is knocked out",
      interventions: [{ at: "blocks.0.attn.hook_attn_scores", keys: [1], positions: [4, 5, 6], do: "knock-out" }],
      at: ["blocks.0.attn.hook_pattern", "blocks.0.attn.hook_v", "blocks.0.attn.hook_q", "hook_embed"],
    },
    {
      name: "a frozen pattern",
      interventions: [{ at: "blocks.1.attn.hook_pattern", do: "freeze-pattern" }],
      at: ["blocks.1.attn.hook_pattern", "blocks.0.hook_mlp_out", "blocks.1.attn.hook_v"],
    },
    {
      name: "a changed input of a head's queries",
      interventions: [{ at: "blocks.1.hook_q_input", heads: [1], do: "scale", with: 2 }],
      at: ["blocks.1.hook_q_input", "blocks.1.hook_k_input", "blocks.0.hook_resid_post"],
    },
  ];

  it.each(changes)("is that behind $name", ({ interventions, at }) => {
    const { gradients } = gradient(model, { tokens, interventions }, metric, at);
    for (const name of at) {
      const direction = normals(gradients.get(name).shape);
      const expected = derivativeAlong({ model, input: { tokens }, metric, interventions }, name, direction);
      expect(relativeError(expected, innerProduct(gradients.get(name), direction)), name).toBeLessThan(4e-3);
      direction.dispose();
    }
    gradients.dispose();
  });

  it("at a place that is replaced whole is 0 for what comes before it", () => {
    const interventions: Intervention[] = [{ at: "blocks.1.hook_resid_pre", do: "zero" }];
    const { gradients } = gradient(model, { tokens, interventions }, metric, ["hook_embed", "blocks.1.hook_resid_pre"]);
    const most = (name: string): number => tf.tidy(() => tf.max(tf.abs(gradients.get(name))).dataSync()[0]!);
    expect(most("hook_embed")).toBe(0);
    expect(most("blocks.1.hook_resid_pre")).toBeGreaterThan(0);
    gradients.dispose();
  });
});
