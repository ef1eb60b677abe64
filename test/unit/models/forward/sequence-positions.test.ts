import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { ActivationCache } from "../../../../backend/hooks/activation-cache.ts";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../../../backend/hooks/interventions.ts";
import { runWithCache, runWithHooks } from "../../../../backend/hooks/run.ts";
import { generate } from "../../../../backend/inference/generate.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { ForwardInput } from "../../../../backend/models/forward/types.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const SCORES = "blocks.1.attn.hook_attn_scores";
const PATTERN = "blocks.1.attn.hook_pattern";
const RESID = "blocks.1.hook_resid_pre";
const [ids] = randomTokens(1, 11, 96) as [number[]];

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

const vector = (scale: number) => Array.from({ length: 48 }, (_, i) => scale * Math.sin(i));

/** Logits of all positions of one row, fed in pieces over a cache [positions, d_vocab]. */
function inPieces(pieces: number[], interventions: Intervention[], windows = model): Tensor {
  const cache = new KvCache(windows.config, { capacity: 32 });
  const compiled = compileInterventions(windows, interventions, { rows: 1, positions: ids.length, tokens: [ids] });
  let at = 0;
  const parts = pieces.map((count) => {
    const { logits, resid } = forward(
      windows,
      { tokens: [ids.slice(at, at + count)], cache },
      { interventions: compiled },
    );
    at += count;
    resid.dispose();
    return logits!;
  });
  const all = tf.concat(parts, 1);
  tf.dispose(parts);
  disposeInterventions(compiled);
  cache.dispose();
  return all;
}

