import { describe, expect, it } from "vitest";
import { rotaryFrequencies, rotaryTables } from "../../../../backend/models/transformer/rope.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { smallConfig } from "../../../helpers/models.ts";

await initBackend();

const relative = (found: readonly number[], wanted: readonly number[]): number =>
  Math.max(...found.map((w, i) => Math.abs(w / wanted[i]! - 1)));
const plain = (dim: number, base: number): number[] =>
  Array.from({ length: dim / 2 }, (_, i) => base ** ((-2 * i) / dim));

describe("rotary frequencies", () => {
  it("fall geometrically from 1", () => {
    const { inverse, factor } = rotaryFrequencies(64, 10000);
    expect(relative(inverse, plain(64, 10000))).toBeLessThan(3e-7);
    expect(factor).toBe(1);
  });

  it("are divided by the factor of linear scaling, or each by its own", () => {
    const usual = plain(16, 500000);
    const linear = rotaryFrequencies(16, 500000, { type: "linear", factor: 8 });
    expect(
      relative(
        linear.inverse,
        usual.map((w) => w / 8),
      ),
    ).toBeLessThan(3e-7);
    const factors = [1, 1, 1.5, 2, 3, 5, 8, 8];
    const own = rotaryFrequencies(16, 500000, { type: "factors", factors, attention_factor: 1.25 });
    expect(
      relative(
        own.inverse,
        usual.map((w, i) => w / factors[i]!),
      ),
    ).toBeLessThan(3e-7);
    expect(own.factor).toBe(1.25);
  });

  it("keep Llama 3's short waves, divide its long ones by the factor, and blend between by turns over the context", () => {
    const scaling = {
      type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_context: 8192,
    } as const;
    const wanted = plain(128, 500000).map((w) => {
      const turns = (8192 * w) / (2 * Math.PI);
      const kept = Math.min(1, Math.max(0, (turns - 1) / (4 - 1)));
      return w * (kept + (1 - kept) / 8);
    });
    const { inverse, factor } = rotaryFrequencies(128, 500000, scaling);
    expect(relative(inverse, wanted)).toBeLessThan(2e-6);
    expect(factor).toBe(1);
    // All three bands occur.
    const stretch = plain(128, 500000).map((w, i) => w / inverse[i]!);
    expect(stretch.some((s) => s < 1.001)).toBe(true);
    expect(stretch.some((s) => s > 7.999)).toBe(true);
    expect(stretch.some((s) => s > 1.5 && s < 7)).toBe(true);
  });

  it.each([true, false])(
    "ramp in YaRN from 32 turns over the original context to one (whole dimensions: %s)",
    (truncate) => {
      const [dim, base, context, factor] = [64, 10000, 2048, 16];
      const made = rotaryFrequencies(dim, base, { type: "yarn", factor, original_context: context, truncate });
      // The dimension at which a wave turns n times over the context solves context * base^(-2i / dim) = 2 pi n for i.
      const place = (turns: number): number => ((dim / 2) * Math.log(context / (2 * Math.PI * turns))) / Math.log(base);
      const [low, high] = truncate ? [Math.floor(place(32)), Math.ceil(place(1))] : [place(32), place(1)];
      const wanted = plain(dim, base).map((w, i) => {
        const stretched = Math.min(1, Math.max(0, (i - low) / (high - low)));
        return w * (1 - stretched + stretched / factor);
      });
      expect(relative(made.inverse, wanted)).toBeLessThan(2e-6);
      expect(made.factor).toBeCloseTo(0.1 * Math.log(16) + 1, 12);
    },
  );

  it("take YaRN's factor on cosines and sines from the config or the two mscales, where they are given", () => {
    const yarn = { type: "yarn", factor: 40, original_context: 4096 } as const;
    expect(rotaryFrequencies(64, 10000, { ...yarn, attention_factor: 1.1 }).factor).toBe(1.1);
    const both = rotaryFrequencies(64, 10000, { ...yarn, mscale: 1, mscale_all_dim: 0.8 });
    expect(both.factor).toBeCloseTo((0.1 * Math.log(40) + 1) / (0.08 * Math.log(40) + 1), 12);
    expect(rotaryFrequencies(64, 10000, { ...yarn, factor: 1 }).factor).toBe(1);
  });
});

describe("rotary tables", () => {
  it("hold cosines and sines times the factor, halves alike, of either kind of layer", () => {
    const config = smallConfig({
      rotary_base: 50000,
      rotary_scaling: { type: "yarn", factor: 4, original_context: 64, attention_factor: 1.2 },
      rotary_local: { base: 100 },
    });
    const before = tf.memory().numTensors;
    const local = rotaryTables(config, 50, true);
    const global = rotaryTables(config, 50);
    expect(local.cos.shape).toEqual([50, 8]);
    const [lc, ls, gc] = [local.cos, local.sin, global.cos].map((t) => t.dataSync());
    for (const [p, i] of [
      [0, 0],
      [7, 1],
      [49, 3],
    ] as const) {
      const angle = p * 100 ** (-i / 4);
      for (const half of [0, 4]) {
        expect(lc![p * 8 + i + half]).toBeCloseTo(Math.cos(angle), 5);
        expect(ls![p * 8 + i + half]).toBeCloseTo(Math.sin(angle), 5);
      }
    }
    expect(gc![0]).toBeCloseTo(1.2, 6);
    tf.dispose([local.cos, local.sin, global.cos, global.sin]);
    expect(tf.memory().numTensors).toBe(before);
  });
});
