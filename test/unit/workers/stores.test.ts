import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { forward } from "../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { OpenModels } from "../../../backend/workers/open-models.ts";
import { PromptRuns } from "../../../backend/workers/prompt-runs.ts";
import { randomTokens, smallConfig } from "../../helpers/models.ts";
import { apart, ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";

const CONFIG = smallConfig({ n_layers: 2 });
/** Bytes of the streams of so many tokens: before both layers and after the last. */
const bytesOf = (tokens: number) => 3 * tokens * CONFIG.d_model * 4;

ownDataFolder();
beforeAll(async () => {
  for (const [id, seed] of [["a", 1], ["b", 2], ["c", 3]] as const) await saveRandomRun(`${id}-1`, 0, CONFIG, seed);
}); // biome-ignore format: a table

describe("open models", () => {
  it("stay open until others need their place, the least recently used first", async () => {
    const models = new OpenModels({ models: 2, bytes: Number.POSITIVE_INFINITY });
    const a = await models.open("run:a-1");
    expect(await models.open("run:a-1")).toBe(a);
    await models.open("run:b-1");
    await models.open("run:a-1");
    await models.open("run:c-1");
    expect(models.refs).toEqual(["run:a-1@0", "run:c-1@0"]);
    expect(await models.open("run:a-1")).toBe(a);
    models.dispose();
  });

  it("are bounded by their bytes, but the one that is used stays", async () => {
    const model = await loadModel("run:a-1");
    const models = new OpenModels({ models: 9, bytes: 1.5 * model.bytes });
    model.dispose();
    await models.open("run:a-1");
    const one = tf.memory().numTensors;
    await models.open("run:b-1");
    expect(models.refs).toEqual(["run:b-1@0"]);
    expect(tf.memory().numTensors).toBe(one);
    models.dispose();
    const small = new OpenModels({ models: 1, bytes: 1 });
    await small.open("run:a-1");
    expect(small.refs).toEqual(["run:a-1@0"]);
    small.dispose();
  });

  it("stay open while they are held, whatever else is opened meanwhile", async () => {
    const models = new OpenModels({ models: 1, bytes: 1 });
    const held = await models.open("run:a-1");
    const release = models.hold();
    await models.open("run:b-1");
    await models.open("run:c-1");
    expect(models.refs).toEqual(["run:a-1@0", "run:c-1@0"]);
    release();
    expect(models.refs).toEqual(["run:a-1@0"]);
    expect(await models.open("run:a-1")).toBe(held);
    models.dispose();
  });

  it("follow a run to its newest checkpoint, and a file that was written anew", async () => {
    const models = new OpenModels();
    const first = await models.open("run:a-1");
    await saveRandomRun("a-1", 5, CONFIG, 9);
    const later = await models.open("run:a-1");
    expect([first.ref, later.ref]).toEqual(["run:a-1@0", "run:a-1@5"]);
    expect(await models.open("run:a-1@0")).toBe(first);
    await saveRandomRun("a-1", 5, smallConfig({ n_layers: 1 }), 9);
    expect((await models.open("run:a-1")).config.n_layers).toBe(1);
    models.dispose();
  });
});

describe("runs of prompts", () => {
  let model: Model;
  const made: PromptRuns[] = [];
  const store = (most: number): PromptRuns => {
    const runs = new PromptRuns(most);
    made.push(runs);
    return runs;
  };
  beforeAll(async () => {
    model = await loadModel("run:b-1");
    model.rotary; // made once for a model
  });
  afterEach(() => {
    for (const runs of made.splice(0)) runs.dispose();
  });
  const [first, second, third] = randomTokens(3, 10, CONFIG.d_vocab) as [number[], number[], number[]];

  it("keep the stream before every layer and after the last, and lose the least recently used", async () => {
    const runs = store(2 * bytesOf(10));
    const before = tf.memory().numTensors;
    const held = await runs.of(model, first);
    expect(held.streams!.map(({ shape }) => shape)).toEqual(new Array(3).fill([1, 10, CONFIG.d_model]));
    expect(runs.bytes).toBe(bytesOf(10));
    await runs.of(model, second);
    expect(await runs.of(model, first)).toBe(held);
    await runs.of(model, third);
    expect(await runs.of(model, first)).toBe(held);
    expect(runs.bytes).toBe(2 * bytesOf(10));
    expect(tf.memory().numTensors).toBe(before + 6);
    runs.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("of one model are not another's", async () => {
    const other = await loadModel("run:c-1");
    const runs = store(bytesOf(100));
    expect(apart((await runs.of(model, first)).nll, (await runs.of(other, first)).nll)).toBeGreaterThan(0.01);
    other.dispose();
  });

  it("too long to be kept give the same streams, made for each use", async () => {
    const runs = store(bytesOf(9));
    expect(await runs.of(model, first)).toMatchObject({ streams: undefined, bytes: 0 });
    const before = tf.memory().numTensors;
    for (const layer of [0, 1, 2]) {
      const found = await runs.withStream(model, first, { layer }, (stream) => stream.dataSync());
      const { resid } = forward(model, { tokens: [first], stopLayer: layer, logitsAt: "none" });
      expect(apart(found, resid.dataSync())).toBeLessThan(1e-5);
      resid.dispose();
    }
    expect(tf.memory().numTensors).toBe(before);
    expect((await runs.of(model, first)).nll).toEqual((await store(bytesOf(10)).of(model, first)).nll);
  });

  it("stay while they are held, whatever else is asked for, and make room after what came meanwhile", async () => {
    const runs = store(bytesOf(10));
    const held = await runs.of(model, first);
    const release = runs.hold();
    await runs.of(model, second);
    await runs.of(model, third);
    expect(held.streams!.some(({ isDisposed }) => isDisposed)).toBe(false);
    release();
    expect(await runs.of(model, first)).toBe(held);
    expect(runs.bytes).toBe(bytesOf(10));
  });

  it("stop between layers when they are cancelled, and leave nothing behind", async () => {
    const runs = store(bytesOf(10));
    const stop = new AbortController();
    stop.abort(new Error("enough"));
    const before = tf.memory().numTensors;
    await expect(runs.of(model, first, { signal: stop.signal })).rejects.toThrow("enough");
    expect(tf.memory().numTensors).toBe(before);
  });
});
