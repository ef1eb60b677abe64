import { tf } from "../runtime/tf.ts";
import { type ModelConfig, mostPositions } from "./config.ts";
import type { Affine } from "./forward/types.ts";
import { NO_STOPS, type Stops } from "./stops.ts";
import type { Tokenizer } from "./tokenizers/tokenizer.ts";
import { type RotaryTables, rotaryTables } from "./transformer/rope.ts";
import { type Weights, weightBytes, weightHandles } from "./weights/weights.ts";

/** Positions of the first rotary tables; they double as longer inputs come, since a context of 128k tokens is rarely used. */
const TABLE = 2048;

/** A loaded model: what it is, its weights, and the tables that its forward needs. */
export class Model {
  /** Name that the user gave it. */
  readonly ref: string;
  /** The family that its checkpoint belongs to, such as llama. */
  readonly family: string;
  /** sha256 of the checkpoint, `sha256:…`. */
  readonly digest: string;
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly tokenizer: Tokenizer | undefined;
  /** The tokens and texts at which its own files end a generation. */
  readonly stops: Stops;
  /** Fault of the tokenizer that its files hold, where it cannot be used. */
  readonly tokenizerFault: string | undefined;
  /** Interventions that every run of it is under, by hook name; they come before a run's own. Default none. */
  readonly changes: ReadonlyMap<string, Affine> | undefined;
  /** Key of its captured functions beside shapes. */
  readonly key: string;
  readonly #rotary: Map<boolean, RotaryTables>;

  constructor(parts: {
    ref: string;
    family: string;
    digest: string;
    config: ModelConfig;
    weights: Weights;
    tokenizer?: Tokenizer | undefined;
    /** Default none. */
    stops?: Stops;
    tokenizerFault?: string | undefined;
    changes?: ReadonlyMap<string, Affine> | undefined;
    /** Tables of a model that rotates alike. */
    rotary?: Map<boolean, RotaryTables>;
  }) {
    this.ref = parts.ref;
    this.family = parts.family;
    this.digest = parts.digest;
    this.config = parts.config;
    this.weights = parts.weights;
    this.tokenizer = parts.tokenizer;
    this.stops = parts.stops ?? NO_STOPS;
    this.tokenizerFault = parts.tokenizerFault;
    this.changes = parts.changes;
    const { n_layers: _, n_ctx: __, ...shape } = parts.config;
    this.key = JSON.stringify(shape);
    this.#rotary = parts.rotary ?? new Map();
  }

  /**
   * The model with other weights, and a config that rotates alike. It shares everything else with this one and owns nothing:
   * whoever makes it frees the tensors that are new, and never disposes it.
   */
  with(changes: Pick<Model, "config" | "weights">): Model {
    return new Model({ ...this.#parts, ...changes });
  }

  /**
   * The model under interventions instead of those that it is under; with none, as it is by itself. It shares everything with this
   * one and owns nothing.
   */
  under(changes: ReadonlyMap<string, Affine> | undefined): Model {
    return new Model({ ...this.#parts, changes });
  }

  get #parts() {
    const { ref, family, digest, config, weights, tokenizer, stops, tokenizerFault, changes } = this;
    return { ref, family, digest, config, weights, tokenizer, stops, tokenizerFault, changes, rotary: this.#rotary };
  }

  /** Bytes of the weights as they are held. */
  get bytes(): number {
    return weightBytes(this.weights);
  }

  /**
   * Cosines and sines of at least the first `length` positions [positions, rotary_dim], which the model keeps.
   * @param local of the layers of local attention
   */
  rotaryUpTo(length: number, local = false): RotaryTables | undefined {
    const { config } = this;
    if (config.positional_embedding_type !== "rotary") return undefined;
    const kind = local && config.rotary_local !== undefined;
    const held = this.#rotary.get(kind);
    if (held && held.cos.shape[0]! >= length) return held;
    tf.dispose(held ? [held.cos, held.sin] : []);
    const positions = Math.min(mostPositions(config), TABLE * 2 ** Math.max(0, Math.ceil(Math.log2(length / TABLE))));
    const tables = rotaryTables(config, positions, kind);
    this.#rotary.set(kind, tables);
    return tables;
  }

  /** Those of all positions of the context. */
  get rotary(): RotaryTables | undefined {
    return this.rotaryUpTo(mostPositions(this.config));
  }

  /** The same for all positions of any config; the caller disposes them. */
  static rotaryOf(config: ModelConfig, local = false): RotaryTables | undefined {
    return config.positional_embedding_type === "rotary"
      ? rotaryTables(config, mostPositions(config), local)
      : undefined;
  }

  dispose(): void {
    for (const handle of weightHandles(this.weights)) handle.dispose();
    for (const { cos, sin } of this.#rotary.values()) tf.dispose([cos, sin]);
    this.#rotary.clear();
  }
}
