import { readFileSync } from "node:fs";

const FOLDER = new URL("../../oracles/circuits/", import.meta.url);

/** Reads what test/oracles/circuits.py wrote. @param name a family, or "smollm2" */
export function circuitOracle(name: string): CircuitOracle {
  return JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8")) as CircuitOracle;
}

/** What stands for a tensor in the oracles: its norm, and the sum of its entries times sin(i), i the flat index. */
export function summary(values: ArrayLike<number>): { norm: number; dot: number } {
  let [squares, dot] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    squares += values[i]! ** 2;
    dot += values[i]! * Math.sin(i);
  }
  return { norm: Math.sqrt(squares), dot };
}

/**
 * The largest difference between a result and what an oracle says of it, field by field; fields that the oracle has not are
 * passed over. Words must be equal, numbers are compared by their distance.
 * @returns the distance, and the path of its number, such as "parts.heads.1.3"
 */
export function farthest(found: unknown, expected: unknown, path = ""): { distance: number; path: string } {
  if (typeof expected === "number")
    return { distance: typeof found === "number" ? Math.abs(found - expected) : Number.NaN, path };
  if (expected === null || typeof expected !== "object")
    return { distance: found === expected ? 0 : Number.POSITIVE_INFINITY, path };
  if (Array.isArray(expected) && (found as unknown[] | undefined)?.length !== expected.length)
    return { distance: Number.POSITIVE_INFINITY, path: `${path}.length` };
  let worst = { distance: 0, path };
  for (const [key, value] of Object.entries(expected)) {
    const own = farthest((found as Record<string, unknown> | undefined)?.[key], value, path ? `${path}.${key}` : key);
    if (!(own.distance <= worst.distance)) worst = own;
    if (Number.isNaN(own.distance)) return own;
  }
  return worst;
}

/** Two prompts as ids, and the two answers. */
export interface OraclePair {
  clean: number[];
  corrupt: number[];
  answer: number;
  wrong: number;
}

/** Indices of the pairs that a section is the mean over. */
interface OfPairs {
  pairs: number[];
}

interface Ends {
  clean: number;
  corrupt: number;
}

/** A table by the two methods. */
interface PatchTables {
  exact: number[][];
  attribution: number[][];
}

type Table = Record<string, { edges: number; sum: number; sumAbs: number }>;
type Method = "eap" | "eap-ig" | "exact";
interface TopLogit {
  id: number;
  logit: number;
}
interface Spectrum {
  singular: number[];
  norm: number;
}
interface Circuit {
  edges?: (number | string)[];
  without?: (number | string)[];
  rule?: string;
}

/** One oracle file; test/oracles/README.md describes its fields. */
export interface CircuitOracle {
  model: string;
  pairs: OraclePair[];
  gradients: Record<
    "logit-diff" | "probability" | "log-probability" | "kl",
    {
      prompt: "clean" | "corrupt";
      value: number;
      points: Record<string, { norm: number; dot: number; last?: number[] }>;
    }
  >;
  attribution: (OfPairs & {
    logitDiff: number;
    sum: number;
    parts: {
      embed: number;
      posEmbed: number;
      heads: number[][];
      mlps: number[];
      attnBias: number[];
      finalNormBias: number;
      unembedBias: number;
      softCap: number;
    };
  })[];
  lens: {
    position: number;
    rows: { at: string; answer: number; wrong: number; rank: number; top: TopLogit[] }[];
  }[];
  patch: (OfPairs &
    Ends & { direction: "denoise" | "noise"; z: PatchTables; mlp_out: PatchTables; resid_pre?: PatchTables })[];
  paths: (OfPairs & {
    into: string[];
    through: "q" | "k" | "v";
    kvGroup: boolean;
    direction: "denoise" | "noise";
    mlps: "frozen" | "recomputed";
    from: string[];
    values: number[];
  })[];
  /** All edges in order, as "from->to"; of SmolLM2 no list. */
  graph?: { edges: string[] };
  edges: (OfPairs &
    Ends & {
      total: number;
      /** Of SmolLM2 the edges that the scores are of. */
      edges?: string[];
      scores: Record<Method, number[]>;
      totals: Partial<Record<Method, Table>>;
    })[];
  circuit: OfPairs & {
    runs: (Circuit & { metric: number; faithfulness: number; count: number })[];
    curve: Ends & {
      /** Best edges first, by index; of SmolLM2 the first 1,000 by name. */
      order: (number | string)[];
      sizes: number[];
      total: number;
      curve: { edges: number; share: number; metric: number; faithfulness: number }[];
      cpr: number;
      cmd: number;
    };
  };
  heads: Record<
    "raw" | "fold_ln",
    {
      heads: { head: string; copying: number; ov: Spectrum; qk: Spectrum }[];
      composition: { from: string; to: string; q: number; k: number; v: number }[];
      tokenPairs: {
        head: string;
        pairs: { source: number; target: number; value: number }[];
        diagonal: { top1: number; top10: number; median: number; mean: number };
      }[];
    }
  >;
  functionVector: {
    cases: { clean: number[]; shuffled: number[]; zero: number[]; answer: number }[];
    top: number;
    values: number[][];
    heads: string[];
    vector: number[];
    perCase: { clean: number; shuffled: number }[];
    zeroShot: Record<string, { probability: number; ranks: number[] }>;
    margin: number;
  };
  steering: {
    rows: number[][];
    layer: number;
    positions: "all" | "last" | number[];
    scale: number;
    norm: number;
    residNorm: number;
    base: { top: TopLogit[] };
    steered: { top: TopLogit[] };
    vocabulary: number[];
    lastLogits: number[][];
  }[];
}
