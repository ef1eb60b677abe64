import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describeCheckpoint, readPart } from "../../../../backend/models/families/index.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { fixture } from "../../../helpers/fixtures.ts";

/** Written by llama.cpp's converter from the Hugging Face folders of the same names: test/oracles/families_gguf.py. */
const NAMES = readdirSync(fixture("families-gguf")).map((name) => name.replace(/\.gguf$/, ""));
const ggufOf = (name: string) => fixture(`families-gguf/${name}.gguf`);
const folderOf = (name: string) =>
  ["families", "families-extra"].map((place) => fixture(`${place}/${name}`)).find((folder) => existsSync(folder))!;
/**
 * What the format has no field for: a window under the name llama, and in Gemma 3 a scale and an order of layers that no
 * released model has.
 */
const LOST: Readonly<Record<string, readonly string[]>> = {
  "mistral-window": ["window_size", "attn_types"],
  gemma3: ["attn_scale", "attn_types"],
};

async function described(path: string) {
  const checkpoint = await openCheckpoint(path);
  try {
    const { config, parts } = describeCheckpoint(checkpoint);
    const values = new Map<string, Float32Array>();
    for (const [name, part] of Object.entries(parts)) values.set(name, await readPart(checkpoint, part));
    return { config, values };
  } finally {
    await checkpoint.close();
  }
}

describe.each(NAMES)("%s from GGUF", (name) => {
  it("has the config and, bit for bit, the weights of its Hugging Face folder", async () => {
    const [gguf, folder] = [await described(ggufOf(name)), await described(folderOf(name))];
    const lost = LOST[name] ?? [];
    const kept = (config: object) => Object.entries(config).filter(([field]) => !lost.includes(field));
    expect(Object.fromEntries(kept(gguf.config))).toEqual(Object.fromEntries(kept(folder.config)));
    expect([...gguf.values.keys()].sort()).toEqual([...folder.values.keys()].sort());
    for (const [part, values] of gguf.values) expect(values, part).toEqual(folder.values.get(part));
  });

  if (LOST[name] !== undefined) return; // another model than the folder's
  it("agrees with transformers' logits to 2e-4", async () => {
    const oracle = JSON.parse(readFileSync(join(folderOf(name), "oracle.json"), "utf8")) as {
      ids: number[][];
      logits: number[][][];
      logit_positions: number[];
    };
    await loadModel("toy-induction").then((toy) => toy.dispose()); // starts the backend
    const before = tf.memory().numTensors;
    const model = await loadModel(ggufOf(name));
    const { logits, dispose } = forward(model, { tokens: oracle.ids, logitsAt: oracle.logit_positions });
    const found = logits!.dataSync();
    const expected = oracle.logits.flat(2);
    expect(found.length).toBe(expected.length);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - found[i]!)))).toBeLessThan(2e-4);
    dispose();
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
