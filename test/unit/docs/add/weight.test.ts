import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { encodeSafetensors, type SafeTensor } from "../../../../backend/models/formats/safetensors/safetensors.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { blocksOf } from "../../../helpers/docs.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));
const LLAMA = fixture("families/llama-gqa");
/** Neurons of an MLP of the fixture, which has two layers. */
const NEURONS = 48;
const factors = [0, 1].map((layer) =>
  Float32Array.from({ length: NEURONS }, (_, i) => 1 + Math.sin(i + 5 * layer) / 2),
);
const tensorName = (layer: number) => `model.layers.${layer}.mlp.ia3.weight`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(ROOT, "test/.docs-"));
  cpSync(join(ROOT, "backend"), join(folder, "backend"), { recursive: true });
  cpSync(join(ROOT, "package.json"), join(folder, "package.json"));
  for (const { language, code } of blocksOf("docs/add-a-weight.md")) if (language === "diff") applyChange(code);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Makes a change of the page in the copy of the back end. */
function applyChange(code: string): void {
  const [head, ...lines] = code.trimEnd().split("\n");
  const path = join(folder, head!.replace("--- ", ""));
  const [before, after] = ["+", "-"].map((other) =>
    lines.flatMap((line) => (line.startsWith(other) ? [] : `${line.slice(1)}\n`)).join(""),
  ) as [string, string];
  const pieces = readFileSync(path, "utf8").split(before);
  expect(pieces, head).toHaveLength(2);
  writeFileSync(path, pieces.join(after));
}

/** A module of the changed back end. */
const changed = <T>(path: string): Promise<T> => import(join(folder, "backend", path));
const loading = () => changed<typeof import("../../../../backend/models/load.ts")>("models/load.ts");
const runs = () =>
  changed<typeof import("../../../../backend/models/sources/run-checkpoint.ts")>("models/sources/run-checkpoint.ts");
const layouts = () =>
  changed<typeof import("../../../../backend/models/weights/trainable.ts")>("models/weights/trainable.ts");
const views = () =>
  changed<typeof import("../../../../backend/models/weights/parameters.ts")>("models/weights/parameters.ts");

/** Writes the fixture with further tensors, and with others in place of some. @returns the model's folder */
async function llamaWith(name: string, tensors: Record<string, SafeTensor>): Promise<string> {
  const { openCheckpoint } = await import("../../../../backend/models/formats/open.ts");
  const llama = await openCheckpoint(LLAMA);
  const all: Record<string, SafeTensor> = {};
  for (const [tensor, { shape }] of llama.tensors)
    all[tensor] = { dtype: "F32", shape, data: await llama.read(tensor) };
  await llama.close();
  const path = join(folder, name);
  mkdirSync(path);
  cpSync(join(LLAMA, "config.json"), join(path, "config.json"));
  writeFileSync(join(path, "model.safetensors"), Buffer.concat([...encodeSafetensors({ ...all, ...tensors })]));
  return path;
}

const scaled = (name: string, values = factors) =>
  llamaWith(
    name,
    Object.fromEntries(
      values.map((data, layer) => [tensorName(layer), { dtype: "F32" as const, shape: [data.length], data }]),
    ),
  );

async function logitsOf(model: Model): Promise<Float32Array> {
  const { forward } =
    await changed<typeof import("../../../../backend/models/forward/forward.ts")>("models/forward/forward.ts");
  const { logits, dispose } = forward(model, { tokens: [[1, 5, 9, 5, 9, 30]] });
  const values = Float32Array.from(logits!.dataSync());
  dispose();
  return values;
}

it("a weight of docs/add-a-weight.md is read, checked and computed with: scaled neurons are scaled columns of W_out", async () => {
  const { loadModel } = await loading();
  const model = await loadModel(await scaled("scaled"));
  const logits = await logitsOf(model);
  const ones = factors.map(() => new Float32Array(NEURONS).fill(1));
  const { openCheckpoint } = await import("../../../../backend/models/formats/open.ts");
  const llama = await openCheckpoint(LLAMA);
  const columns: Record<string, SafeTensor> = {};
  for (const [layer, data] of ones.entries()) {
    columns[tensorName(layer)] = { dtype: "F32", shape: [NEURONS], data };
    const name = `model.layers.${layer}.mlp.down_proj.weight`;
    const values = (await llama.read(name)).map((value, i) => value * factors[layer]![i % NEURONS]!);
    columns[name] = { dtype: "F32", shape: [values.length / NEURONS, NEURONS], data: values };
  }
  await llama.close();
  const same = await loadModel(await llamaWith("columns", columns));
  const expected = await logitsOf(same);
  const plain = await loadModel(await scaled("plain", ones));
  const unscaled = await logitsOf(plain);
  const furthest = (values: Float32Array) => Math.max(...values.map((value, i) => Math.abs(value - logits[i]!)));
  expect(furthest(expected)).toBeLessThan(1e-4);
  expect(furthest(unscaled)).toBeGreaterThan(1e-2);
  for (const loaded of [model, same, plain]) loaded.dispose();
  await expect(loadModel(LLAMA)).rejects.toMatchObject({ kind: "missing" });
  await expect(loadModel(await scaled("short", [factors[0]!, factors[1]!.slice(1)]))).rejects.toMatchObject({
    kind: "mismatch",
  });
});

