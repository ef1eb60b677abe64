import { afterAll, describe, expect, it } from "vitest";
import {
  describeCheckpoint as described,
  readPart,
  readPartNarrow,
} from "../../../../backend/models/families/index.ts";
import { undoInterleaving } from "../../../../backend/models/families/parts.ts";
import type { Checkpoint } from "../../../../backend/models/formats/checkpoint.ts";
import { widen } from "../../../../backend/models/formats/gguf/quantisation.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const gguf = await openCheckpoint(fixture("formats/llama-tiny.gguf"));
const folder = await openCheckpoint(fixture("formats/llama-tiny"));
afterAll(() => Promise.all([gguf.close(), folder.close()]));

/** The checkpoint with other metadata or tensors. */
function changed(
  checkpoint: Checkpoint,
  metadata: Record<string, unknown>,
  shapes: Record<string, number[] | undefined> = {},
): Checkpoint {
  const tensors = new Map(checkpoint.tensors);
  for (const [name, shape] of Object.entries(shapes)) {
    if (shape === undefined) tensors.delete(name);
    else tensors.set(name, { name, shape, type: "F32", bytes: 4 });
  }
  return { ...checkpoint, metadata: { ...checkpoint.metadata, ...metadata }, tensors };
}
const withConfig = (change: Record<string, unknown>) =>
  changed(folder, { config: { ...(folder.metadata["config"] as object), ...change } });

