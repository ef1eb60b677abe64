import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { minferenceImport } from "../../../backend/exports/heads/minference.ts";
import { exportHeads, scoresImporter } from "../../../backend/exports/index.ts";
import { readPatterns, writePatterns } from "../../../backend/heads/patterns.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { model, patterns } from "../../helpers/formats/heads-documents.ts";

type Entry = [pattern: unknown, a: unknown, b: unknown, score: unknown];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-patterns-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** What json.dump wrote. */
async function python(): Promise<Record<string, Entry>[]> {
  return JSON.parse(await readFile(fixture("exports/minference.json"), "utf8"));
}

describe("a MInference pattern file", () => {
  test("that Python wrote is read head by head", async () => {
    const read = await minferenceImport.read(fixture("exports/minference.json"), model);
    const written = await python();
    expect(read.model).toEqual(model);
    expect(read.layers.map((row) => row.map(({ pattern, a, b, score }) => [pattern, a, b, score]))).toEqual(
      written.map((layer) => [0, 1, 2, 3].map((head) => layer[head])),
    );
  });

  test("is written again with the same content", async () => {
    const read = await minferenceImport.read(fixture("exports/minference.json"), model);
    const path = join(folder, "again.json");
    await exportHeads("minference", { patterns: read }, path);
    expect(JSON.parse(await readFile(path, "utf8"))).toEqual(await python());
  });

  test.each<[string, (layers: Record<string, Entry>[]) => unknown, string, string]>([
    ["no list", (layers) => ({ layers }), "input", "is an object, expected a list over layers"],
    ["a layer that is a list", (layers) => layers.with(1, [] as never), "input", "layer 1 is an array"],
    ["three layers", (layers) => layers.slice(1), "mismatch", "has 3 layers, expected 4 of 4: tiny has 4 layers of 4"],
    [
      "three heads",
      (layers) => layers.map(({ 3: _, ...layer }) => layer),
      "mismatch",
      "has 3 heads in layer 0, expected 4 of 4",
    ],
    ["a fifth head", (layers) => layers.with(2, { ...layers[2], 4: layers[2]![0]! }), "mismatch", "head 4 in layer 2"],
    [
      "a gap",
      (layers) => layers.with(3, (({ 1: _, ...layer }) => layer)(layers[3]!) as never),
      "input",
      "layer 3 has no head 1",
    ],
    [
      "a key that is no head",
      (layers) => layers.with(0, { ...layers[0], "01": layers[0]![0]! }),
      "input",
      'names "01"',
    ],
    ["a short entry", (layers) => changed(layers, ["stream_llm", 1, 2] as never), "input", "layer 2, head 1 is "],
    [
      "an unknown pattern",
      (layers) => changed(layers, ["flex_vertical_and_slash", [0.9, 4096], [0.9, 4096], 0]),
      "unsupported",
      'layer 2, head 1 has the pattern "flex_vertical_and_slash"',
    ],
    [
      "half a token",
      (layers) => changed(layers, ["stream_llm", 1.5, 2, 0]),
      "input",
      "layer 2, head 1 has the size 1.5",
    ],
    ["less than none", (layers) => changed(layers, ["stream_llm", 1, -2, 0]), "input", "head 1 has the size -2"],
    ["a text for a score", (layers) => changed(layers, ["stream_llm", 1, 2, "1"]), "input", 'head 1 has the score "1"'],
  ])("with %s is refused, naming file, layer and head", async (name, change, kind, message) => {
    const path = join(folder, `${name}.json`);
    await writeFile(path, JSON.stringify(change(await python())));
    await expect(minferenceImport.read(path, model)).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
    await expect(minferenceImport.read(path, model)).rejects.toThrow(path);
  });

  test("holds no scores for whoever wants some", () => {
    expect(() => scoresImporter("minference")).toThrow("minference holds patterns, not scores");
  });
});

describe("Qwen-1M files", () => {
  test("of other patterns than vertical_and_slash are refused by the head's name", async () => {
    const out = join(folder, "qwen");
    await expect(exportHeads("qwen-1m", { patterns }, out)).rejects.toMatchObject({
      kind: "unsupported",
      line:
        "head 0.1 is stream_llm, and 7 more are not vertical_and_slash: Qwen-1M files hold vertical_and_slash alone; " +
        "search again among vertical_and_slash, or export minference",
    });
  });

  test("hold the patterns, and the part of config.json that turns them on", async () => {
    const layers = patterns.layers.map((row) =>
      row.map((each) => ({ ...each, pattern: "vertical_and_slash" as const })),
    );
    const out = join(folder, "qwen-good");
    const params = { chunk: 4096, local: 512, positions: 2048 };
    const { files } = await exportHeads("qwen-1m", { patterns: { ...patterns, layers } }, out, params);
    expect(files).toEqual(["dual_chunk_attention_config.json", "sparse_attention_config.json"]);
    expect(JSON.parse(await readFile(join(out, files[0]!), "utf8"))).toEqual({
      dual_chunk_attention_config: {
        chunk_size: 4096,
        local_size: 512,
        original_max_position_embeddings: 2048,
        sparse_attention_enabled: true,
      },
    });
    const read = await minferenceImport.read(join(out, files[1]!), model);
    expect(read.layers).toEqual(layers);
    await expect(
      exportHeads("qwen-1m", { patterns: { ...patterns, layers } }, join(folder, "no"), { ...params, local: 5000 }),
    ).rejects.toMatchObject({ kind: "usage", field: ["local", "chunk"] });
  });
});

describe("a file of sparse patterns", () => {
  test("is read as it was written", async () => {
    const path = join(folder, "patterns.json");
    await writePatterns(path, patterns);
    expect(await readPatterns(path)).toEqual(patterns);
  });

  test.each([
    ["another shape", { layers: patterns.layers.slice(1) }, "layers has 3 rows, expected 4 (one a layer)"],
    ["another tag", { format: "headscope.head-mask/1" }, "is not a headscope.sparse-patterns/1 file"],
    [
      "an unknown pattern",
      {
        layers: patterns.layers.with(
          1,
          patterns.layers[1]!.with(2, { ...patterns.layers[1]![2]!, pattern: "x" as never }),
        ),
      },
      "layers[1][2].pattern",
    ],
  ])("with %s is refused", async (name, change, message) => {
    const path = join(folder, `document with ${name}.json`);
    await writeFile(path, JSON.stringify({ ...patterns, ...change }));
    await expect(readPatterns(path)).rejects.toMatchObject({
      kind: "input",
      message: expect.stringContaining(message),
    });
  });
});

/** The layers with another entry for head 1 of layer 2. */
function changed(layers: Record<string, Entry>[], entry: Entry): Record<string, Entry>[] {
  return layers.with(2, { ...layers[2], 1: entry });
}
