import type { Tensor } from "@tensorflow/tfjs";

/** Gradients at the destinations of a layer's edges: each its own copy of the stream, before the norm in front of it. */
export interface InputGradients {
  /** Into q, k and v of each query head, of grouped queries too [3, heads, rows, positions, d_model]. */
  heads: Tensor;
  /** Into the MLP [rows, positions, d_model]; absent in a model without MLPs. */
  mlp?: Tensor;
}

/** A step of a backward pass. Its tensors are freed when the next step is asked for, unless they are kept. */
export interface BackwardStep {
  /** From the last layer down; before it n_layers, the model's end, and behind it -1, the embeddings, where names ask for them. */
  layer: number;
  /** With respect to the stream before the layer, of the end: before the final norm [rows, positions, d_model]. */
  resid: Tensor;
  /** At the hook points that were asked for, by full name, shaped as activations are. */
  gradients: ReadonlyMap<string, Tensor>;
  /** Absent unless they were asked for, and at the model's ends. */
  inputs?: InputGradients;
}
