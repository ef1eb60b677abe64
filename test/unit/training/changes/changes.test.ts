import { beforeAll, describe, expect, it } from "vitest";
import { hasKernels } from "../../../../backend/kernels/kernels.ts";
import { initialParameters } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { makeSpec } from "../../../../backend/training/spec.ts";
import { failure } from "../../../helpers/errors.ts";
import { task, trainTiny, valuesOf } from "../../../helpers/training/tiny-run.ts";

beforeAll(async () => void (await initBackend()));

describe("frozen weights", () => {
  it.each(["adam", "adamw", "sgd"])(
    "stay to the bit under %s with decay and clipping, and the others do not",
    async (optimiser) => {
      const raw = { optimiser, weight_decay: 0.1, clip: 0.5, freeze: ["embed", "0.attention"], attn_only: false };
      const { places, at } = await trainTiny(raw);
      const [first, last] = [at(0).state[0]!, at(20).state[0]!];
      for (const { name } of places) {
        const same = Buffer.from(valuesOf(places, name, first).buffer).equals(
          Buffer.from(valuesOf(places, name, last).buffer),
        );
        expect([name, same]).toEqual([name, ["embed", "blocks.0.attn.qkv", "blocks.0.attn.o"].includes(name)]);
      }
    },
  );

  it("leave the others what they would be if only those had a gradient: the norm that is clipped is theirs", async () => {
    // One step of SGD: the change is -rate · g, so with clipping its norm over the trained weights is rate · clip.
    const { places, at } = await trainTiny({
      ...{
        optimiser: "sgd",
        learning_rate: 1,
        clip: 0.01,
        steps: 1,
        freeze: ["embed", "pos_embed", "attention", "norm"],
      },
    });
    const change = at(1).state[0]!.map((x, i) => x - at(0).state[0]![i]!);
    expect(Math.hypot(...change)).toBeCloseTo(0.01, 5);
    expect(Math.hypot(...valuesOf(places, "unembed", change))).toBeCloseTo(0.01, 5);
  });
});

describe("resets", () => {
  it("draw embeddings anew every so many steps, after what is measured and saved there, other values each time", async () => {
    // A learning rate that moves nothing visibly: what changes is the resets.
    const { places, at } = await trainTiny({ optimiser: "sgd", learning_rate: 1e-12, reset_every: 5 });
    const embed = (step: number) => [...valuesOf(places, "embed", at(step).state[0]!)];
    expect(embed(5)).toEqual(embed(0));
    expect(embed(6)).not.toEqual(embed(5));
    expect(embed(10)).toEqual(embed(6));
    expect(embed(11)).not.toEqual(embed(10));
    expect(embed(11)).not.toEqual(embed(0));
    expect(embed(20)).toEqual(embed(16)); // the last step is followed by none
    const spread = Math.sqrt(embed(11).reduce((sum, x) => sum + x * x, 0) / embed(11).length);
    expect(Math.abs(spread * Math.sqrt(16) - 1)).toBeLessThan(0.2); // 160 numbers of standard deviation 1 / sqrt(d_model)
    for (const name of ["pos_embed", "unembed", "blocks.0.attn.qkv"])
      expect(
        valuesOf(places, name, at(20).state[0]!).every(
          (x, i) => Math.abs(x - valuesOf(places, name, at(0).state[0]!)[i]!) < 1e-6,
        ),
      ).toBe(true);
  });

  it("end at reset_until, and take the optimiser's vectors with them", async () => {
    const { places, at } = await trainTiny({ reset_every: 5, reset_until: 10, learning_rate: 1e-9, weight_decay: 0 });
    const embed = (step: number) => [...valuesOf(places, "embed", at(step).state[0]!)];
    const close = (a: number[], b: number[]) => a.every((x, i) => Math.abs(x - b[i]!) < 1e-6);
    expect([close(embed(5), embed(6)), close(embed(10), embed(11)), close(embed(15), embed(16))]).toEqual([
      false,
      false,
      true,
    ]);
    // Adam's second moment after the step behind a reset is that of one gradient: (1 - beta2) g², with g from the first, (1 - beta1) g.
    const [, first, second] = at(11).state.map((vector) => valuesOf(places, "embed", vector));
    first!.forEach((m, i) => {
      expect(second![i]!).toBeCloseTo(0.001 * (m / 0.1) ** 2, 8);
    });
  });
});

describe("pruning while training", () => {
  const PRUNE = { prune: "weights", prune_sparsity: 0.75, prune_start: 4, prune_end: 16, prune_every: 4 };

  it("keeps a mask whose weights are 0 from there on, measured as sparsity", async () => {
    const { metrics, places, at } = await trainTiny(PRUNE);
    const sparsity = new Map(metrics.map(({ step, values }) => [step, values["sparsity"]!]));
    const expected = (step: number) => 0.75 * (1 - (1 - (step - 4) / 12) ** 3);
    for (const step of [8, 12, 16]) expect(sparsity.get(step)).toBeCloseTo(expected(step), 2);
    expect([sparsity.get(0), sparsity.get(7), sparsity.get(11), sparsity.get(20)]).toEqual([
      0,
      0,
      sparsity.get(8),
      sparsity.get(16),
    ]);
    const { state, mask } = at(20);
    mask!.forEach((there, i) => {
      if (there === 0) expect(state[0]![i]).toBe(0);
    });
    const qkv = valuesOf(places, "blocks.0.attn.qkv", mask!);
    expect(qkv.reduce((n, one) => n + one, 0)).toBe(qkv.length / 4);
    expect(valuesOf(places, "embed", mask!).every((one) => one === 1)).toBe(true);
  });

  it("takes away half of the heads where no share is given", async () => {
    const { at, metrics } = await trainTiny({ prune: "heads", prune_end: 10, n_layers: 2 });
    expect(metrics.at(-1)!.values["sparsity"]).toBe(0.5);
    expect(at(20).mask!.some((one) => one === 0)).toBe(true);
  });

  it("prunes no frozen weight", async () => {
    const { places, at } = await trainTiny({ ...PRUNE, attn_only: false, freeze: ["attention"] });
    const { mask } = at(20);
    expect(valuesOf(places, "blocks.0.attn.qkv", mask!).every((one) => one === 1)).toBe(true);
    expect(valuesOf(places, "blocks.0.mlp.in", mask!).some((one) => one === 0)).toBe(true);
  });
});

