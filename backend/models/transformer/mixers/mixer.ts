import type { Tensor } from "@tensorflow/tfjs";
import type { MixerName } from "../../../common/words.ts";
import type { ModelConfig } from "../../config.ts";
import type { Matrix } from "../../weights/matrix.ts";

/** Learned weights of a recurrent layer's gates. */
export interface GateWeights {
  /** Logarithms of factors on the rates at which heads forget [heads]. */
  decay?: Tensor | undefined;
  /** Of the step, where the token decides it [heads, d_model]. */
  step?: Matrix | undefined;
  /** [heads] */
  stepBias?: Tensor | undefined;
}

/** The gates of a recurrence at every token, for each head. */
export interface Gates {
  /** Logarithm of the share of the state that is kept, at most 0 [tokens, heads]. */
  readonly logDecay: Tensor;
  /** Factor on what is written into it; default 1 [tokens, heads]. */
  readonly step?: Tensor;
}

/** A recurrence that stands in the place of a layer's attention. */
export interface RecurrentMixer {
  readonly name: Exclude<MixerName, "attention">;
  /** Words for a model's features and for errors: "a selective state space". */
  readonly title: string;
  readonly source: string;
  /** Learned weights of its gates, beside those of every recurrence. */
  readonly gateWeights: readonly Exclude<keyof GateWeights, "decay">[];
  /** @param x normalised stream [tokens, d_model] */
  gates(x: Tensor, weights: GateWeights, config: ModelConfig): Gates;
}
