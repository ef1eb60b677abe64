import { tf } from "../../runtime/tf.ts";
import type { Turn } from "../../runtime/turn.ts";
import type { Model } from "../model.ts";
import { forward } from "./forward.ts";
import type { ForwardInput, ForwardOptions, ForwardResult } from "./types.ts";

/** Tokens times layers that run in one go: a large share of a second of a small model on two cores. */
const STRETCH = 4_096;

/**
 * A forward in stretches of a few layers, between which others have their turn. Gives what `forward` gives, up to rounding; one
 * that is short, or has a cache or hooks, runs in one go.
 * @param turn awaited between stretches; without it everything runs in one go
 * @throws as `forward` does, and what `turn` throws; nothing is left behind then
 */
export async function forwardInTurns(
  model: Model,
  input: ForwardInput,
  options: ForwardOptions = {},
  turn?: Turn,
): Promise<ForwardResult> {
  const { startLayer = 0, stopLayer = model.config.n_layers, tokens: _, inputs: __, resid: ___, ...common } = input;
  const layers = Math.max(1, Math.floor(STRETCH / size(input)));
  const inOneGo = turn === undefined || stopLayer - startLayer <= layers || isRagged(input);
  if (inOneGo || input.cache !== undefined || (options.hooks?.length ?? 0) > 0) return forward(model, input, options);
  const done: ForwardResult[] = [];
  try {
    for (let first = startLayer; first < stopLayer; first += layers) {
      if (done.length > 0) await turn();
      const last = done.at(-1);
      const start = last === undefined ? input : { ...common, resid: last.resid };
      done.push(
        forward(model, { ...start, startLayer: first, stopLayer: Math.min(first + layers, stopLayer) }, options),
      );
      last?.resid.dispose();
    }
  } catch (error) {
    for (const part of done.slice(0, -1))
      tf.dispose([...part.activations.values(), ...[...part.reductions.values()].flat()]);
    done.at(-1)?.dispose();
    throw error;
  }
  return joinStretches(done);
}

/** True where rows differ in length: only their tokens say where each ends. */
function isRagged({ tokens = [] }: ForwardInput): boolean {
  return new Set(tokens.map(({ length }) => length)).size > 1;
}

/** Positions of all rows together. */
function size({ tokens, inputs, resid }: ForwardInput): number {
  const [rows, positions] = tokens
    ? [tokens.length, Math.max(...tokens.map((row) => row.length))]
    : ((resid ?? inputs)!.shape as [number, number]);
  return Math.max(1, rows * positions);
}

/** Stretches as one forward: what was looked at of all of them, and the end of the last. */
function joinStretches(done: readonly ForwardResult[]): ForwardResult {
  const { resid, logits, lengths } = done.at(-1)!;
  const activations = new Map(done.flatMap((part) => [...part.activations]));
  const names = done[0]!.reductions.keys();
  const reductions = new Map([...names].map((name) => [name, done.flatMap((part) => part.reductions.get(name)!)]));
  const all = [resid, ...(logits ? [logits] : []), ...activations.values(), ...[...reductions.values()].flat()];
  return { lengths, resid, ...(logits ? { logits } : {}), activations, reductions, dispose: () => tf.dispose(all) };
}
