import type { ContextNeedle } from "../../synthetic-tasks/contexts/index.ts";
import type { EvaluatedQuestion } from "../common/api/evaluations.ts";
import { mean } from "../common/numerics/averages.ts";
import type { KvCache } from "../models/cache/kv-cache.ts";
import type { Tokenizer } from "../models/tokenizers/tokenizer.ts";

/** A needle, and the positions of its tokens. */
export interface PlacedNeedle extends ContextNeedle {
  readonly positions: readonly number[];
}

/**
 * Finds needles among a context's tokens; one whose text the tokens do not spell is left out.
 * @param context token ids from the beginning of the sequence on
 */
export function placeNeedles(
  tokenizer: Pick<Tokenizer, "decode">,
  context: readonly number[],
  needles: readonly ContextNeedle[],
): PlacedNeedle[] {
  const text = tokenizer.decode(context as number[]);
  /** The fewest tokens from the beginning that spell more than so many characters. */
  const tokensBeyond = (characters: number): number => {
    let [low, high] = [0, context.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tokenizer.decode(context.slice(0, middle)).length > characters) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  return needles.flatMap((needle) => {
    const start = nearest(text, needle);
    if (start < 0) return [];
    const [first, last] = [tokensBeyond(start) - 1, tokensBeyond(start + needle.text.length - 1) - 1];
    return [{ ...needle, positions: Array.from({ length: last - first + 1 }, (_, i) => first + i) }];
  });
}

/** The character at which a needle begins: of several places the one nearest to its depth, -1 where there is none. */
function nearest(text: string, { text: needle, depth }: ContextNeedle): number {
  const wanted = depth * (text.length - needle.length);
  let best = -1;
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1))
    if (best < 0 || Math.abs(at - wanted) < Math.abs(best - wanted)) best = at;
  return best;
}

/** Tokens that a cache of one row holds, by layer and KV head. */
export function heldPositions(cache: KvCache): number[][][] {
  return cache.windows.map((heads, layer) => heads.map((_, head) => cache.tokens(layer, 0, head)));
}

/**
 * Needles with the share of each one's tokens that is held, mean over layers and KV heads.
 * @param held positions by layer and KV head; undefined where everything is
 */
export function keptNeedles(
  needles: readonly PlacedNeedle[],
  held: readonly (readonly (readonly number[])[])[] | undefined,
): EvaluatedQuestion["needles"] {
  const sets = needles.length > 0 ? held?.flat().map((positions) => new Set(positions)) : undefined;
  return needles.map(({ text, depth, positions }) => {
    const shares = sets?.map((set) => positions.filter((position) => set.has(position)).length / positions.length);
    return { text, depth, kept: shares ? mean(shares) : 1 };
  });
}
