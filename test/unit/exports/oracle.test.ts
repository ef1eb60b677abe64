import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maskFromHeads } from "../../../backend/common/heads/mask.ts";
import { exportHeads } from "../../../backend/exports/index.ts";
import { checkpoint, gates, mask, model, patterns, scores } from "../../helpers/formats/heads-documents.ts";
import oracle from "../../oracles/exports.json" with { type: "json" };

/** Where test/oracles/exports.py is to read the files; without it they go to a temporary folder. */
const kept = process.env["HEADSCOPE_EXPORTS_OUT"];
let folder: string;

beforeAll(async () => {
  folder = kept ?? (await mkdtemp(join(tmpdir(), "headscope-exports-")));
  await mkdir(folder, { recursive: true });
  const at = (name: string) => join(folder, name);
  const force = { force: true };
  await exportHeads("duo-attention", { mask }, at("duo-mask"), {}, force);
  await exportHeads("duo-attention", { scores }, at("duo-scores"), { sink: "8" }, force);
  await exportHeads("duo-attention", { scores: gates }, at("duo-gates"), {}, force);
  await exportHeads("minference", { patterns }, at("minference.json"));
  const layers = patterns.layers.map((row) => row.map((each) => ({ ...each, pattern: "vertical_and_slash" as const })));
  await exportHeads("qwen-1m", { patterns: { ...patterns, layers } }, at("qwen"), {}, force);
  await exportHeads("retrieval-head", { scores }, at("retrieval.json"));
  await exportHeads("safetensors", { mask }, at("mask.safetensors"));
  await exportHeads("safetensors", { scores }, at("scores.safetensors"));
  await exportHeads("csv", { mask }, at("mask.csv"));
  await exportHeads("csv", { scores }, at("scores.csv"));
  await exportHeads("hf-prune", { mask }, at("prune.json"));
  await exportHeads("pruned-checkpoint", { mask, checkpoint: checkpoint() }, at("pruned"), {}, force);
  const whole = maskFromHeads(model, []);
  await exportHeads("pruned-checkpoint", { mask: whole, checkpoint: checkpoint() }, at("whole"), {}, force);
  const weights: Record<string, number[]> = {};
  for await (const { name, data } of checkpoint().tensors()) weights[name] = [...data];
  await writeFile(at("inputs.json"), JSON.stringify({ scores, mask, patterns, weights }));
});

afterAll(async () => {
  if (kept === undefined) await rm(folder, { recursive: true });
});

if (kept === undefined)
  describe("files are, byte for byte, those that the foreign readers accepted", () => {
    test.each(Object.entries(oracle.sha256))("%s", async (name, sha256) => {
      const bytes = await readFile(join(folder, name));
      expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
    });
  });
else test("files are written for the oracle", () => {});