it("it is counted, has a name and values in TransformerLens's view, and goes with the model into both exports", async () => {
  const { inspectModel, loadModel } = await loading();
  const { parameter, parameterNames } = await views();
  const path = await scaled("exported");
  const model = await loadModel(path);
  const { inspectModel: inspect } = await import("../../../../backend/models/load.ts");
  const { memory } = await inspectModel(path);
  expect(memory.parameters - (await inspect(LLAMA)).memory.parameters).toBe(2 * NEURONS);
  expect(memory.weights.f32).toBe(model.bytes);

  const names = [0, 1].map((layer) => `blocks.${layer}.mlp.scale`);
  expect(parameterNames(model)).toEqual(expect.arrayContaining(names));
  const shown = parameter(model, names[1]!);
  expect(shown.dataSync()).toEqual(factors[1]);
  shown.dispose();

  const { writeHuggingFace } = await changed<typeof import("../../../../backend/exports/checkpoints/hugging-face.ts")>(
    "exports/checkpoints/hugging-face.ts",
  );
  const { writeTransformerLens } = await changed<
    typeof import("../../../../backend/exports/checkpoints/transformer-lens.ts")
  >("exports/checkpoints/transformer-lens.ts");
  await writeHuggingFace(model, join(folder, "hugging-face"));
  await writeTransformerLens(model, join(folder, "transformer-lens"));
  const { readSafetensors } = await import("../../../../backend/models/formats/safetensors/safetensors.ts");
  const tensorsOf = async (name: string) => (await readSafetensors(join(folder, name, "model.safetensors"))).tensors;
  expect((await tensorsOf("hugging-face")).get(tensorName(0))!.data).toEqual(factors[0]);
  expect((await tensorsOf("transformer-lens")).get(names[0]!)!.data).toEqual(factors[0]);
  model.dispose();
});

it("it begins with its initial value, learns, and comes back from a run's checkpoint", async () => {
  const { parameterLayout, initialParameters } = await layouts();
  const { modelOfParameters, readRunCheckpoint, writeRunCheckpoint } = await runs();
  const { parameter } = await views();
  const { Stepper } = await changed<typeof import("../../../../backend/training/step.ts")>("training/step.ts");
  const { trainingParameters } = await import("../../../../backend/training/parameters.ts");
  const config: ModelConfig = {
    n_layers: 1, n_heads: 2, n_key_value_heads: 2, d_model: 8, d_head: 4, d_mlp: 12, n_ctx: 4, d_vocab: 5,
    act_fn: "relu", gated_mlp: false, attn_only: false, normalization_type: "LN", eps: 1e-5, final_norm: true,
    positional_embedding_type: "standard", rotary_base: 10000, rotary_dim: 4, tie_word_embeddings: false, attn_scale: 0.5,
  }; // biome-ignore format: a table
  const places = parameterLayout(config);
  const { offset, size } = places.find(({ name }) => name === "blocks.0.mlp.scale")!;
  expect(size).toBe(12);
  const start = initialParameters(places, 3);
  expect([...start.subarray(offset, offset + size)]).toEqual(Array(12).fill(1));

  const plan = {
    config,
    places,
    tables: [],
    shape: {
      input: { kind: "tokens" as const, vocabulary: 5 },
      output: { kind: "classes" as const, count: 5 },
      positions: 4,
      scored: "all" as const,
    },
    training: trainingParameters.parse({ batch: 1, steps: 1, optimiser: "sgd", learning_rate: 1 }),
  };
  const stepper = new Stepper(plan, [[start]]);
  const [tokens, classes, weights] = [
    Int32Array.of(1, 2, 3, 4),
    Int32Array.of(2, 3, 4, 0),
    Float32Array.of(1, 1, 1, 1),
  ];
  stepper.step([1, 1, 1], [{ rows: 1, tokens, classes, weights }]);
  const parameters = stepper.states()[0]![0]!;
  stepper.dispose();
  const learnt = parameters.subarray(offset, offset + size);
  expect(learnt.some((factor) => factor !== 1)).toBe(true);

  const path = join(folder, "step-1.safetensors");
  await writeRunCheckpoint(path, { step: 1, seed: 3, config, spec: {}, parameters, vectors: [] });
  const saved = await readRunCheckpoint(path);
  const model = modelOfParameters(path, saved.config, saved.parameters);
  const shown = parameter(model, "blocks.0.mlp.scale");
  expect(shown.dataSync()).toEqual(learnt);
  shown.dispose();
  model.dispose();
});
