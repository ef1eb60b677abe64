import type { Tensor } from "@tensorflow/tfjs";
import { SQUARE } from "../../../kernels/attend.ts";
import type { PromptAttention } from "../../../models/cache/prompt-attention.ts";
import type { AttentionChoice, AttentionReader, AttentionStep } from "../../../models/cache/reader.ts";
import { localWindow, type ModelConfig } from "../../../models/config.ts";
import { tf } from "../../../runtime/tf.ts";
import type { BlockPolicy, PromptRead, PromptView } from "../kinds/blocks.ts";
import type { Chosen } from "../kinds/policy.ts";
import { Squares } from "./squares.ts";

/** Sees what a policy lets a prompt read in a layer, before it does; layers that are read whole are not told. */
export type PromptReadListener = (layer: number, read: PromptRead) => void;

/** A policy at work on the attention within one prompt, in layers of global attention; the prompt is one forward. */
export class PromptReader implements AttentionReader {
  readonly #config: ModelConfig;
  readonly #choice: Chosen<BlockPolicy>;
  readonly #tell: PromptReadListener | undefined;
  /** By layer surveyed, the share of its attention that was read. */
  readonly #shares: number[] = [];
  #start = 0;
  #squares: Squares | undefined;
  /** The attention itself [tokens, heads, d_head]. */
  #z: Tensor | undefined;

  constructor(config: ModelConfig, choice: Chosen<BlockPolicy>, tell?: PromptReadListener) {
    this.#config = config;
    this.#choice = choice;
    this.#tell = tell;
  }

  /** Share of the causal attention that was read: of squares of queries and keys, mean over layers and heads. */
  get share(): number {
    const whole = this.#config.n_layers - this.#shares.length;
    return this.#shares.reduce((sum, share) => sum + share, whole) / this.#config.n_layers;
  }

  reaches(layer: number): boolean {
    return localWindow(this.#config, layer) === undefined;
  }

  survey(prompt: PromptAttention): boolean {
    const { policy, params, prepared } = this.#choice;
    this.dispose();
    this.#start = prompt.start;
    const found = policy.choose(viewOf(prompt, this.#config), params, prepared);
    const { share } = found ?? { share: 1 };
    this.#shares.push(share);
    if (found && share < 1) this.#tell?.(prompt.layer, found);
    if (found instanceof Squares && share < 1) this.#squares = found;
    else if (found && "z" in found) this.#z = tf.keep(found.z);
    return this.#squares !== undefined || this.#z !== undefined;
  }

  choose({ tokens: { starts, tokens } }: AttentionStep): AttentionChoice | undefined {
    const first = starts[0]! - this.#start;
    if (this.#z) {
      const { n_heads, d_head } = this.#config;
      const real = Math.min(tokens, this.#z.shape[0]! - first);
      const part = tf.slice(this.#z, [first, 0, 0], [real, n_heads, d_head]);
      return { z: real === tokens ? part : tf.pad(part, [[0, tokens - real], [0, 0], [0, 0]]) }; // biome-ignore format: one line
    }
    if (!this.#squares) return undefined;
    const { read, shape } = this.#squares.part(first, tokens);
    return { blocks: tf.tensor3d(read, shape, "bool") };
  }

  /** Frees what it holds of the layer surveyed last. */
  dispose(): void {
    this.#z?.dispose();
    this.#z = undefined;
    this.#squares = undefined;
  }
}

/** A prompt's reader together with one that chooses among the keys held. */
export function joinReaders(prompt: PromptReader, other: AttentionReader | undefined): AttentionReader {
  if (!other) return prompt;
  return {
    reaches: (layer) => prompt.reaches(layer) || other.reaches(layer),
    survey: (whole) => (prompt.reaches(whole.layer) && prompt.survey(whole)) || other.reaches(whole.layer),
    choose(step) {
      const [own, others] = [prompt, other].map((each) => (each.reaches(step.layer) ? each.choose(step) : undefined));
      return { ...others, ...own };
    },
  };
}

/** A layer of a prompt as a policy sees it. */
export function viewOf(prompt: PromptAttention, config: ModelConfig): PromptView {
  const { layer, start, tokens } = prompt;
  return {
    ...{ config, layer, start, tokens, side: SQUARE },
    get queries() {
      return prompt.queries;
    },
    lastQueries: (count) => prompt.lastQueries(count),
    get keys() {
      return prompt.keys;
    },
    get values() {
      return prompt.values;
    },
  };
}
