import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { metricGradient } from "../../../../backend/circuits/metrics/measure.ts";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { compileInterventions, disposeInterventions } from "../../../../backend/hooks/interventions.ts";
import { backward } from "../../../../backend/models/backward/backward.ts";
import { storeRun } from "../../../../backend/models/backward/stored-run.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";

await initBackend();

const metric = { name: "logit-diff", answers: [3], wrong: [5] } as const;
const tokens = [...randomTokens(1, 6, 96, 3), ...randomTokens(1, 9, 96, 4)];

const CASES: { name: string; config: Partial<ModelConfig> }[] = [
  { name: "grouped queries", config: {} },
  { name: "a norm over all heads, norms behind", config: { norm_placement: "post", qk_norm: "all" } },
  { name: "a norm of each head, layer norms", config: { qk_norm: "head", normalization_type: "LN" } },
  { name: "attention beside the MLP", config: { parallel_attn_mlp: true, n_key_value_heads: 6 } },
  { name: "attention only", config: { attn_only: true } },
];

describe.each(CASES)("gradients at the inputs of heads and MLP, with $name", ({ config }) => {
  const model = randomModel(smallConfig({ n_layers: 2, ...config }));

  it("add up to the gradient at the stream, with what passes by", () => {
    const run = storeRun(model, { tokens });
    const { gradient } = metricGradient(run.logits, metric);
    let after: Tensor | undefined;
    for (const { layer, resid, inputs } of backward(run, gradient, { inputs: true })) {
      if (inputs) {
        const { heads, mlp } = inputs;
        expect(heads.shape).toEqual([3, 6, 2, 9, 48]);
        const sum = tf.tidy(() => tf.addN([after!, tf.sum(heads, [0, 1]), ...(mlp ? [mlp] : [])]));
        expect(maxDifference(sum, resid), `layer ${layer}`).toBeLessThan(2e-5);
        sum.dispose();
      }
      after?.dispose();
      after = tf.keep(tf.clone(resid));
    }
    tf.dispose([after!, gradient]);
    run.dispose();
  });

  it("are, over the query heads of a group, those of the KV head, and the derivative of the metric there", () => {
    const run = storeRun(model, { tokens });
    const { gradient } = metricGradient(run.logits, metric);
    const G = model.config.n_key_value_heads;
    const names = ["hook_q_input", "hook_k_input", "hook_v_input"].map((name) => `blocks.0.${name}`);
    for (const { layer, inputs, gradients } of backward(run, gradient, { inputs: true, names })) {
      if (layer !== 0) continue;
      names.forEach((name, part) => {
        const own = gradients.get(name)!;
        const heads = part === 0 ? 6 : G;
        const grouped = tf.tidy(() => {
          const byHead = tf.reshape(tf.slice(inputs!.heads, [part, 0, 0, 0, 0], [1, 6, 2, 9, 48]), [
            heads,
            6 / heads,
            2,
            9,
            48,
          ]);
          return tf.transpose(tf.sum(byHead, 1), [1, 2, 0, 3]);
        });
        // A norm over all keys together is the same over keys that are repeated, and so is its gradient.
        expect(maxDifference(grouped, own), name).toBeLessThan(2e-5);
        grouped.dispose();
        const direction = tf.tidy(() => tf.mul(normals(own.shape), realPositions(own.shape)));
        const expected = derivativeAlong({ model, input: { tokens }, metric }, name, direction);
        expect(relativeError(expected, innerProduct(own, direction)), name).toBeLessThan(4e-3);
        direction.dispose();
      });
    }
    gradient.dispose();
    run.dispose();
  });
});

/** 1 where a row of `tokens` has a position, 0 behind its end. */
function realPositions(shape: number[]): Tensor {
  const values = tokens.map((row) => Array.from({ length: shape[1]! }, (_, t) => Number(t < row.length)));
  return tf.reshape(tf.tensor2d(values), [shape[0]!, shape[1]!, ...shape.slice(2).map(() => 1)]);
}