describe("an intervention over a cache is that of the whole sequence", () => {
  const kinds: [string, Intervention[]][] = [
    ["add at a position of the prompt", [{ at: RESID, do: "add", with: vector(3), positions: [0, 2] }]],
    ["add at later positions", [{ at: RESID, do: "add", with: vector(3), positions: [7, 10] }]],
    ["add everywhere, and zero at one position", [{ at: RESID, do: "add", with: vector(1) }, { at: RESID, do: "zero", positions: [6] }]],
    ["a table of positions", [{ at: "blocks.0.attn.hook_z", heads: [1, 3], do: "patch", with: { tokens: [[...ids].reverse()] } }]],
    ["a mean by position", [{ at: "blocks.2.attn.hook_z", heads: [2], do: "mean", byPosition: true, with: { tokens: randomTokens(2, 11, 96) } }]],
    ["the embedding", [{ at: "hook_embed", do: "scale", with: 2, positions: [4, 8] }]],
    ["frozen patterns", [{ at: PATTERN, heads: [0, 5], do: "freeze-pattern", with: { tokens: [[...ids].reverse()] } }]],
    ["knocked-out keys", [{ at: SCORES, do: "knock-out", positions: [5, 9, 10], keys: [0, 3, 8] }]],
    ["knocked-out keys of some heads for all queries", [{ at: SCORES, do: "knock-out", heads: [2], keys: [1] }]],
    ["the final norm", [{ at: "ln_final.hook_normalized", do: "scale", with: 2 }]],
  ]; // biome-ignore format: a table
  it.each(kinds)("%s", (_, interventions) => {
    const whole = runWithHooks(model, [ids], { interventions })!;
    for (const pieces of [
      [5, 1, 5],
      [1, 10],
      [6, 1, 1, 1, 1, 1],
    ]) {
      const parts = inPieces(pieces, interventions);
      expect(maxDifference(whole, parts), pieces.join()).toBeLessThan(2e-4);
      parts.dispose();
    }
    const plain = runWithHooks(model, [ids])!;
    expect(maxDifference(whole, plain)).toBeGreaterThan(1e-3);
    tf.dispose([whole, plain]);
  });

  it("in rows that are differently far", () => {
    const [other] = randomTokens(1, 8, 96, 5) as [number[]];
    const interventions: Intervention[] = [
      { at: RESID, do: "add", with: vector(3), positions: [7] },
      { at: SCORES, do: "knock-out", keys: [2, 6] },
    ];
    const cache = new KvCache(model.config, { rows: 2, capacity: 32 });
    const compiled = compileInterventions(model, interventions, { rows: 2, positions: 11 });
    const options = { interventions: compiled };
    forward(model, { tokens: [ids.slice(0, 9), other.slice(0, 6)], cache, logitsAt: "none" }, options).dispose();
    forward(model, { tokens: [[ids[9]!], [other[6]!]], cache, logitsAt: "none" }, options).dispose();
    const last = forward(model, { tokens: [[ids[10]!], [other[7]!]], cache, logitsAt: "last" }, options);
    for (const [r, row] of [ids, other].entries()) {
      const alone = runWithHooks(model, [row], { interventions, logitsAt: "last" })!;
      const mine = tf.slice(last.logits!, [r, 0, 0], [1, 1, -1]);
      expect(maxDifference(mine, alone), `row ${r}`).toBeLessThan(2e-4);
      tf.dispose([alone, mine]);
    }
    last.dispose();
    disposeInterventions(compiled);
    cache.dispose();
  });

  it("patterns of rows that are differently far lie at the keys' own positions", () => {
    const cache = new KvCache(model.config, { rows: 2, capacity: 32 });
    forward(model, { tokens: [ids.slice(0, 9), ids.slice(0, 4)], cache, logitsAt: "none" }).dispose();
    const step = forward(model, { tokens: [[ids[9]!], [ids[4]!]], cache, logitsAt: "none" }, { names: [PATTERN] });
    const { cache: whole } = runWithCache(model, [ids], { names: [PATTERN], logitsAt: "none" });
    for (const [r, query] of [9, 4].entries()) {
      const mine = tf.slice(step.activations.get(PATTERN)!, [r, 0, 0, 0], [1, -1, 1, 10]);
      const theirs = tf.slice(whole.get(PATTERN), [0, 0, query, 0], [1, -1, 1, 10]);
      expect(maxDifference(mine, theirs)).toBeLessThan(1e-5);
      tf.dispose([mine, theirs]);
    }
    step.dispose();
    whole.dispose();
    cache.dispose();
  });

  it("a pattern whose queries are not there is refused, and one position of it is not all", async () => {
    const frozen: Intervention[] = [{ at: PATTERN, do: "freeze-pattern" }];
    for (const tokens of [ids, ids.slice(0, 1)]) {
      const made = generate(model, { tokens, maxTokens: 3, stop: [], interventions: frozen });
      await expect(made).rejects.toMatchObject({ kind: "usage" });
    }
    const some = frozen.map((one) => ({ ...one, positions: [0, 1] }));
    const { ids: continued } = await generate(model, { tokens: ids, maxTokens: 4, stop: [], interventions: some });
    const whole = await generate(model, { tokens: ids, maxTokens: 4, stop: [], interventions: some, useCache: false });
    expect(continued).toEqual(whole.ids);
  });

  it("compiled for the prompt alone it leaves generated positions as they are", async () => {
    const add: Intervention[] = [{ at: RESID, do: "add", with: vector(3), positions: [0] }];
    const compiled = compileInterventions(model, add, { rows: 1, positions: 1 });
    const a = await generate(model, { tokens: ids, maxTokens: 5, stop: [], forward: { interventions: compiled } });
    const b = await generate(model, { tokens: ids, maxTokens: 5, stop: [], interventions: add, useCache: false });
    expect(a.ids).toEqual(b.ids);
    expect([...a.logits].every((value, i) => Math.abs(value - b.logits[i]!) < 2e-4)).toBe(true);
    disposeInterventions(compiled);
  });
});

