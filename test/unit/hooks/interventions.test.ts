import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ActivationCache } from "../../../backend/hooks/activation-cache.ts";
import { type Intervention, parseInterventions } from "../../../backend/hooks/intervention-schema.ts";
import { compileInterventions } from "../../../backend/hooks/interventions.ts";
import { pairing } from "../../../backend/hooks/reference.ts";
import { runWithCache, runWithHooks } from "../../../backend/hooks/run.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { templates } from "../../../frontend/src/ablation/interventions/interventions.ts";
import { refused } from "../../helpers/errors.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

const Z = "blocks.1.attn.hook_z";
let model: Model;
const tokens = randomTokens(3, 12, 96);
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** Logits of a run with interventions. */
function changed(interventions: Intervention[], rows = tokens, sources = {}) {
  return runWithHooks(model, rows, { interventions, sources })!;
}

/** z of one row and head under interventions, [positions][d_head]. */
function zOf(interventions: Intervention[], row: number, head: number, rows = tokens): number[][] {
  const { logits, cache } = runWithCache(model, rows, { names: [Z], interventions });
  const z = cache.slice(Z, { row, head });
  const values = z.arraySync() as number[][];
  tf.dispose([logits!, z]);
  cache.dispose();
  return values;
}

describe("the ready-made end of attention to the first token", () => {
  it("leaves no query of any layer any of it, and shares it among the others", () => {
    const names = [0, 1, 2].map((layer) => `blocks.${layer}.attn.hook_pattern`);
    const interventions = [templates(3, 12)["No attention to the first token"]!].flat();
    const { logits, cache } = runWithCache(model, tokens, { names, interventions });
    for (const name of names) {
      const pattern = cache.get(name).arraySync() as number[][][][];
      for (const queries of pattern.flat()) {
        expect(queries.every((keys) => keys[0] === 0)).toBe(true);
        expect(queries[0]!.every((weight) => weight === 0)).toBe(true); // it has no other key
        for (const keys of queries.slice(1)) expect(keys.reduce((sum, weight) => sum + weight)).toBeCloseTo(1, 4);
      }
    }
    logits!.dispose();
    cache.dispose();
  });
});