describe("a run with changed weights", () => {
  it.each([
    { freeze: ["embed"], clip: 1 },
    { reset_every: 3, reset_until: 12 },
    { prune: "weights", prune_sparsity: 0.8, prune_end: 18, prune_every: 3 },
    { prune: "heads", prune_end: 12, reset_every: 7, freeze: ["unembed"], optimiser: "sgd", momentum: 0.9 },
  ])("goes on from where it was stopped, bit for bit: %j", async (raw) => {
    const whole = await trainTiny(raw, [0, 1]);
    for (const stopAt of [7, 12]) {
      const first = await trainTiny(raw, [0, 1], { stopAt });
      const stopped = first.checkpoints.slice(-2).map(({ state }) => state);
      const rest = await trainTiny(raw, [0, 1], { resume: stopped });
      expect([...first.metrics, ...rest.metrics]).toEqual(whole.metrics);
      expect(rest.checkpoints.slice(-2)).toEqual(whole.checkpoints.slice(-2));
    }
  });

  it("is the same without kernels, up to rounding, and leaks no tensor", async () => {
    const raw = { prune: "weights", reset_every: 6, freeze: ["unembed"] };
    const first = await trainTiny(raw, [0], { stopAt: 1 });
    const before = tf.memory().numTensors;
    const state = { ...first.checkpoints.at(-1)!.state, gradients: "functions" as const };
    const functions = await trainTiny(raw, [0], { resume: [state] });
    expect(tf.memory().numTensors).toBe(before);
    if (!hasKernels()) return;
    const kernel = await trainTiny(raw, [0]);
    functions.at(20).state[0]!.forEach((x, i) => {
      expect(Math.abs(x - kernel.at(20).state[0]![i]!)).toBeLessThan(1e-3);
    });
  });

  it("of none of these is what it was", async () => {
    const { places, at } = await trainTiny({});
    expect(at(0).state[0]).toEqual(initialParameters(places, 0));
    expect(at(20).mask).toBeUndefined();
  });

  it("begins with given weights, the same for all seeds", async () => {
    const source = await trainTiny({});
    const given = source.at(20).state[0]!;
    const tuned = await trainTiny({}, [3, 4], { origin: { config: source.config, parameters: given } });
    for (const seed of [3, 4]) expect(tuned.at(0, seed).state[0]).toEqual(given);
    expect(tuned.at(0, 3).state[1]!.every((x) => x === 0)).toBe(true);
    expect(tuned.at(20, 3).state[0]).not.toEqual(tuned.at(20, 4).state[0]);
  });
});

describe("changes that can't be", () => {
  it.each([
    [{ freeze: "embd" }, "freeze", /no weights "embd"/],
    [{ freeze: "mlp" }, "freeze", /no weights "mlp"/],
    [{ freeze: "3" }, "freeze", /no weights "3"/],
    [{ train_only: "mlp" }, "train_only", /no weights "mlp"/],
    [{ train_only: "embed", freeze: "norm" }, "train_only", /all stay but some/],
    [{ freeze: "embed,pos_embed,attention,norm,unembed" }, "freeze", /no weight to be trained/],
    [{ reset_every: 5, freeze: "embed" }, "freeze", /embed is frozen and drawn anew/],
    [{ reset_until: 5 }, "reset_until", /says nothing without reset_every/],
    [{ reset_every: 20 }, "reset_every", /comes never in 20 steps/],
    [{ reset_every: 5, reset_until: 4 }, "reset_until", /before the first reset, at step 5/],
    [{ prune_sparsity: 0.5 }, "prune_sparsity", /says nothing without prune/],
    [{ prune: "weights", prune_start: 10, prune_end: 8 }, "prune_start", /10 is not before prune_end 8/],
    [{ prune: "weights", prune_end: 30 }, "prune_end", /30 is after the last step, 20/],
    [{ prune: "weights", prune_every: 11 }, "prune_every", /more than the 10 steps/],
    [{ prune: "weights", freeze: "attention" }, "prune", /no matrix to be pruned/],
    [{ prune: "heads", prune_parts: "mlp" }, "prune_parts", /says nothing of heads/],
    [{ prune: "heads", prune_sparsity: 0.1 }, "prune_sparsity", /0.1 of 2 heads is none of them/],
  ])("%j is refused before training", async (raw, field, message) => {
    const error = await failure(() => makeSpec(task, raw));
    expect(error).toMatchObject({ kind: "usage", message: expect.stringMatching(message) });
    expect([error.field].flat()).toContain(field);
  });
});