describe("rows of different lengths", () => {
  const ragged = [ids, ids.slice(3, 5), ids.slice(0, 7)];

  it("are filled up with zeros, and never with what padding computes", () => {
    const { logits, cache } = runWithCache(model, ragged);
    expect(cache.lengths).toEqual([11, 2, 7]);
    for (const name of cache.names) {
      const t = cache.get(name);
      const axis = /pattern|scores/.test(name) ? 2 : 1;
      const begin = t.shape.map((_, a) => (a === 0 ? 1 : a === axis ? 2 : 0));
      const behind = tf.slice(
        t,
        begin,
        t.shape.map((_, a) => (a === 0 ? 1 : -1)),
      );
      expect(tf.max(tf.abs(behind)).dataSync()[0], name).toBe(0);
    }
    expect(tf.max(tf.abs(tf.slice(logits!, [1, 2, 0], [1, -1, -1]))).dataSync()[0]).toBe(0);
    logits!.dispose();
    cache.dispose();
  });

  it.each(["blocks.2.hook_resid_post", "blocks.1.attn.hook_z", PATTERN, SCORES])(
    "a slice of %s is the row's alone",
    (name) => {
      const { logits, cache } = runWithCache(model, ragged, { logitsAt: "none" });
      for (const [row, tokens] of ragged.entries()) {
        const { cache: alone } = runWithCache(model, [tokens], { names: [name], logitsAt: "none" });
        for (const at of [
          {},
          { position: -1 },
          { position: 1 },
          { position: -1, ...(name.includes("attn") ? { head: 3 } : {}) },
        ]) {
          const [mine, theirs] = [cache.slice(name, { row, ...at }), alone.slice(name, { row: 0, ...at })];
          expect(mine.shape).toEqual(theirs.shape);
          expect(maxDifference(mine, theirs)).toBeLessThan(1e-4);
          tf.dispose([mine, theirs]);
        }
        alone.dispose();
      }
      const ends = cache.slice("blocks.2.hook_resid_post", { position: -1 });
      expect(ends.shape).toEqual([3, 48]);
      for (const position of [2, -3])
        expect(() => cache.slice(name, { row: 1, position })).toThrow(refused("usage", { message: "row 1" }));
      expect(() => cache.slice(name, { position: 4 })).toThrow(refused("usage", { message: "row 1" }));
      logits?.dispose();
      ends.dispose();
      cache.dispose();
    },
  );

  it("keep their lengths in a file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "headscope-"));
    const { cache } = runWithCache(model, ragged, { names: [RESID], logitsAt: "none" });
    await cache.toSafetensors(join(folder, "a.safetensors"));
    const read = await ActivationCache.fromSafetensors(join(folder, "a.safetensors"));
    expect(read.lengths).toEqual([11, 2, 7]);
    const [a, b] = [cache, read].map((one) => one.slice(RESID, { row: 1, position: -1 }));
    expect(maxDifference(a!, b!)).toBe(0);
    tf.dispose([a!, b!]);
    cache.dispose();
    read.dispose();
    rmSync(folder, { recursive: true });
  });

  it("give logits at positions of their own", () => {
    const { logits } = forward(model, { tokens: ragged, logitsAt: [-1, 0] });
    const last = forward(model, { tokens: ragged, logitsAt: "last" });
    expect(maxDifference(tf.slice(logits!, [0, 0, 0], [-1, 1, -1]), last.logits!)).toBeLessThan(1e-4);
    for (const logitsAt of [[4], [-3]])
      expect(() => forward(model, { tokens: ragged, logitsAt })).toThrow(refused("usage", { message: "row 1" }));
  });

  it("are no source for longer rows", () => {
    const { cache } = runWithCache(model, ragged, { names: [RESID], logitsAt: "none" });
    const change: Intervention[] = [{ at: RESID, do: "patch", with: { cache: "c" } }];
    expect(() =>
      runWithHooks(model, [ids, ids, ids], { interventions: change, sources: { caches: { c: cache } } }),
    ).toThrow(refused("usage", { message: "row 1" }));
    const same = runWithHooks(model, ragged, { interventions: change, sources: { caches: { c: cache } } })!;
    const plain = runWithHooks(model, ragged)!;
    expect(maxDifference(same, plain)).toBeLessThan(1e-4);
    tf.dispose([same, plain]);
    cache.dispose();
  });
});

describe("positions and key masks of a forward", () => {
  const wrong: [string, Partial<ForwardInput>][] = [
    ["too few positions", { positions: [[0, 1]] }],
    ["positions for other rows", { positions: [[0, 1, 2], [0, 1, 2]] }],
    ["a negative position", { positions: [[-1, 0, 1]] }],
    ["a fractional position", { positions: [[0, 0.5, 1]] }],
    ["a position beyond the context", { positions: [[0, 1, 1200]] }],
    ["a key mask that is too short", { keyMask: [[1, 1]] }],
    ["a key mask of other numbers", { keyMask: [[1, 2, 1]] }],
    ["a key mask that leaves nothing", { keyMask: [[0, 0, 0]] }],
  ]; // biome-ignore format: a table
  it.each(wrong)("%s is refused", (_, input) => {
    expect(() => forward(model, { tokens: [[1, 2, 3]], ...input })).toThrow(expect.objectContaining({ kind: "usage" }));
  });
});
