import type { Tensor } from "@tensorflow/tfjs";
import type { PromptAttention } from "../../../../models/cache/prompt-attention.ts";
import type { ModelConfig } from "../../../../models/config.ts";
import type { Model } from "../../../../models/model.ts";
import { tf } from "../../../../runtime/tf.ts";
import type { LayerView } from "../../kinds/tokens.ts";
import { plainKeysOf } from "./view.ts";

/** A layer of a prompt as a policy sees it just before the prompt attends there: all of its tokens, from position 0 on. */
export class PromptLayerView implements LayerView {
  readonly config: ModelConfig;
  readonly layer: number;
  readonly prompt: number;
  readonly length: number;
  readonly kvHeads: number;
  readonly held: number;
  readonly step = 0;
  readonly steps: number;
  readonly prepared: unknown;
  readonly #prompt: PromptAttention;

  constructor({ config }: Model, prompt: PromptAttention, progress: Pick<LayerView, "steps" | "prepared">) {
    this.config = config;
    this.layer = prompt.layer;
    this.prompt = prompt.tokens;
    this.length = prompt.tokens;
    this.kvHeads = config.n_key_value_heads;
    this.held = prompt.tokens;
    this.steps = progress.steps;
    this.prepared = progress.prepared;
    this.#prompt = prompt;
  }

  get keys(): Tensor {
    return this.#prompt.keys;
  }

  get plainKeys(): Tensor {
    const places = Array.from({ length: this.held }, (_, place) => place);
    return plainKeysOf(this, new Array<number[]>(this.kvHeads).fill(places));
  }

  get values(): Tensor {
    return this.#prompt.values;
  }

  get positions(): Tensor {
    return tf.tile(tf.reshape(tf.range(0, this.held), [1, this.held]), [this.kvHeads, 1]);
  }

  get queries(): Tensor {
    return this.#prompt.queries;
  }

  get stream(): Tensor {
    return this.#prompt.stream;
  }
}
