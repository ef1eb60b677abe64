import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";

const FOLDER = new URL("../../oracles/circuits/", import.meta.url);

/** The model families of test/fixtures/families, each with an oracle of its own. */
export const FAMILIES: readonly string[] = readdirSync(FOLDER)
  .map((file) => file.replace(/\.json$/, ""))
  .filter((name) => name !== "smollm2");

/** Loads a family's checkpoint. */
export function loadFamily(name: string): Promise<Model> {
  return loadModel(fileURLToPath(new URL(`../../fixtures/families/${name}`, import.meta.url)));
}

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
/** Methods of scoring edges that the oracles have. */
export const ORACLE_METHODS = ["eap", "eap-ig", "eap-gp", "exact"] as const;
type Method = (typeof ORACLE_METHODS)[number];
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
    Ends & {
      direction: "denoise" | "noise";
      layers?: number[];
      z: PatchTables;
      mlp_out: PatchTables;
      resid_pre?: PatchTables;
      /** By groups of 20 neurons. */
      mlp_post?: PatchTables;
    })[];
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
      /** Of SmolLM2 without eap-gp. */
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
