import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { maskFromHeads } from "../../../backend/common/heads/mask.ts";
import { exporters, exportHeads, importers, type NamedTensor } from "../../../backend/exports/index.ts";
import { readSafetensorsHeader } from "../../helpers/formats/exports-header.ts";
import { checkpoint, config, mask, model, scores } from "../../helpers/formats/heads-documents.ts";

let folder: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-writing-"));
  out = join(folder, "out");
});
afterEach(() => rm(folder, { recursive: true }));

describe("wrong calls", () => {
  test.each([
    ["duo-atention", { mask }, {}, 'unknown export "duo-atention"; did you mean duo-attention'],
    ["csv", { mask }, { metric: "x" }, 'unknown parameter "metric" of export csv; it takes none'],
    ["duo-attention", { mask }, { sinks: "1" }, 'unknown parameter "sinks" of export duo-attention; did you mean sink'],
    ["duo-attention", { mask }, { recent: "0" }, 'parameter recent of export duo-attention cannot be "0"'],
    ["duo-attention", { scores }, { metric: "gats" }, "did you mean gate"],
    ["retrieval-head", { mask }, {}, "export retrieval-head was given mask; give --scores"],
    ["retrieval-head", { scores }, { metric: "gate" }, "metric gate scores KV heads; choose retrieval"],
    ["hf-prune", {}, {}, "export hf-prune was given nothing; give --mask"],
    ["csv", { scores, mask }, {}, "export csv was given scores and mask; give --scores or --mask"],
    ["pruned-checkpoint", { mask }, {}, "export pruned-checkpoint needs the model's weights; give --model"],
  ])("export %s: %#", async (name, input, parameters, line) => {
    await expect(exportHeads(name, input, out, parameters)).rejects.toMatchObject({
      kind: "usage",
      line: expect.stringContaining(line),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test("an unknown import is answered with the nearest", () => {
    expect(() => importers.get("retrieval-heads")).toThrow('unknown import "retrieval-heads"');
  });

  test("a mask that says nothing of the heads that a format is about", async () => {
    const { heads: _, ...kvOnly } = mask;
    const { kvHeads: __, ...headsOnly } = mask;
    for (const [name, given] of [
      ["hf-prune", kvOnly],
      ["pruned-checkpoint", kvOnly],
      ["duo-attention", headsOnly],
    ] as const)
      await expect(exportHeads(name, { mask: given, checkpoint: checkpoint() }, out)).rejects.toMatchObject({
        kind: "input",
      });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("folders", () => {
  test("an empty one may stand there; one with files is replaced only by force", async () => {
    await mkdir(out);
    await exportHeads("duo-attention", { mask }, out);
    await expect(exportHeads("duo-attention", { scores }, out)).rejects.toMatchObject({
      line: `${out} already holds files; choose another folder, or replace it with --force`,
    });
    await exportHeads("duo-attention", { mask }, out, { sink: 99 }, { force: true });
    expect(JSON.parse(await readFile(join(out, "config.json"), "utf8")).sink_size).toBe(99);
    expect(await readdir(folder)).toEqual(["out"]);
  });

  test("force does not wipe a folder that holds anything else", async () => {
    await mkdir(out);
    await writeFile(join(out, "thesis.tex"), "years of work");
    await expect(exportHeads("duo-attention", { mask }, out, {}, { force: true })).rejects.toMatchObject({
      message: `${out} holds other files (thesis.tex)`,
    });
    expect(await readdir(folder)).toEqual(["out"]);
    expect(await readdir(out)).toEqual(["thesis.tex"]);
  });

  test("and files do not take each other's place", async () => {
    await mkdir(out);
    for (const name of ["csv", "safetensors", "hf-prune"])
      await expect(exportHeads(name, { mask }, out)).rejects.toMatchObject({
        message: `${out} is a folder, and one file is to be written`,
      });
    await rm(out, { recursive: true });
    await writeFile(out, "a file");
    await expect(exportHeads("duo-attention", { mask }, out)).rejects.toMatchObject({ kind: "input" });
    expect(await readFile(out, "utf8")).toBe("a file");
  });
});

describe("a pruned checkpoint", () => {
  test("holds the model with the columns of the ablated heads zeroed and nothing else changed", async () => {
    await exportHeads("pruned-checkpoint", { mask, checkpoint: checkpoint() }, out);
    const { tensors, metadata, bytes } = await readSafetensorsHeader(join(out, "model.safetensors"));
    expect(metadata).toMatchObject({
      format: "pt",
      "headscope.model": "tiny",
      "headscope.ablated": "0.2,2.0,2.1,2.3,3.3",
    });
    for await (const { name, shape, data } of checkpoint().tensors()) {
      const { dtype, shape: written, data_offsets } = tensors[name]!;
      expect([dtype, written]).toEqual(["F32", shape]);
      const read = new Float32Array(bytes.slice(...data_offsets).buffer);
      const layer = Number(/layers\.(\d+)\.self_attn\.o_proj/.exec(name)?.[1] ?? -1);
      const gone = (column: number) => mask.heads?.[layer]?.[Math.floor(column / config.d_head)] === "ablate";
      expect(read).toEqual(data.map((value, i) => (gone(i % shape[1]!) ? 0 : value)));
    }
  });

  test("has the tokenizer's files when there are any", async () => {
    const tokenizer = { json: { model: { type: "BPE" } }, config: { bos_token: "<s>" } };
    const { files } = await exportHeads("pruned-checkpoint", { mask, checkpoint: { ...checkpoint(), tokenizer } }, out);
    expect(files).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    expect(JSON.parse(await readFile(join(out, "tokenizer.json"), "utf8"))).toEqual(tokenizer.json);
  });

  test("keeps one tensor at a time", async () => {
    let open = 0;
    const input = checkpoint();
    const tensors = async function* () {
      for await (const tensor of input.tensors()) {
        expect(++open).toBe(1);
        yield tensor;
        open--;
      }
    };
    await exportHeads("pruned-checkpoint", { mask, checkpoint: { ...input, tensors } }, out);
  });

  const drop = (wanted: string) => (tensor: NamedTensor) => (tensor.name === wanted ? [] : [tensor]);
  test.each([
    ["without a tensor", drop("model.norm.weight"), "mismatch", "tiny has no tensor model.norm.weight"],
    ["with a tensor twice", (t: NamedTensor) => (t.shape.length === 1 ? [t, t] : [t]), "unsupported", "or comes twice"],
    [
      "with a tensor too many",
      (t: NamedTensor) => [t, { ...t, name: `${t.name}.bias` }],
      "unsupported",
      "is not part of a Llama model",
    ],
    ["with another shape", (t: NamedTensor) => [{ ...t, shape: [...t.shape, 1] }], "unsupported", "should be ["],
  ])("of a model %s is refused and leaves nothing", async (_, change, kind, message) => {
    const input = { mask, checkpoint: checkpoint(change) };
    await expect(exportHeads("pruned-checkpoint", input, out)).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test("of another model than the mask's, or of another family, is refused", async () => {
    const other = { ...checkpoint(), model: { ...model, digest: `sha256:${"1".repeat(64)}` } };
    await expect(exportHeads("pruned-checkpoint", { mask, checkpoint: other }, out)).rejects.toMatchObject({
      kind: "mismatch",
    });
    const gpt = { ...checkpoint(), config: { ...config, normalization_type: "LN" as const } };
    await expect(exportHeads("pruned-checkpoint", { mask, checkpoint: gpt }, out)).rejects.toMatchObject({
      kind: "unsupported",
      message: "tiny is no Llama model: it has normalisation LN",
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test.each([
    [{ parallel_attn_mlp: true }, "attention beside the MLP"],
    [{ norm_placement: "post" as const }, "norms after attention and MLP"],
    [{ qk_norm: "head" as const }, "query and key norms"],
    [{ output_logits_soft_cap: 30 }, "soft caps"],
    [{ window_size: 4 }, "local attention"],
    [{ embed_scale: 8 }, "scaled embeddings"],
    [{ rotary_scaling: { type: "linear" as const, factor: 2 } }, "linear rope scaling"],
  ])("of a model with what no plain Llama has is refused: %j", async (changes, found) => {
    const input = { mask, checkpoint: { ...checkpoint(), config: { ...config, ...changes } } };
    await expect(exportHeads("pruned-checkpoint", input, out)).rejects.toMatchObject({
      kind: "unsupported",
      message: `tiny is no Llama model: it has ${found}`,
    });
  });

  test("that is stopped leaves nothing", async () => {
    const stop = new AbortController();
    const change = (tensor: NamedTensor) => {
      if (tensor.name.includes("layers.2")) stop.abort();
      return [tensor];
    };
    const input = { mask, checkpoint: checkpoint(change) };
    await expect(exportHeads("pruned-checkpoint", input, out, {}, { signal: stop.signal })).rejects.toThrow();
    expect(await readdir(folder)).toEqual([]);
  });

  test("keeps the earlier folder when replacing it fails", async () => {
    await exportHeads("pruned-checkpoint", { mask: maskFromHeads(model, []), checkpoint: checkpoint() }, out);
    const before = await readFile(join(out, "model.safetensors"));
    const broken = { mask, checkpoint: checkpoint(drop("model.norm.weight")) };
    await expect(exportHeads("pruned-checkpoint", broken, out, {}, { force: true })).rejects.toThrow();
    expect(await readFile(join(out, "model.safetensors"))).toEqual(before);
    expect(await readdir(folder)).toEqual(["out"]);
  });
});

test("every export and import says what it is, and describes its parameters", () => {
  for (const registry of [exporters, importers]) {
    for (const definition of registry.list()) {
      expect(definition.description.length).toBeGreaterThan(80);
      expect(definition.source).not.toBe("");
      for (const flag of registry.flags(definition.name)) expect(flag.description).not.toBe("");
    }
  }
});
