import type { TensorType } from "../../../../backend/common/words.ts";
import { type CallOptions, getBytes } from "../../api/client.ts";
import { RequestCache } from "../../api/requestCache.ts";
import { readSafetensors } from "../../api/safetensors.ts";
import { prompt } from "../../state/prompt.svelte.ts";

/** Attention of some heads of a layer on the user's prompt. */
export interface Patterns {
  /** Number of heads that are held. */
  readonly heads: number;
  readonly tokens: number;
  /** [heads, query, key], row-major; 0 where the key comes after the query. */
  readonly data: Float32Array;
}

export interface PatternOptions {
  /** Query heads of the layer, in the order wanted; default all. */
  readonly heads?: readonly number[];
  /** Each key's weight times the norm of what its value writes through W_O (Kobayashi et al. 2020). */
  readonly weighted?: boolean;
  /** Precision in which the numbers travel; half precision by default: 11 significant bits, which no picture shows. */
  readonly dtype?: TensorType;
}

/** Values that are kept: 16 Mi of them are 64 MiB. */
const kept = new RequestCache<Patterns>(16 * 2 ** 20, ({ data }) => data.length);

/**
 * The layer's pattern on the user's prompt. Answers are kept; the same question asked twice at once is one request, which is
 * given up when nobody waits for it any more.
 * @throws ApiError; Error where there is no prompt
 */
export async function loadPattern(
  layer: number,
  { heads, weighted = false, dtype = "f16" }: PatternOptions,
  caller: CallOptions = {},
): Promise<Patterns> {
  return prompt.about(async (id) => {
    const query = new URLSearchParams({
      ...(heads && { heads: heads.join(",") }),
      ...(dtype === "f16" && { dtype }),
      ...(weighted && { weighted: "value" }),
    });
    const path = (of: URLSearchParams): string => `/api/prompts/${id}/patterns/${layer}?${of}`;
    if (heads) {
      const whole = new URLSearchParams(query);
      whole.delete("heads");
      const layerHeld = kept.held(path(whole));
      if (layerHeld) return pick(layerHeld, heads);
    }
    // Who reads it knows already how long the text is.
    const { wait: _, signal, ...named } = caller;
    return kept.get(path(query), async (own) => parse(await getBytes(path(query), { ...named, signal: own })), signal);
  });
}

/** Some heads of a layer's patterns; one head shares the memory. @returns [heads, query, key] */
export function pick({ tokens, data }: Patterns, heads: readonly number[]): Patterns {
  const size = tokens * tokens;
  if (heads.length === 1) return { heads: 1, tokens, data: data.subarray(heads[0]! * size, (heads[0]! + 1) * size) };
  const picked = new Float32Array(heads.length * size);
  for (const [i, head] of heads.entries()) picked.set(data.subarray(head * size, (head + 1) * size), i * size);
  return { heads: heads.length, tokens, data: picked };
}

function parse(buffer: ArrayBuffer): Patterns {
  const { shape, data } = readSafetensors(buffer)[0]!;
  const [heads, queries, keys] = shape.slice(-3) as [number, number, number];
  if (queries !== keys) throw new Error(`a whole pattern is square, this one is ${queries} x ${keys}`);
  return { heads, tokens: keys, data };
}