describe("the llama family", () => {
  it("reads the same config from GGUF and from config.json", () => {
    const { config, family } = described(gguf);
    const other = described(folder).config;
    expect(family.name).toBe("llama");
    expect({ ...config, eps: Math.fround(config.eps) }).toEqual({ ...other, eps: Math.fround(other.eps) });
    expect(config).toMatchObject({
      n_layers: 2,
      n_heads: 4,
      n_key_value_heads: 2,
      d_model: 32,
      d_head: 8,
      d_mlp: 32,
      n_ctx: 64,
      d_vocab: 400,
      rotary_base: 5000,
      rotary_dim: 8,
      tie_word_embeddings: true,
      normalization_type: "RMS",
      act_fn: "silu",
      attn_scale: 8 ** -0.5,
    });
  });

  it("reads the same parts from both, bit for bit: rotary rows are in Hugging Face's order", async () => {
    const [a, b] = [described(gguf).parts, described(folder).parts];
    expect(Object.keys(a)).toEqual(Object.keys(b));
    for (const name of Object.keys(a)) {
      expect(await readPart(gguf, a[name]!), name).toEqual(await readPart(folder, b[name]!));
    }
  });

  it("parts have the engine's shapes", async () => {
    const { parts } = described(gguf);
    expect((await readPart(gguf, parts["blocks.1.attn.qkv"]!)).length).toBe((4 + 2 * 2) * 8 * 32);
    expect((await readPart(gguf, parts["blocks.0.mlp.in"]!)).length).toBe(2 * 32 * 32);
    expect(parts["unembed"]).toBeUndefined();
  });

  it("8-bit parts widen to the f32 parts, though Q4_1, Q5_0 and Q8_0 meet in one", async () => {
    const { parts } = described(gguf);
    for (const [name, part] of Object.entries(parts)) {
      const rows = await readPartNarrow(gguf, part);
      const floats = await readPart(gguf, part);
      if (rows === undefined) {
        expect(name === "blocks.1.mlp.out" || /\.w$/.test(name), name).toBe(true);
        continue;
      }
      const wide = widen(rows);
      expect(wide.length).toBe(floats.length);
      // == rather than bits: aligned to a minimum of 0, a zero may change its sign.
      expect(
        wide.every((value, i) => value === floats[i]),
        name,
      ).toBe(true);
    }
    const mixed = (await readPartNarrow(gguf, parts["blocks.0.attn.qkv"]!))!;
    expect([mixed.zero, mixed.block, mixed.min?.length]).toEqual([128, 32, 64]);
    expect(await readPartNarrow(folder, described(folder).parts["embed"]!)).toBeUndefined();
  });

  it("chosen rows are the same in 8 bits as in f32; turned or shifted weights have no 8-bit form", async () => {
    const [piece] = described(gguf).parts["blocks.0.mlp.out"]!;
    const rows = [5, 0, 5, 31];
    const chosen = [{ ...piece!, rows }];
    const whole = await readPart(gguf, [piece!]); // [32, 32]
    const expected = rows.flatMap((row) => [...whole.subarray(row * 32, (row + 1) * 32)]);
    expect([...(await readPart(gguf, chosen))]).toEqual(expected);
    expect([...widen((await readPartNarrow(gguf, chosen))!)]).toEqual(expected);
    const turned = await readPart(gguf, [{ ...piece!, transpose: true, rows: [7], add: 1 }]);
    expect([...turned]).toEqual(Array.from({ length: 32 }, (_, i) => Math.fround(whole[i * 32 + 7]! + 1)));
    for (const change of [{ transpose: true as const }, { add: 1 }])
      expect(await readPartNarrow(gguf, [{ ...piece!, ...change }])).toBeUndefined();
  });

  it("undoes llama.cpp's interleaving head by head", () => {
    const interleaved = Float32Array.of(0, 2, 1, 3, 10, 12, 11, 13);
    expect([...undoInterleaving(interleaved, 8, 2)]).toEqual([0, 1, 2, 3, 10, 11, 12, 13]);
  });

  it("has an unembedding and biases where the checkpoint has", () => {
    const biased = changed(
      gguf,
      {},
      {
        "output.weight": [400, 32],
        "blk.0.attn_q.bias": [32],
        "blk.0.attn_k.bias": [16],
        "blk.0.attn_v.bias": [16],
        "blk.0.attn_output.bias": [32],
        "blk.1.attn_q.bias": [32],
        "blk.1.attn_k.bias": [16],
        "blk.1.attn_v.bias": [16],
        "blk.1.attn_output.bias": [32],
      },
    );
    const { config, parts } = described(biased);
    expect(config.tie_word_embeddings).toBe(false);
    expect(parts["unembed"]).toEqual([{ tensor: "output.weight", shape: [400, 32] }]);
    expect(parts["blocks.0.attn.qkv_bias"]!.map(({ permute }) => permute)).toEqual([
      { rotaryHeads: 4 },
      { rotaryHeads: 2 },
      undefined,
    ]);
    expect(parts["blocks.0.attn.o_bias"]).toBeDefined();
    expect(described(gguf).parts["blocks.1.attn.qkv_bias"]).toBeUndefined();
  });

  const cases: [string, Checkpoint, string, RegExp][] = [
    [
      "an unknown architecture",
      changed(gguf, { "general.architecture": "mamba" }),
      "unsupported",
      /architecture "mamba"; supported are llama/,
    ],
    [
      "no architecture",
      changed(gguf, { "general.architecture": undefined }),
      "missing",
      /doesn't say which architecture/,
    ],
    [
      "safetensors without config.json",
      changed(folder, { config: undefined }),
      "missing",
      /put the model's config.json beside it/,
    ],
    [
      "a missing tensor",
      changed(gguf, {}, { "blk.1.ffn_up.weight": undefined }),
      "missing",
      /holds no tensor "blk.1.ffn_up.weight"/,
    ],
    [
      "a wrong shape",
      changed(gguf, {}, { "blk.1.ffn_up.weight": [16, 32] }),
      "mismatch",
      /"blk.1.ffn_up.weight" is \[16, 32\], and the config expects \[32, 32\]/,
    ],
    [
      "a missing field",
      changed(gguf, { "llama.attention.head_count": undefined }),
      "missing",
      /llama.attention.head_count is missing; expected a whole number/,
    ],
    ["a senseless field", changed(gguf, { "llama.block_count": -1 }), "corrupt", /llama.block_count is -1/],
    [
      "a layer count that the tensors contradict",
      changed(gguf, { "llama.block_count": 3 }),
      "mismatch",
      /says 3 layers, and its tensors make 2/,
    ],
    [
      "fewer layers than there are",
      withConfig({ num_hidden_layers: 1 }),
      "mismatch",
      /says 1 layers, and its tensors make 2/,
    ],
    [
      "heads that don't group",
      withConfig({ num_key_value_heads: 3 }),
      "mismatch",
      /4 query heads are no multiple of 3/,
    ],
    [
      "a vocabulary that the embedding contradicts",
      withConfig({ vocab_size: 401 }),
      "mismatch",
      /is \[400, 32\], and the config expects \[401, 32\]/,
    ],
    [
      "an untied config without unembedding",
      withConfig({ tie_word_embeddings: false }),
      "missing",
      /holds no tensor "lm_head.weight"/,
    ],
    [
      "biases in the first layer only",
      changed(gguf, {}, { "blk.0.attn_output.bias": [32] }),
      "missing",
      /holds no tensor "blk.1.attn_output.bias"/,
    ],
    [
      "biases in another layer than the first",
      changed(gguf, {}, { "blk.1.attn_output.bias": [32] }),
      "mismatch",
      /tensor "blk.1.attn_output.bias" has no place in the model/,
    ],
    [
      "another rope scaling in GGUF",
      changed(gguf, { "llama.rope.scaling.type": "longrope" }),
      "unsupported",
      /llama\.rope\.scaling\.type is "longrope"; headscope does none, linear and yarn/,
    ],
    [
      "another rope scaling in config.json",
      withConfig({ rope_scaling: { type: "dynamic", factor: 2 } }),
      "unsupported",
      /config\.json's rope_scaling\.type is "dynamic"; headscope does default, linear, llama3 and yarn/,
    ],
    [
      "rope scaling without its fields",
      withConfig({ rope_parameters: { rope_type: "llama3", rope_theta: 5e5, factor: 8 } }),
      "missing",
      /config\.json's rope_parameters\.low_freq_factor is missing; expected a number above 0/,
    ],
    [
      "partial rotation",
      changed(gguf, { "llama.rope.dimension_count": 4 }),
      "unsupported",
      /rotation of 4 of a head's 8/,
    ],
    ["experts", changed(gguf, { "llama.expert_count": 8 }), "unsupported", /mixture of experts/],
    [
      "another activation",
      withConfig({ hidden_act: "relu2" }),
      "unsupported",
      /hidden_act is "relu2"; headscope does silu, /,
    ],
    ["biases in the MLP", withConfig({ mlp_bias: true }), "unsupported", /biases in a gated MLP/],
  ];
  it.each(cases)("refuses %s", async (_, checkpoint, kind, message) => {
    const error = await failure(() => described(checkpoint));
    expect(error.line).toMatch(message);
    expect(error.message).toContain("llama-tiny");
    expect(error.kind).toBe(kind);
  });
});