describe("interventions", () => {
  it("change nothing by a scale of 1", () => {
    const plain = runWithHooks(model, tokens)!;
    const same = changed([{ at: Z, do: "scale", with: 1 }]);
    expect(maxDifference(plain, same)).toBeLessThan(1e-4);
    tf.dispose([plain, same]);
  });

  it("zero as an eager hook that zeroes", () => {
    const rows = randomTokens(3, 12, 96);
    const a = changed(
      [{ at: "attn.hook_z", layer: 1, heads: [1, 4], positions: [3, 7], rows: [0, 2], do: "zero" }],
      rows,
    );
    const b = runWithHooks(model, rows, {
      hooks: [
        [
          Z,
          (z) => {
            const mask = tf.buffer([3, 12, 6, 1]);
            for (const r of [0, 2]) for (const p of [3, 7]) for (const h of [1, 4]) mask.set(1, r, p, h, 0);
            return tf.mul(z, tf.sub(1, mask.toTensor()));
          },
        ],
      ],
    })!;
    expect(maxDifference(a, b)).toBeLessThan(2e-4);
    tf.dispose([a, b]);
  });

  it("put the mean over the other rows, pooled over positions or by position", () => {
    const clean = [0, 1, 2].map((row) => zOf([], row, 4));
    const pooled = zOf([{ at: Z, heads: [4], do: "mean" }], 0, 4);
    const byPosition = zOf([{ at: Z, heads: [4], do: "mean", byPosition: true }], 0, 4);
    for (let d = 0; d < 8; d++) {
      const others = [1, 2].flatMap((row) => clean[row]!.map((z) => z[d]!));
      expect(pooled[5]![d]).toBeCloseTo(others.reduce((a, b) => a + b) / others.length, 4);
      expect(byPosition[5]![d]).toBeCloseTo((clean[1]![5]![d]! + clean[2]![5]![d]!) / 2, 4);
    }
  });

  it("leave padding out of a mean", () => {
    const ragged = [tokens[0]!, tokens[1]!.slice(0, 5), tokens[2]!];
    const clean = [0, 1].map((row) => zOf([], row, 2, ragged));
    const mean = zOf([{ at: Z, heads: [2], do: "mean" }], 2, 2, ragged);
    const all = [...clean[0]!, ...clean[1]!.slice(0, 5)].map((z) => z[0]!);
    expect(mean[3]![0]).toBeCloseTo(all.reduce((a, b) => a + b) / all.length, 4);
  });

  it("resample from the paired row", () => {
    const partner = pairing(3, 5)[1]!;
    expect(partner).not.toBe(1);
    const expected = zOf([], partner, 3);
    const got = zOf([{ at: Z, heads: [3], rows: [1], do: "resample", seed: 5 }], 1, 3);
    expect(Math.max(...got.flat().map((v, i) => Math.abs(v - expected.flat()[i]!)))).toBeLessThan(1e-4);
  });

  it("compose at one point in their order", () => {
    const both = zOf(
      [
        { at: Z, do: "scale", with: 2 },
        { at: Z, heads: [0], do: "add", with: 3 },
      ],
      0,
      0,
    );
    const clean = zOf([], 0, 0);
    expect(both[4]![2]).toBeCloseTo(2 * clean[4]![2]! + 3, 4);
  });

  it("patch everything from a cache: the clean run again", () => {
    const other = randomTokens(3, 12, 96, 99);
    const { logits, cache } = runWithCache(model, tokens, {
      names: ["hook_embed", "blocks.2.hook_resid_pre", "blocks.0.attn.hook_pattern"],
    });
    const patched = changed([{ at: "blocks.2.hook_resid_pre", do: "patch", with: { cache: "clean" } }], other, {
      caches: { clean: cache },
    });
    expect(maxDifference(patched, logits!)).toBeLessThan(2e-4);
    const frozen = changed([{ at: "blocks.0.attn.hook_pattern", do: "freeze-pattern" }]);
    expect(maxDifference(frozen, logits!)).toBeLessThan(2e-4);
    tf.dispose([logits!, patched, frozen]);
    cache.dispose();
  });

  it("leak no tensor", () => {
    changed([
      { at: Z, do: "mean" },
      { at: Z, do: "resample" },
    ]).dispose();
    const before = tf.memory().numTensors;
    changed([
      { at: Z, do: "mean" },
      { at: Z, do: "resample" },
    ]).dispose();
    expect(() =>
      changed([
        { at: Z, do: "zero" },
        { at: Z, heads: [6], do: "zero" },
      ]),
    ).toThrow(refused("usage"));
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuse what can't be, with the remedy", () => {
    const impossible: Intervention[] = [
      { at: "blocks.1.attn.hook_y", do: "zero" },
      { at: "blocks.9.attn.hook_z", do: "zero" },
      { at: "blocks.1.attn.hook_k", heads: [2], do: "zero" },
      { at: Z, positions: [12], do: "zero" },
      { at: Z, rows: [3], do: "zero" },
      { at: "blocks.1.hook_resid_pre", heads: [0], do: "zero" },
      { at: Z, do: "freeze-pattern" },
      { at: "blocks.1.attn.hook_pattern", do: "mean" },
      { at: Z, do: "patch" },
      { at: Z, do: "patch", with: { cache: "clear" } },
      { at: Z, do: "add", with: [1, 2, 3] },
    ];
    const withRemedy = refused("usage", { remedy: expect.stringMatching(/./) });
    for (const one of impossible) expect(() => changed([one]), JSON.stringify(one)).toThrow(withRemedy);
    expect(() =>
      compileInterventions(model, [{ at: Z, do: "mean" }], { rows: 1, positions: 4, tokens: [[1, 2, 3, 4]] }),
    ).toThrow(refused("usage"));
    expect(() => parseInterventions([{ at: Z, do: "zeroo" }])).toThrow(
      expect.objectContaining({ kind: "usage", subject: "zeroo" }),
    );
    expect(() => parseInterventions([{ at: Z, do: "zero", head: [1] }])).toThrow(refused("usage"));
  });
});

describe("the activation cache", () => {
  it("slices by layer, row, head and position", () => {
    const { logits, cache } = runWithCache(model, tokens, {
      names: (name) => /hook_(z|pattern|resid_pre)$/.test(name),
    });
    expect(cache.get(Z).shape).toEqual([3, 12, 6, 8]);
    const z = cache.slice("attn.hook_z", { layer: 1, row: 2, head: 5, position: -1 });
    expect([...z.dataSync()]).toEqual([...cache.get(Z).slice([2, 11, 5, 0], [1, 1, 1, 8]).dataSync()]);
    expect(cache.slice("attn.hook_pattern", { layer: 0, head: 1, position: 4 }).shape).toEqual([3, 12]);
    expect(() => cache.slice(Z, { head: 6 })).toThrow(refused("usage"));
    expect(() => cache.get("blocks.1.attn.hook_q")).toThrow(refused("usage"));
    expect(() => cache.get("blocks.1.attn.z")).toThrow(
      expect.objectContaining({ kind: "usage", subject: "blocks.1.attn.z" }),
    );
    expect(cache.bytes).toBeGreaterThan(0);
    logits!.dispose();
    cache.dispose();
  });

  it("goes to safetensors and back", async () => {
    const folder = mkdtempSync(join(tmpdir(), "headscope-"));
    const { logits, cache } = runWithCache(model, tokens, { names: [Z, "hook_embed"] });
    await cache.toSafetensors(join(folder, "cache.safetensors"), { model: "random" });
    const back = await ActivationCache.fromSafetensors(join(folder, "cache.safetensors"));
    expect([...back.names].sort()).toEqual([...cache.names].sort());
    expect(maxDifference(back.get(Z), cache.get(Z))).toBe(0);
    logits!.dispose();
    cache.dispose();
    back.dispose();
    rmSync(folder, { recursive: true });
  });
});
