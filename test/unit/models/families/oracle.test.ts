import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate } from "../../../../backend/inference/generate.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { fixture } from "../../../helpers/fixtures.ts";

/** The twelve given checkpoints, and those of test/oracles/families.py for what they don't cover. */
const FOLDERS = ["families", "families-extra"].flatMap((name) => {
  const folder = fixture(name);
  return readdirSync(folder).map((checkpoint) => join(folder, checkpoint));
});
const TOLERANCE = 2e-4;

/** What transformers computed of a checkpoint in float32; test/oracles/README.md describes it. */
interface Oracle {
  ids: number[][];
  logit_positions: number[];
  /** [rows, positions, d_vocab] */
  logits: number[][][];
  /** [1, heads, query, key] of the first row */
  attention_l1: number[][][][];
  /** At the first row's last position [d_model]. */
  hidden_after_l0: number[];
  /** A prompt, which is the beginning of the first row, and its continuation. */
  greedy: number[];
}

const furthest = (found: ArrayLike<number>, expected: readonly number[]): number => {
  expect(found.length).toBe(expected.length);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - found[i]!)), 0);
};
const best = (logits: ArrayLike<number>): number =>
  Array.from(logits).reduce((top, value, i) => (value > logits[top]! ? i : top), 0);

const readOracle = (folder: string) => JSON.parse(readFileSync(join(folder, "oracle.json"), "utf8")) as Oracle;

describe.each(FOLDERS.map((path) => ({ name: basename(path), path })))("$name agrees with transformers", ({ path }) => {
  const oracle = readOracle(path);
  const differs = oracle.greedy.findIndex((id, i) => id !== oracle.ids[0]![i]);
  const prompt = oracle.greedy.slice(0, differs);
  const continuation = oracle.greedy.slice(differs);
  let model: Model;
  let before = 0;
  beforeAll(async () => {
    await loadModel("toy-induction").then((toy) => toy.dispose()); // starts the backend
    before = tf.memory().numTensors;
    model = await loadModel(path);
  });
  afterAll(() => {
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it.each([true, false])("in logits, attention of layer 1 and the stream after layer 0 (captured: %s)", (captured) => {
    const held = tf.memory().numTensors;
    const names = ["blocks.1.attn.hook_pattern", "blocks.0.hook_resid_post"];
    const input = { tokens: oracle.ids, logitsAt: oracle.logit_positions };
    const { logits, activations, dispose } = forward(model, input, { names, captured });
    const row = (tensor: Tensor) => tf.tidy(() => tensor.slice(0, 1).dataSync());
    expect(furthest(logits!.dataSync(), oracle.logits.flat(2))).toBeLessThan(TOLERANCE);
    expect(furthest(row(activations.get(names[0]!)!), oracle.attention_l1.flat(3))).toBeLessThan(TOLERANCE);
    const stream = row(activations.get(names[1]!)!);
    expect(furthest(stream.slice(-model.config.d_model), oracle.hidden_after_l0)).toBeLessThan(TOLERANCE);
    dispose();
    // The rotary tables stay with the model once they are made.
    expect(tf.memory().numTensors - held).toBeLessThanOrEqual(captured ? 4 : 0);
  });

  it("in a greedy continuation, with the cache and without", async () => {
    const cached = await generate(model, { tokens: prompt, maxTokens: continuation.length, stop: [] });
    expect(cached.ids).toEqual(continuation);
    const uncached = [...prompt];
    while (uncached.length < oracle.greedy.length) {
      const { logits, dispose } = forward(model, { tokens: [uncached], logitsAt: "last" }, { captured: false });
      uncached.push(best(logits!.dataSync()));
      dispose();
    }
    expect(uncached).toEqual(oracle.greedy);
  });
});
