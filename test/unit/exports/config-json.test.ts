import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { formatConfig } from "../../../backend/exports/checkpoints/config-json.ts";
import { writeHuggingFace } from "../../../backend/exports/checkpoints/hugging-face.ts";
import { inspectModel, loadModel } from "../../../backend/models/load.ts";
import { Model } from "../../../backend/models/model.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { copyOf, removeCopies } from "../../helpers/formats/checkpoint-copy.ts";

removeCopies();
const out = mkdtempSync(join(tmpdir(), "headscope-config-"));
afterAll(() => rmSync(out, { recursive: true, force: true }));

let exported = 0;
async function configText(path: string): Promise<string> {
  const model = await loadModel(path);
  const folder = join(out, String(exported++));
  try {
    await writeHuggingFace(model, folder);
  } finally {
    model.dispose();
  }
  return readFileSync(join(folder, "config.json"), "utf8");
}

/** How a field's number is written, wherever it stands. */
const written = (text: string, field: string) =>
  [...text.matchAll(new RegExp(`"${field}":\\s*([^,}\\]\\s]+)`, "g"))].map(([, number]) => number);

it("the ends of a GGUF file's turns are in the exported generation_config.json", async () => {
  const model = await loadModel(fixture("formats/llama-tiny.gguf"));
  const ends = [2, 5].map((id) => ({ id, sources: ["eot"] }));
  const chatty = new Model({ ...model, stops: { tokens: ends, texts: [], notes: [] } });
  await writeHuggingFace(chatty, join(out, "chatty"));
  model.dispose();
  const again = await inspectModel(join(out, "chatty"));
  const found = again.stops.tokens.filter(({ sources }) => sources.includes("generation_config.json"));
  expect(found.map(({ id }) => id)).toEqual([2, 5]);
});

describe("an exported config.json", () => {
  it.each(["families/gemma2", "families-gguf/gemma2.gguf"])("of %s has its caps with a point", async (name) => {
    const text = await configText(fixture(name));
    expect(written(text, "final_logit_softcapping")).toEqual(["30.0"]);
    expect(written(text, "attn_logit_softcapping")).toEqual(["50.0"]);
    for (const base of written(text, "rope_theta")) expect(base).toBe("10000.0");
  });

  it("keeps every number with a point that the checkpoint's own has, also of fields that nobody knows", async () => {
    const own = '"odd_scale": 2.0, "odd_count": 2, "limit": Infinity, ';
    const folder = await copyOf("families/llama-gqa");
    const text = readFileSync(join(folder, "config.json"), "utf8").replace("{", `{${own}`);
    const changed = await copyOf("families/llama-gqa", { files: { "config.json": text } });
    const made = await configText(changed);
    expect(written(made, "odd_scale")).toEqual(["2.0"]);
    expect(written(made, "odd_count")).toEqual(["2"]);
    expect(written(made, "limit")).toEqual(["Infinity"]);
  });

  const folders = readdirSync(fixture("families"));
  it.each(folders)("of %s writes no float as an int that its own writes with a point", async (name) => {
    const own = readFileSync(join(fixture(`families/${name}`), "config.json"), "utf8");
    const made = await configText(fixture(`families/${name}`));
    for (const [, field] of own.matchAll(/"(\w+)":\s*-?\d+\.\d/g))
      for (const number of written(made, field!)) expect(number, field).toMatch(/[.e]|null/);
  });
});

it("ints stay ints, floats of lists and inner objects have points, texts are untouched", () => {
  const config = {
    hidden_size: 32,
    rope_scaling: { factor: 8, short_factor: [1, 1.5], original_max_position_embeddings: 16 },
    rms_norm_eps: 1e-7,
    note: "factor: 8",
    none: null,
  };
  const text = formatConfig(config);
  expect(text).toContain('"hidden_size": 32');
  expect(text).toContain('"factor": 8.0');
  expect(text).toContain('"short_factor": [1.0, 1.5]');
  expect(JSON.parse(text)).toEqual(config);
});