describe("a backward pass", () => {
  const model = randomModel(smallConfig());
  storeRun(model, { tokens }).dispose(); // its tables of rotations are kept from here on

  it("goes from the end to the first layer, frees what is not kept, and may stop halfway", () => {
    const before = tf.memory().numTensors;
    const run = storeRun(model, { tokens }, { firstLayer: 1 });
    const kept = tf.memory().numTensors;
    expect(run.streams).toHaveLength(3);
    const { gradient } = metricGradient(run.logits, metric);
    const layers: number[] = [];
    for (const { layer } of backward(run, gradient, { inputs: true })) layers.push(layer);
    expect(layers).toEqual([3, 2, 1]);
    for (const { layer } of backward(run, gradient)) if (layer === 2) break;
    expect(tf.memory().numTensors).toBe(kept + 1);
    gradient.dispose();
    run.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("of a stream that stands for the embeddings gives the gradient of that run", () => {
    const { streams, dispose } = storeRun(model, { tokens: [tokens[1]!] });
    const mixed = tf.mul(streams[0]!, 0.5);
    const run = storeRun(model, { resid: mixed, startLayer: 0 });
    const { gradient } = metricGradient(run.logits, metric);
    for (const { layer, resid } of backward(run, gradient)) {
      if (layer !== 0) continue;
      const direction = normals(resid.shape);
      const measured = { model, input: { resid: mixed, startLayer: 0 }, metric, step: 1e-3 };
      const expected = derivativeAlong(measured, "blocks.0.hook_resid_pre", direction);
      expect(relativeError(expected, innerProduct(resid, direction))).toBeLessThan(4e-3);
      direction.dispose();
    }
    tf.dispose([gradient, mixed]);
    run.dispose();
    dispose();
  });

  it("from logits of all positions is that of the sum over them, and nothing comes from behind a row's end", () => {
    const whole = storeRun(model, { tokens, logitsAt: "all" });
    const dLogits = normals(whole.logits.shape);
    const parts = tokens.map((row) => storeRun(model, { tokens: [row], logitsAt: "all" }));
    const last = (run: typeof whole, d: Tensor): Tensor => {
      let resid: Tensor | undefined;
      for (const step of backward(run, d)) {
        resid?.dispose();
        resid = tf.keep(tf.clone(step.resid));
      }
      return resid!;
    };
    const together = last(whole, dLogits);
    parts.forEach((run, r) => {
      const own = tf.slice(dLogits, [r, 0, 0], [1, tokens[r]!.length, -1]);
      const alone = last(run, own);
      const row = tf.slice(together, [r, 0, 0], [1, tokens[r]!.length, -1]);
      const size = Math.max(1, ...alone.dataSync().map(Math.abs));
      expect(maxDifference(alone, row) / size).toBeLessThan(1e-4);
      tf.dispose([own, alone, row]);
      run.dispose();
    });
    tf.dispose([together, dLogits]);
    whole.dispose();
  });

  it("is refused where the inputs of heads are changed, and for gradients of another shape", () => {
    const options = { rows: 2, positions: 9, tokens };
    const scale = (at: string) => compileInterventions(model, [{ at, do: "scale", with: 2 }], options);
    const kindOf = (call: () => void): string => {
      try {
        call();
        return "none";
      } catch (error) {
        return error instanceof HeadscopeError ? error.kind : String(error);
      }
    };
    for (const at of ["blocks.1.hook_q_input", "blocks.1.ln1.hook_scale", "blocks.1.attn.hook_k"]) {
      const interventions = scale(at);
      const run = storeRun(model, { tokens }, { interventions });
      const { gradient } = metricGradient(run.logits, metric);
      expect(
        kindOf(() => [...backward(run, gradient, { inputs: true })]),
        at,
      ).toBe("unsupported");
      gradient.dispose();
      run.dispose();
      disposeInterventions(interventions);
    }
    const run = storeRun(model, { tokens });
    const wrong = tf.zeros([1, 1, 96]);
    expect(kindOf(() => [...backward(run, wrong)])).toBe("usage");
    wrong.dispose();
    expect(kindOf(() => [...backward(run, [new Map([[3, 1]])])])).toBe("usage"); // the run has two rows
    expect(kindOf(() => [...backward(run, [new Map([[3, 1]]), new Map([[96, 1]])])])).toBe("usage");
    run.dispose();
    expect(kindOf(() => storeRun(model, { tokens }, { firstLayer: 4 }))).toBe("usage");
  });
});

describe("a gradient given at a few outputs", () => {
  const models = [
    { name: "as trained", config: {} },
    { name: "with a soft cap", config: { output_logits_soft_cap: 2 } },
    { name: "with layer norms", config: { normalization_type: "LN" as const } },
  ];

  it.each(models)("goes back as the same gradient of all outputs does, $name", ({ config }) => {
    const model = randomModel(smallConfig({ n_layers: 2, ...config }));
    const run = storeRun(model, { tokens, logitsAt: [0, -1] });
    const outputs = run.logits.shape[2]!;
    const few = [new Map([[3, 1], [5, -1]]), new Map([[0, 0.5], [7, 0.5], [95, -1]]), new Map<number, number>(), new Map([[5, 2]])]; // biome-ignore format: one line
    const dense = tf.tensor(
      few.flatMap((own) => Array.from({ length: outputs }, (_, id) => own.get(id) ?? 0)),
      run.logits.shape,
    );
    const names = ["ln_final.hook_normalized", "blocks.1.attn.hook_z", "hook_embed"];
    const found = [few, dense].map((gradient) => {
      const kept = new Map<string, Tensor>();
      for (const { gradients } of backward(run, gradient, { names }))
        for (const [name, t] of gradients) kept.set(name, tf.keep(tf.clone(t)));
      return kept;
    });
    for (const name of names) {
      const [a, b] = found.map((kept) => kept.get(name)!);
      expect(Math.max(...b!.dataSync().map(Math.abs)), name).toBeGreaterThan(0);
      expect(maxDifference(a!, b!), name).toBeLessThan(1e-5);
      tf.dispose([a!, b!]);
    }
    dense.dispose();
    run.dispose();
    model.dispose();
  });
});
