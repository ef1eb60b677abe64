import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import { writeMask } from "../../../../../backend/heads/files.ts";
import { type GatesFile, writeGates } from "../../../../../backend/heads/gate-files.ts";
import { generate } from "../../../../../backend/inference/generate.ts";
import { forward } from "../../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { trainGates } from "../../../../../probes/gates/train.ts";
import { errorOf } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-locret-"));
const at = (name: string) => join(folder, name);
const heads = at("heads.safetensors");
const small = { num_steps: 1, hidden: 3, context_length_min: 256, context_length_max: 256 };
let model: Model;
let gates: GatesFile;

beforeAll(async () => {
  model = randomModel(smallConfig({ n_layers: 2, qk_norm: "head" }));
  gates = await trainGates(model, "locret", { ...small, context_lengths_num_intervals: 1 });
  await writeGates(heads, gates);
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** The network's numbers of every key [layers][KV heads][positions], by loops over what the forward shows. */
function foretold(tokens: readonly number[]): number[][][] {
  const { n_heads: H, n_key_value_heads: G, d_head: D, eps } = model.config;
  const looks = ["q", "k", "v"].flatMap((part) => [0, 1].map((l) => `blocks.${l}.attn.hook_${part}`));
  const { activations, dispose } = forward(model, { tokens: [[...tokens]], logitsAt: "none" }, { names: looks });
  const normed = (x: number[], w: readonly number[]) => {
    const scale = Math.sqrt(x.reduce((sum, y) => sum + y * y, 0) / D + eps);
    return x.map((y, i) => (y / scale) * w[i]!);
  };
  const found = [0, 1].map((l) => {
    const part = (name: string) =>
      (activations.get(`blocks.${l}.attn.hook_${name}`)!.arraySync() as number[][][][])[0]!;
    const { qNorm, kNorm } = model.weights.blocks[l]!;
    const [wq, wk] = [[...qNorm!.dataSync()], [...kNorm!.dataSync()]];
    const [q, k, v] = [part("q"), part("k"), part("v")];
    const [fc1, fc2] = ["fc1", "fc2"].map((name) => gates.tensors.get(`blocks.${l}.${name}`)!);
    const width = (H + 2 * G) * D;
    const byToken = tokens.map((_, t) => {
      const x = [...q[t]!.map((head) => normed(head, wq)), ...k[t]!.map((head) => normed(head, wk)), ...v[t]!].flat();
      const hidden = Array.from({ length: 3 }, (_, i) =>
        x.reduce((sum, y, j) => sum + y * fc1!.values[i * width + j]!, 0),
      );
      const active = hidden.map((y) => y / (1 + Math.exp(-y)));
      return Array.from({ length: G }, (_, g) => active.reduce((sum, y, i) => sum + y * fc2!.values[g * 3 + i]!, 0));
    });
    return Array.from({ length: G }, (_, g) => byToken.map((row) => row[g]!));
  });
  dispose();
  return found;
}

describe("locret", () => {
  it.each([60, 700])(
    "in one part keeps the keys that the trained heads put highest, and the last ones, of %i tokens",
    async (length) => {
      const tokens = randomTokens(1, length, 96, 8)[0]!;
      const policies = [{ name: "locret", params: { heads, budget: 20, stabilizers: 5, part: length } }];
      const { cache } = await generate(model, { tokens, policies, maxTokens: 1, stop: [] });
      for (const [l, layer] of foretold(tokens).entries())
        for (const [g, scores] of layer.entries()) {
          const kept = cache.kept![l]![g]!;
          expect(kept).toHaveLength(20);
          expect(kept.slice(-5)).toEqual(Array.from({ length: 5 }, (_, i) => length - 5 + i));
          const chosen = new Set(kept.slice(0, -5));
          const others = scores.slice(0, length - 5).filter((_, p) => !chosen.has(p));
          // Keys whose numbers differ by rounding alone may stand for each other.
          const least = Math.min(...[...chosen].map((p) => scores[p]!));
          expect(least).toBeGreaterThan(Math.max(...others) - 1e-5);
        }
    },
  );

  it("says what is missing, and how it is made, before a model is loaded", async () => {
    const refused = (params: object) =>
      errorOf(
        generate(model, { tokens: [1, 2, 3], policies: [{ name: "locret", params: { ...params } }], maxTokens: 1 }),
      );
    const made = expect.stringContaining("train-gates --for locret");
    expect(await refused({})).toMatchObject({ kind: "usage", field: "heads", remedy: made });
    expect(await refused({ heads: at("none.safetensors") })).toMatchObject({ kind: "missing", remedy: made });
    const other = at("other.safetensors");
    await writeGates(other, { ...gates, about: { ...gates.about, method: "attention-gate" } });
    expect(await refused({ heads: other })).toMatchObject({ kind: "mismatch", remedy: made });
    const shallow = { ...gates.about, model: { ...gates.about.model, layers: 3 } };
    await writeGates(other, { ...gates, about: shallow });
    expect(await refused({ heads: other })).toMatchObject({ kind: "mismatch" });
  });

  it("reads in parts whoever sees its steps, and refuses to show activations of all", async () => {
    const tokens = randomTokens(1, 300, 96, 8)[0]!;
    const policies = [{ name: "locret", params: { heads, budget: 20, stabilizers: 5, part: 64 } }];
    const seen: number[] = [];
    const onStep = ({ lengths }: { lengths: readonly number[] }) => void seen.push(lengths[0]!);
    const watched = await generate(model, { tokens, policies, maxTokens: 1, stop: [], onStep });
    expect(seen).toEqual([300 % 64]); // the last part
    const { cache } = await generate(model, { tokens, policies, maxTokens: 1, stop: [] });
    expect(watched.cache.kept).toEqual(cache.kept);
    expect(cache.kept!.flat().every((positions) => positions.length === 20)).toBe(true);
    const forward = { names: ["blocks.0.attn.hook_q"] };
    const error = await errorOf(generate(model, { tokens, policies, maxTokens: 1, forward }));
    expect(error).toMatchObject({ kind: "usage", field: ["policies", "forward"] });
    expect(error.message).toMatch(/parts of 64 tokens.*all 300/);
  });

  it("is refused where KV heads stream, since it looks at all of a layer", async () => {
    const mask = at("mask.json");
    await writeMask(mask, maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 }));
    const policies = [
      { name: "duo-attention", params: { mask } },
      { name: "locret", params: { heads } },
    ];
    const error = await errorOf(generate(model, { tokens: randomTokens(1, 40, 96)[0]!, policies, maxTokens: 1 }));
    expect(error).toMatchObject({ kind: "usage", field: "policies" });
  });
});
