import { HeadscopeError } from "../../../common/errors.ts";
import { headModel } from "../../../common/heads/model.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, real, whole } from "../../../common/options.ts";
import { counted } from "../../../common/text.ts";
import { createPatterns, type SparsePattern, type SparsePatterns } from "../../../heads/patterns.ts";
import { SQUARE } from "../../../kernels/attend.ts";
import { KvCache } from "../../../models/cache/kv-cache.ts";
import type { AttentionReader } from "../../../models/cache/reader.ts";
import { forward } from "../../../models/forward/forward.ts";
import type { Model } from "../../../models/model.ts";
import { checkRow } from "../../../models/tokens.ts";
import { type LateChoice, type PatternShape, recallOf } from "./patterns.ts";
import { viewOf } from "./reader.ts";

/** The candidates of MInference's search, with sizes for its own samples. */
const CANDIDATES = [
  { pattern: "stream_llm", a: 100, b: 800 },
  { pattern: "vertical_and_slash", a: 30, b: 800 },
  { pattern: "vertical_and_slash", a: 100, b: 750 },
  { pattern: "vertical_and_slash", a: 500, b: 700 },
  { pattern: "vertical_and_slash", a: 3500, b: 100 },
  { pattern: "vertical_and_slash", a: 100, b: 800 },
  { pattern: "vertical_and_slash", a: 1000, b: 4096 },
] as const satisfies readonly PatternShape[];

/** Share of a sample's keys that a candidate reads unless told otherwise: that of MInference's squares. */
export const PATTERN_SHARE = 1 / 8;

/** Queries at a sample's end whose attention is recalled. */
const LATE = 512;

/** Options of `searchPatterns`. */
export interface PatternSearchOptions extends Partial<LateChoice> {
  /** Ids of a long sample. */
  readonly tokens: readonly number[];
  /** Share of the sample's keys that each candidate reads at its end, default 1/8. */
  readonly share?: number;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ((done: number, total: number, what: string) => void) | undefined;
}

const OPTIONS: Rules<PatternSearchOptions> = {
  tokens: ANYTHING,
  share: real(0, 1),
  last: whole(1),
  sinks: whole(0),
  local: whole(0),
  signal: ANYTHING,
  progress: FUNCTION,
};

/**
 * The shapes that a search tries: those of MInference, each scaled so that its two sizes are a share of the sample together, and for each
 * row of squares that share of them with the largest products of mean queries and keys.
 */
export function candidateShapes(tokens: number, share = PATTERN_SHARE): PatternShape[] {
  const scaled = CANDIDATES.map(({ pattern, a, b }): PatternShape => {
    const scale = (share * tokens) / (a + b);
    return { pattern, a: Math.round(a * scale), b: Math.max(1, Math.round(b * scale)) };
  });
  const squares = Math.max(1, Math.round(share * Math.ceil(tokens / SQUARE)));
  return [...scaled, { pattern: "block_sparse", a: squares, b: 1 }];
}

/**
 * Finds a sparse shape for every query head as MInference's search does: that of the candidates which recalls most of the attention of
 * a long sample's last 512 queries, in squares of 64 as they are read, each query's own among them. One dense forward.
 * @throws HeadscopeError (usage, input) for options that do not fit, and a sample of one square
 */
export function searchPatterns(model: Model, options: PatternSearchOptions): SparsePatterns {
  checkOptions("searchPatterns", options, OPTIONS, ["tokens"]);
  const { tokens, share = PATTERN_SHARE, last = 64, sinks = 30, local = 100, signal, progress } = options;
  checkRow(tokens, "the sample", model);
  if (tokens.length <= SQUARE)
    throw new HeadscopeError(
      "input",
      `a sample of ${counted(tokens.length, "token")} is one square, which all heads read`,
      {
        remedy: `give more than ${SQUARE} tokens, better some thousands`,
        field: "tokens",
      },
    );
  const { config } = model;
  const shapes = candidateShapes(tokens.length, share);
  const from = Math.floor(Math.max(0, tokens.length - LATE) / SQUARE) * SQUARE;
  const layers: SparsePattern[][] = [];
  const reader: AttentionReader = {
    reaches: () => true,
    survey(prompt) {
      const recalls = recallOf(viewOf(prompt, config), shapes, { from, last, sinks, local });
      layers.push(recalls.map((scores) => bestOf(shapes, scores)));
      progress?.(layers.length, config.n_layers, "layers");
      return false;
    },
    choose: () => undefined,
  };
  const cache = new KvCache(config, { capacity: tokens.length });
  try {
    const onLayer = (): void => signal?.throwIfAborted();
    forward(model, { tokens: [tokens], cache, logitsAt: "none" }, { reader, onLayer }).dispose();
  } finally {
    cache.dispose();
  }
  return createPatterns(headModel(model), layers, { tokens: tokens.length, from, share, last, sinks, local });
}

function bestOf(shapes: readonly PatternShape[], scores: readonly number[]): SparsePattern {
  const best = scores.indexOf(Math.max(...scores));
  return { ...shapes[best]!, score: scores[best]! };
}
