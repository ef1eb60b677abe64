import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { gradient } from "../../../backend/circuits/gradients/gradient.ts";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import type { Intervention } from "../../../backend/hooks/intervention-schema.ts";
import { type BackwardHooks, type Hooks, runWithHooks } from "../../../backend/hooks/run.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";
import { innerProduct, normals, relativeError } from "../../helpers/oracles/differences.ts";

await initBackend();
const model = randomModel(smallConfig({ n_layers: 2 }));
const tokens = randomTokens(2, 7, 96);
forward(model, { tokens }).dispose(); // its tables of rotations are kept from here on

const NAMED = { name: "logit-diff", answers: [3], wrong: [5] } as const;
/** logit(3) - logit(5) at the last position, summed over rows. */
const metric = (logits: Tensor): Tensor => {
  const last = logits.shape[1]! - 1;
  const at = (id: number): Tensor => tf.slice(logits, [0, last, id], [-1, 1, 1]);
  return tf.sum(tf.sub(at(3), at(5)));
};

/** Gradients at hook points, as functions on the way back see them. */
function seen(names: readonly string[], options: Parameters<typeof runWithHooks>[2] = {}) {
  const found = new Map<string, Tensor>();
  const watch: BackwardHooks = names.map((name) => [
    name,
    (gradient, at) => {
      found.set(at, tf.keep(tf.clone(gradient)));
    },
  ]);
  const logits = runWithHooks(model, tokens, {
    ...options,
    metric,
    backward: [...(options.backward ?? []), ...watch],
  })!;
  return { logits, found, dispose: () => tf.dispose([logits, ...found.values()]) };
}

const NAMES = [
  "hook_embed", "blocks.0.hook_resid_pre", "blocks.0.attn.hook_z", "blocks.0.attn.hook_pattern", "blocks.1.hook_k_input",
  "blocks.1.attn.hook_attn_scores", "blocks.1.hook_resid_post", "ln_final.hook_normalized",
]; // biome-ignore format: a list

describe("functions on the way back", () => {
  it("see the gradients that `gradient` gives, and leave logits and memory as they were", () => {
    const before = tf.memory().numTensors;
    const plain = runWithHooks(model, tokens, { logitsAt: "last" })!;
    const back = seen(NAMES, { logitsAt: "last" });
    expect(maxDifference(back.logits, plain)).toBeLessThan(1e-4);
    const { gradients } = gradient(model, { tokens }, NAMED, NAMES);
    for (const name of NAMES)
      expect(maxDifference(back.found.get(name)!, gradients.get(name)), name).toBeLessThan(1e-4);
    back.dispose();
    plain.dispose();
    gradients.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("may be given by a predicate, and with interventions as data", () => {
    const interventions: Intervention[] = [{ at: "blocks.0.attn.hook_z", heads: [1], do: "zero" }];
    const found = new Map<string, Tensor>();
    const isZ = (name: string): boolean => name.endsWith("hook_z");
    const watch: BackwardHooks[number] = [
      isZ,
      (gradient, name) => {
        found.set(name, tf.keep(tf.clone(gradient)));
      },
    ];
    const logits = runWithHooks(model, tokens, { interventions, logitsAt: "last", metric, backward: [watch] })!;
    expect([...found.keys()]).toEqual(["blocks.1.attn.hook_z", "blocks.0.attn.hook_z"]);
    const { gradients } = gradient(model, { tokens, interventions }, NAMED, isZ);
    for (const [name, t] of found) expect(maxDifference(t, gradients.get(name)), name).toBeLessThan(1e-4);
    tf.dispose([logits, ...found.values()]);
    gradients.dispose();
  });

  it("stop a gradient by putting zeros in its place: then it only passes by", () => {
    const stop = (name: string): BackwardHooks[number] => [name, (gradient) => tf.zerosLike(gradient)];
    const back = seen(["blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"], {
      backward: [stop("blocks.1.hook_attn_out"), stop("blocks.1.hook_mlp_out")],
    });
    const [before, after] = ["pre", "post"].map((place) => back.found.get(`blocks.1.hook_resid_${place}`)!);
    expect(maxDifference(before!, after!)).toBe(0);
    back.dispose();
  });

  it("go through functions on activations: those that change some are called again, those that look are not", () => {
    let [looks, changes] = [0, 0];
    const direction = normals([2, 7, 48]);
    const hooks = (shift: number): Hooks => [
      ["blocks.0.attn.hook_z", () => void looks++],
      ["blocks.1.hook_resid_pre", (x) => { changes++; return tf.tanh(x); }], // biome-ignore format: one line
      ["hook_embed", (x) => tf.add(x, tf.mul(direction, shift))],
    ];
    const back = seen(["hook_embed"], { hooks: hooks(0) });
    expect([looks, changes]).toEqual([1, 2]);
    const at = (shift: number): number => {
      const logits = runWithHooks(model, tokens, { hooks: hooks(shift) })!;
      const value = tf.tidy(() => metric(logits).dataSync()[0]!);
      logits.dispose();
      return value;
    };
    const step = 2e-3;
    const expected = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
    expect(relativeError(expected, innerProduct(back.found.get("hook_embed")!, direction))).toBeLessThan(4e-3);
    back.dispose();
    direction.dispose();
  });

  it("are refused without a metric or logits, at unknown points, and for tensors of another shape", () => {
    const kindOf = (options: unknown): string => {
      try {
        runWithHooks(model, tokens, options as Parameters<typeof runWithHooks>[2])?.dispose();
        return "none";
      } catch (error) {
        return error instanceof HeadscopeError ? error.kind : String(error);
      }
    };
    const before = tf.memory().numTensors;
    const look: BackwardHooks = [["blocks.0.attn.hook_z", () => undefined]];
    expect(kindOf({ backward: look })).toBe("usage");
    expect(kindOf({ metric })).toBe("usage");
    expect(kindOf({ metric, backward: look, logitsAt: "none" })).toBe("usage");
    expect(kindOf({ metric, backward: [["blocks.0.attn.hook_y", () => undefined]] })).toBe("usage");
    expect(kindOf({ metric, backward: [["blocks.0.attn.hook_z", () => tf.zeros([1])]] })).toBe("usage");
    expect(tf.memory().numTensors).toBe(before);
  });
});
