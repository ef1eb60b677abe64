import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import { writeGates } from "../../../../../backend/heads/gate-files.ts";
import { generate } from "../../../../../backend/inference/generate.ts";
import { loadModel } from "../../../../../backend/models/load.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { fixture } from "../../../../helpers/fixtures.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { drawnInput } from "../../../../helpers/oracles/policies.ts";

/** A policy as test/oracles/policies_trained.py has run it. */
interface Section {
  parameters: Record<string, number>;
  kept: number[][][];
  first: number[];
  second: number[];
  tokens: number[];
}
const path = new URL("../../../../oracles/policies/trained.json", import.meta.url);
const oracle = JSON.parse(readFileSync(path, "utf8")) as {
  seed: number;
  prompt: number[];
  locret: Section;
  "attention-gate": Section;
};

await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-trained-"));
let model: Model;
beforeAll(async () => {
  model = await loadModel(fixture("policies/llama"));
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** A file with the numbers that the program has drawn. @param parts of a layer: name, shape and scale */
async function drawnGates(method: string, policy: number, parts: readonly [string, number[], number][]) {
  const file = join(folder, `${method}.safetensors`);
  const tensors = Array.from({ length: model.config.n_layers }, (_, layer) =>
    parts.map(([name, shape, scale], part) => {
      const stream = 16 * policy + 4 * layer + part;
      const values = Float32Array.from(drawnInput({ kind: "normal", stream, shape, scale }, oracle.seed));
      return [`blocks.${layer}.${name}`, { shape, values }] as const;
    }),
  );
  const about = { method, model: headModel(model), params: {}, seed: 0, step: 1, steps: 1, seconds: 0, curve: [] };
  await writeGates(file, { about, tensors: new Map(tensors.flat()) });
  return file;
}

/** The oracle's facts of a generation, and the logits of its first two new tokens. */
async function run(name: string, params: Record<string, unknown>) {
  const logits: number[][] = [];
  const onStep = (result: { logits?: { dataSync(): ArrayLike<number> } }): void =>
    void logits.push([...Array.from(result.logits!.dataSync()).slice(-model.config.d_vocab)]);
  const options = { tokens: oracle.prompt, policies: [{ name, params }], stop: [], onStep };
  const { ids } = await generate(model, { ...options, maxTokens: 4 });
  const { cache } = await generate(model, { ...options, maxTokens: 1 });
  return { ids, kept: cache.kept, logits };
}

function expectAgreement({ ids, kept, logits }: Awaited<ReturnType<typeof run>>, section: Section): void {
  expect(kept).toEqual(section.kept);
  for (const [step, expected] of [section.first, section.second].entries())
    expected.forEach((x, id) => void expect(logits[step]![id]).toBeCloseTo(x, 3));
  expect(ids).toEqual(section.tokens);
}

describe("policies with trained numbers keep and generate what a NumPy program of their definition does", () => {
  it("locret, which cuts a prompt part by part", async () => {
    const { n_heads: H, n_key_value_heads: G, d_head: D } = model.config;
    const { hidden, ...params } = oracle.locret.parameters as { hidden: number };
    const parts: [string, number[], number][] = [
      ["fc1", [hidden, (H + 2 * G) * D], 0.25],
      ["fc2", [G, hidden], 1],
    ];
    const heads = await drawnGates("locret", 1, parts);
    expectAgreement(await run("locret", { heads, ...params }), oracle.locret);
    // At once, later tokens of the prompt see everything.
    const { kept } = await run("locret", { heads, ...params, part: oracle.prompt.length });
    expect(kept).not.toEqual(oracle.locret.kept);
  });

  it("attention-gate, whose flags hold within the prompt", async () => {
    const { n_key_value_heads: G, d_model } = model.config;
    const { width, threshold } = oracle["attention-gate"].parameters as { width: number; threshold: number };
    const parts: [string, number[], number][] = [
      ["project", [3 * width, d_model], 1],
      ["out", [G, width], 2],
      ["bias", [G], 0.25],
    ];
    const gates = await drawnGates("attention-gate", 2, parts);
    expectAgreement(await run("attention-gate", { gates, threshold }), oracle["attention-gate"]);
    const { logits } = await run("attention-gate", { gates, threshold, prefill: "dense" });
    expect(Math.max(...logits[0]!.map((x, i) => Math.abs(x - oracle["attention-gate"].first[i]!)))).toBeGreaterThan(
      0.1,
    );
  });
});
