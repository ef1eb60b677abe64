import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { type Parts, readPart, readPartBf16, readPartNarrow } from "../families/index.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { f32ToBf16 } from "../formats/half.ts";
import type { LoadOptions } from "../load.ts";
import type { BlockWeights, NormWeights } from "./block-parts.ts";
import { Matrix } from "./matrix.ts";
import type { Weights } from "./weights.ts";

/** Reads the parts of a checkpoint into tensors, and frees them again where one fails. */
export class PartReader {
  readonly #checkpoint: Checkpoint;
  readonly #parts: Parts;
  readonly #options: LoadOptions;
  readonly #made: { dispose(): void }[] = [];
  #read = 0;

  constructor(checkpoint: Checkpoint, parts: Parts, options: LoadOptions) {
    this.#checkpoint = checkpoint;
    this.#parts = parts;
    this.#options = options;
  }

  dispose(): void {
    for (const made of this.#made) made.dispose();
  }

  async weights(config: ModelConfig): Promise<Weights> {
    const { d_model, d_head, n_heads: H, n_key_value_heads: G, d_mlp, d_vocab, n_ctx } = config;
    const embed = await this.#matrix("embed", [d_vocab, d_model]);
    const blocks: BlockWeights[] = [];
    for (let l = 0; l < config.n_layers; l++) {
      const at = `blocks.${l}`;
      blocks.push({
        ...named("ln1", await this.#norm(`${at}.ln1`)),
        qkv: await this.#matrix(`${at}.attn.qkv`, [(H + 2 * G) * d_head, d_model]),
        ...named("qkvBias", await this.#vector(`${at}.attn.qkv_bias`)),
        o: await this.#matrix(`${at}.attn.o`, [d_model, H * d_head]),
        ...named("oBias", await this.#vector(`${at}.attn.o_bias`)),
        ...named("qNorm", await this.#vector(`${at}.attn.q_norm.w`)),
        ...named("kNorm", await this.#vector(`${at}.attn.k_norm.w`)),
        ...named("ln1Post", await this.#norm(`${at}.ln1_post`)),
        ...named("ln2Post", await this.#norm(`${at}.ln2_post`)),
        ...named("ln2", await this.#norm(`${at}.ln2`)),
        ...(config.attn_only
          ? {}
          : {
              mlpIn: await this.#matrix(`${at}.mlp.in`, [(config.gated_mlp ? 2 : 1) * d_mlp, d_model]),
              ...named("mlpInBias", await this.#vector(`${at}.mlp.in_bias`)),
              mlpOut: await this.#matrix(`${at}.mlp.out`, [d_model, d_mlp]),
              ...named("mlpOutBias", await this.#vector(`${at}.mlp.out_bias`)),
            }),
      });
    }
    return {
      embed,
      ...(config.positional_embedding_type === "standard"
        ? { posEmbed: await this.#matrix("pos_embed", [n_ctx, d_model]) }
        : {}),
      blocks,
      ...named("lnFinal", await this.#norm("ln_final")),
      unembed: this.#parts["unembed"] ? await this.#matrix("unembed", [d_vocab, d_model]) : embed,
      ...named("unembedBias", await this.#vector("unembed_bias")),
    };
  }

  async #matrix(name: string, shape: [number, number]): Promise<Matrix> {
    const part = this.#part(name)!;
    const { weights } = this.#options;
    const narrow = weights === "q8" ? await readPartNarrow(this.#checkpoint, part) : undefined;
    if (narrow) return this.#keep(Matrix.fromNarrow(narrow, shape));
    if (weights === "bf16") {
      const stored = await readPartBf16(this.#checkpoint, part);
      return this.#keep(Matrix.fromBf16(stored ?? f32ToBf16(await readPart(this.#checkpoint, part)), shape));
    }
    return this.#keep(Matrix.fromValues(await readPart(this.#checkpoint, part), shape));
  }

  async #vector(name: string): Promise<ReturnType<typeof tf.tensor1d> | undefined> {
    const part = this.#part(name);
    return part && this.#keep(tf.tensor1d(await readPart(this.#checkpoint, part)));
  }

  async #norm(prefix: string): Promise<NormWeights | undefined> {
    const w = await this.#vector(`${prefix}.w`);
    const b = await this.#vector(`${prefix}.b`);
    return w && { w, ...(b ? { b } : {}) };
  }

  #part(name: string): Parts[string] | undefined {
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.(Math.min(1, this.#read++ / Object.keys(this.#parts).length));
    return this.#parts[name];
  }

  #keep<T extends { dispose(): void }>(made: T): T {
    this.#made.push(made);
    return made;
  }
}

function named<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
