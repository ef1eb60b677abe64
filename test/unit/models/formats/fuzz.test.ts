import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { describeCheckpoint, readPart, readPartNarrow } from "../../../../backend/models/families/index.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { largestArray } from "../../../helpers/formats/arrays.ts";
import { mutate, seeded } from "../../../helpers/formats/files.ts";
import { LIES, mutateJson, pathsOf } from "../../../helpers/formats/json.ts";
import { patiently } from "../../../helpers/runner/patience.ts";

const entries = (place: string) =>
  readdirSync(fixture(place))
    .sort()
    .map((name) => fixture(`${place}/${name}`));
const FOLDERS = [...entries("families"), fixture("formats/llama-tiny")];
const SHARDED = FOLDERS.filter((folder) => readdirSync(folder).includes("model.safetensors.index.json"));
const WHOLE = FOLDERS.filter((folder) => readdirSync(folder).includes("model.safetensors"));
const GGUF = [...entries("families-gguf"), fixture("formats/llama-tiny.gguf"), fixture("formats/quantised.gguf")];

let scratch: string;
beforeAll(async () => {
  await initBackend();
  scratch = mkdtempSync(join(tmpdir(), "headscope-fuzz-"));
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** A copy of a folder, or a file, that a mutation may damage. */
function copyOf(path: string): string {
  const copy = join(scratch, basename(path));
  rmSync(copy, { recursive: true, force: true });
  cpSync(path, copy, { recursive: true });
  return copy;
}

/** Bytes of the file, or of all files of the folder. */
function sizeOf(path: string): number {
  if (/\.gguf$/.test(path)) return readFileSync(path).length;
  return readdirSync(path).reduce((sum, name) => sum + readFileSync(join(path, name)).length, 0);
}

/** Reads everything that a checkpoint says and holds. */
async function readAll(path: string): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  try {
    const { parts } = describeCheckpoint(checkpoint);
    for (const part of Object.values(parts)) {
      await readPart(checkpoint, part);
      await readPartNarrow(checkpoint, part);
    }
  } finally {
    await checkpoint.close();
  }
}

/** Whether a call ends well; a HeadscopeError is an answer, anything else a defect. */
async function ends(call: () => Promise<unknown>, label: string): Promise<boolean> {
  try {
    await call();
    return true;
  } catch (cause) {
    if (cause instanceof HeadscopeError) return false;
    throw new Error(`${label} ended in a defect: ${String(cause)}`, { cause });
  }
}

/** The table of half-precision numbers is made once, and a first read takes up to 4 MiB of a file that has as much. */
const FIXED = 2 ** 18;
/** A 2-bit code with its scales becomes a float of 32. */
const WIDENING = 16;

/**
 * Loads `count` damaged copies: each is a model or a HeadscopeError, takes no array that its own bytes do not call for,
 * and leaves no tensor.
 * @param damage changes the copy
 * @returns how many of them loaded
 */
async function fuzz(
  sources: readonly string[],
  count: number,
  seed: number,
  damage: (copy: string, random: () => number) => void,
): Promise<number> {
  const random = seeded(seed);
  let loaded = 0;
  for (let i = 0; i < count; i++) {
    const source = sources[i % sources.length]!;
    const copy = copyOf(source);
    damage(copy, random);
    const label = `mutation ${i} (seed ${seed}) of ${basename(source)}`;
    const most = WIDENING * sizeOf(copy) + FIXED;
    const tensors = tf.memory().numTensors;
    const { largest, result } = await largestArray(() => ends(() => readAll(copy), label));
    expect(largest, `${label}: bytes of one array`).toBeLessThanOrEqual(most);
    if (result) {
      const load = async () => (await loadModel(copy)).dispose();
      if (await ends(load, label)) loaded++;
    }
    expect(tf.memory().numTensors, label).toBe(tensors);
  }
  return loaded;
}

/** Damages the first `reach` bytes of a file. */
function damageBytes(path: string, random: () => number, reach: (bytes: Buffer) => number): void {
  const bytes = readFileSync(path);
  writeFileSync(path, mutate(bytes, random, reach(bytes)));
}
const safetensorsHeader = (bytes: Buffer) => 8 + Number(bytes.readBigUInt64LE(0));

/** A copy of a document in which the value at a path is another one. */
function replaced(document: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const inner = (document as Record<string, unknown> | undefined)?.[key];
  return { ...(document as object), [key]: replaced(inner, rest, value) };
}

describe("every field of every config", () => {
  it.each([...FOLDERS, ...GGUF])("holds each of the lies or is refused: %s", async (path) => {
    const checkpoint = await openCheckpoint(path);
    const isGguf = checkpoint.format === "gguf";
    const document = isGguf ? checkpoint.metadata : checkpoint.metadata["config"];
    const absent = ["head_dim", "sliding_window", "rope_scaling", "layer_types", "num_experts", "attention_types"];
    for (const field of [...pathsOf(document), ...absent.map((name) => [name])]) {
      for (const lie of LIES) {
        const changed = replaced(document, field, lie) as Record<string, unknown>;
        const label = `${basename(path)}: ${field.join(".")} = ${JSON.stringify(lie).slice(0, 60)}`;
        const describe = async () =>
          describeCheckpoint({ ...checkpoint, metadata: isGguf ? changed : { config: changed } });
        const { largest } = await largestArray(() => ends(describe, label));
        expect(largest, label).toBeLessThanOrEqual(FIXED);
      }
    }
    await checkpoint.close();
  });
});

describe("2,000 seeded mutations load or end in a HeadscopeError", { timeout: patiently(240_000) }, () => {
  it("500 of safetensors headers", async () => {
    const loaded = await fuzz(WHOLE, 500, 1, (copy, random) =>
      damageBytes(join(copy, "model.safetensors"), random, safetensorsHeader),
    );
    expect(loaded).toBeLessThan(250);
  });

  it("500 of GGUF headers", async () => {
    const loaded = await fuzz(GGUF, 500, 2, (copy, random) =>
      damageBytes(copy, random, (bytes) => bytes.lastIndexOf("output_norm.weight") + 64),
    );
    expect(loaded).toBeGreaterThan(0);
    expect(loaded).toBeLessThan(250);
  });

  it("300 of index files and of shards", async () => {
    const loaded = await fuzz(SHARDED, 300, 3, (copy, random) => {
      const files = readdirSync(copy).filter((name) => name.endsWith(".safetensors"));
      const index = join(copy, "model.safetensors.index.json");
      const kind = random();
      if (kind < 0.4) writeFileSync(index, mutateJson(readFileSync(index, "utf8"), random));
      else if (kind < 0.7) damageBytes(index, random, (bytes) => bytes.length);
      else damageBytes(join(copy, files[Math.floor(random() * files.length)]!), random, safetensorsHeader);
    });
    expect(loaded).toBeLessThan(200);
  });

  it("700 of config.json", async () => {
    const loaded = await fuzz(FOLDERS, 700, 4, (copy, random) => {
      const config = join(copy, "config.json");
      if (random() < 0.8) writeFileSync(config, mutateJson(readFileSync(config, "utf8"), random));
      else damageBytes(config, random, (bytes) => bytes.length);
    });
    expect(loaded).toBeGreaterThan(100); // most fields are about training
    expect(loaded).toBeLessThan(600);
  });
});
