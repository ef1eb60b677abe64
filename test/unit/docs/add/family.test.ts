import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { Family } from "../../../../backend/models/families/index.ts";
import type { Checkpoint } from "../../../../backend/models/formats/checkpoint.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { encodeSafetensors, type SafeTensor } from "../../../../backend/models/formats/safetensors/safetensors.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const LLAMA = fixture("families/llama-gqa");

const turned = (values: Float32Array, rows: number): Float32Array => {
  const columns = values.length / rows;
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
};
const stacked = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));

/** A Llama's tensors as an Okapi keeps them: 4 query heads on 2 key-value heads of 8 dimensions, widths 32 and 48. */
async function asOkapi(llama: Checkpoint): Promise<Record<string, SafeTensor>> {
  const out: Record<string, SafeTensor> = {};
  const put = (name: string, shape: number[], data: Float32Array) => {
    out[`${name}.weight`] = { dtype: "F32", shape, data: Float32Array.from(data) };
  };
  const read = (name: string) => llama.read(`${name}.weight`);
  const norm = async (name: string, from: string) =>
    put(
      name,
      [32],
      (await read(from)).map((value) => value - 1),
    );
  put("okapi.tokens", [97, 32], await read("model.embed_tokens"));
  put("head", [97, 32], await read("lm_head"));
  await norm("okapi.last_norm", "model.norm");
  for (const l of [0, 1]) {
    const [at, from] = [`okapi.blocks.${l}`, `model.layers.${l}`];
    await norm(`${at}.norm_before_attention`, `${from}.input_layernorm`);
    await norm(`${at}.norm_before_mlp`, `${from}.post_attention_layernorm`);
    const [q, k, v] = await Promise.all(["q", "k", "v"].map((name) => read(`${from}.self_attn.${name}_proj`)));
    const heads = (rows: Float32Array, first: number, count = 1) =>
      rows.subarray(first * 8 * 32, (first + count) * 8 * 32);
    const groups = [0, 1].map((g) => stacked(heads(q!, 2 * g, 2), heads(k!, g), heads(v!, g)));
    put(`${at}.attention.in`, [32, 64], turned(stacked(...groups), 64));
    put(`${at}.attention.out`, [32, 32], turned(await read(`${from}.self_attn.o_proj`), 32));
    const mlp = stacked(await read(`${from}.mlp.gate_proj`), await read(`${from}.mlp.up_proj`));
    put(`${at}.mlp.in`, [32, 96], turned(mlp, 96));
    put(`${at}.mlp.out`, [48, 32], turned(await read(`${from}.mlp.down_proj`), 32));
  }
  return out;
}

it("the made-up family of docs/add-a-family.md loads from its one file and computes what the Llama does that it hides", async () => {
  const { okapi } = await loadAsFile<{ okapi: Family }>(typescriptOf("docs/add-a-family.md"));
  const folder = mkdtempSync(join(tmpdir(), "headscope-okapi-"));
  const llama = await openCheckpoint(LLAMA);
  try {
    const config = llama.metadata["config"] as Record<string, unknown>;
    const model = join(folder, "okapi");
    mkdirSync(model);
    const okapiConfig = { ...config, architectures: ["OkapiForCausalLM"], score_scale: 8 ** -0.5 };
    writeFileSync(join(model, "config.json"), JSON.stringify(okapiConfig));
    writeFileSync(join(model, "model.safetensors"), Buffer.concat([...encodeSafetensors(await asOkapi(llama))]));

    expect((await failure(() => loadModel(model))).line).toMatch(/has the architecture "OkapiForCausalLM"/);
    const loaded = await loadModel(model, { families: [okapi] });
    expect(loaded.family).toBe("okapi");
    const oracle = JSON.parse(readFileSync(join(LLAMA, "oracle.json"), "utf8"));
    const input = { tokens: oracle.ids, logitsAt: oracle.logit_positions };
    const { logits, dispose } = forward(loaded, input, { captured: false });
    const found = logits!.dataSync();
    const furthest = Math.max(...oracle.logits.flat(2).map((value: number, i: number) => Math.abs(value - found[i]!)));
    expect(furthest).toBeLessThan(2e-4);
    dispose();
    loaded.dispose();
  } finally {
    await llama.close();
    rmSync(folder, { recursive: true });
  }
});
