import { randomFillSync } from "node:crypto";
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** The shape of SmolLM2-1.7B, as its config.json has it. */
export const SMOLLM2_1_7B = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  hidden_size: 2048,
  intermediate_size: 8192,
  max_position_embeddings: 8192,
  num_attention_heads: 32,
  num_hidden_layers: 24,
  num_key_value_heads: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 130000,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  vocab_size: 49152,
} as const;

/**
 * Writes a Llama checkpoint of random weights in bfloat16: config.json and model.safetensors.
 * @returns bytes of its weights
 */
export function writeMadeUp(folder: string, config: typeof SMOLLM2_1_7B = SMOLLM2_1_7B): number {
  const { hidden_size: d, intermediate_size: mlp, vocab_size, num_hidden_layers } = config;
  const layer = (l: number): [string, number[]][] =>
    [
      ...["q", "k", "v", "o"].map((name): [string, number[]] => [`self_attn.${name}_proj`, [d, d]]),
      ...["gate", "up"].map((name): [string, number[]] => [`mlp.${name}_proj`, [mlp, d]]),
      ["mlp.down_proj", [d, mlp]],
      ["input_layernorm", [d]],
      ["post_attention_layernorm", [d]],
    ].map(([name, shape]) => [`model.layers.${l}.${name}.weight`, shape as number[]]);
  const shapes: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocab_size, d]],
    ...Array.from({ length: num_hidden_layers }, (_, l) => layer(l)).flat(),
    ["model.norm.weight", [d]],
  ];
  let end = 0;
  const header = Object.fromEntries(
    shapes.map(([name, shape]) => {
      const begin = end;
      end += 2 * shape.reduce((a, b) => a * b, 1);
      return [name, { dtype: "BF16", shape, data_offsets: [begin, end] }];
    }),
  );
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const text = Buffer.from(JSON.stringify(header).padEnd(8 * Math.ceil(JSON.stringify(header).length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(join(folder, "model.safetensors"), "w");
  try {
    writeSync(file, Buffer.concat([length, text]));
    const chunk = weights();
    for (let written = 0; written < end; ) {
      written += writeSync(file, chunk, 0, Math.min(chunk.length, end - written));
    }
  } finally {
    closeSync(file);
  }
  return end;
}

/** A few megabytes of bfloat16 numbers between 2^-7 and 2^-5, of either sign. */
function weights(): Buffer {
  const chunk = randomFillSync(Buffer.alloc(1 << 23));
  // The upper byte holds the sign and the exponent's upper bits, the lower one the exponent's last bit.
  for (let i = 1; i < chunk.length; i += 2) chunk[i] = 0x3c | (chunk[i]! & 0x80);
  return chunk;
}
