import type { Tensor } from "@tensorflow/tfjs";
import type { Random } from "../../backend/common/random.ts";
import { replaceWhere } from "../../backend/hooks/intervention-kinds.ts";
import type { Affine } from "../../backend/models/forward/types.ts";
import { MASKED } from "../../backend/models/transformer/attention.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import type { PromptTokens } from "../../synthetic-tasks/demonstrations/index.ts";

/** A place of a pattern: query and key. */
export type Edge = readonly [number, number];

/** The steps of the circuit in order, by the edges of attention that each is made of. */
export const STEPS = {
  summary: {
    title: "text to forerunner, demonstrations",
    edges: ({ texts, forerunners, labels }: PromptTokens): Edge[] =>
      labels.flatMap((_, i) => readers(forerunners[i]!, texts[i]!)),
  },
  query: {
    title: "text to forerunner, query",
    edges: ({ texts, forerunners }: PromptTokens): Edge[] => readers(forerunners.at(-1)!, texts.at(-1)!),
  },
  merge: {
    title: "forerunner to label",
    edges: ({ forerunners, labels }: PromptTokens): Edge[] => labels.map((label, i) => [label, forerunners[i]!]),
  },
  retrieval: {
    title: "labels to the query's forerunner",
    edges: ({ forerunners, labels }: PromptTokens): Edge[] => labels.map((label) => [forerunners.at(-1)!, label]),
  },
} as const;

/** Name of a step. */
export type StepName = keyof typeof STEPS;
/** Every step, in order. */
export const STEP_NAMES = Object.keys(STEPS) as StepName[];

function readers(query: number, [from, to]: readonly [number, number]): Edge[] {
  return Array.from({ length: to - from }, (_, i) => [query, from + i]);
}

/** Draws as many different edges as a step has, uniform over all causal edges of a sequence. @param length its tokens */
export function randomEdges(count: number, length: number, random: Random): Edge[] {
  const all = (length * (length + 1)) / 2;
  const drawn = new Set<number>();
  while (drawn.size < Math.min(count, all)) drawn.add(random.integer(0, all));
  return [...drawn].map((place) => {
    const query = Math.floor((Math.sqrt(8 * place + 1) - 1) / 2);
    return [query, place - (query * (query + 1)) / 2];
  });
}

/** As many edges of the same queries: each loses another key that it sees and the step leaves to it, as far as there are such. */
export function siblingEdges(edges: readonly Edge[], random: Random): Edge[] {
  const taken = new Set(edges.map(String));
  return edges.flatMap(([query]) => {
    const free = Array.from({ length: query + 1 }, (_, key): Edge => [query, key]).filter(
      (edge) => !taken.has(String(edge)),
    );
    const edge = free[random.integer(0, free.length)];
    if (edge === undefined) return [];
    taken.add(String(edge));
    return [edge];
  });
}

/**
 * Edges taken away from every head of some layers, row by row: the softmax runs over the other keys, as the authors' code masks
 * scores, and a query without any attends to nothing.
 * @param layers from and to (exclusive) @param edgesOf the edges of a row in a layer @param shape of the batch
 * @returns by hook name, for `forward`; the caller frees them with `disposeInterventions`
 */
export function disconnect(
  [from, to]: readonly [number, number],
  edgesOf: (row: number, layer: number) => readonly Edge[],
  { rows, positions }: { rows: number; positions: number },
): Map<string, Affine> {
  const changes = new Map<string, Affine>();
  for (let layer = from; layer < to; layer++) {
    const mask = new Float32Array(rows * positions * positions);
    for (let row = 0; row < rows; row++)
      for (const [query, key] of edgesOf(row, layer)) mask[(row * positions + query) * positions + key] = 1;
    const [gain, bias] = tf.tidy((): Tensor[] => {
      const cut = replaceWhere(tf.tensor4d(mask, [rows, 1, positions, positions]), tf.scalar(2 * MASKED));
      return [cut.gain, cut.bias];
    });
    changes.set(blockHook(layer, "attn.hook_attn_scores"), { gain: gain!, bias: bias! });
  }
  return changes;
}
