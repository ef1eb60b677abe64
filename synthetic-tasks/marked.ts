import { z } from "zod";
import { impossible } from "./base.ts";

/** The id of the fixed token of languages that attention sinks are grown on; their words or characters are 1, 2, … */
export const MARKER = 0;
/** Stream of a seed from which such a language's unique sequences are drawn. */
export const POOL_STREAM = 1;

/** Parameter: limits the sequences of training. */
export const sequences = z.int().min(0).max(65_536).default(0).describe("different training sequences; 0 for no limit");
/** Parameter: puts the fixed token somewhere. */
export const marker = z
  .int()
  .min(-1)
  .max(4095)
  .default(-1)
  .describe("place of a fixed token in every sequence, from 0; -1 for no such token");

/** @throws HeadscopeError (usage) for a fixed token behind the sequence's end */
export function checkMarker(task: string, { marker, context }: { marker: number; context: number }): void {
  if (marker < context) return;
  throw impossible(
    task,
    ["marker", "context"],
    `marker ${marker} is not among the ${context} positions of a sequence`,
    `give at most ${context - 1}`,
  );
}

/** Small transformers in the manner of Llama, which sinks are looked for in. */
export const SINK_DEFAULTS = {
  model: {
    n_layers: 2,
    attn_only: false,
    normalization_type: "RMS",
    positional_embedding_type: "rotary",
    act_fn: "silu",
  },
  training: { steps: 1000, optimiser: "adamw", learning_rate: 3e-3, weight_decay: 0.1 },
} as const;
