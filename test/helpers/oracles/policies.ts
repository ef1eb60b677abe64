import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { Random } from "../../../backend/common/random.ts";

const FOLDER = new URL("../../oracles/policies/", import.meta.url);

/** Logits of one step at chosen ids, with two checksums over the whole vocabulary. */
interface OracleLogits {
  logits: number[];
  logsumexp: number;
  /** Root of the mean square. */
  rms: number;
}

/** A prompt of kvpress's oracle, and how the model goes on without a policy. */
export interface PolicyPrompt {
  ids: number[];
  /** The prefill's logits at `first.ids`, its 32 largest. */
  first: OracleLogits & { ids: number[] };
  /** Ids of the logits of `second` and of every case. */
  vocabulary: number[];
  second: OracleLogits;
  tokens: number[];
  margin: number;
}

/** One policy on one prompt; the header of test/oracles/policies_kvpress.py describes it. */
export interface PolicyCase extends OracleLogits {
  prompt: string;
  policy: string;
  parameters: Record<string, number | string | boolean>;
  /** Last tokens of the prompt that come after the policy has acted, default 0. */
  question?: number;
  /** Absent of `when: decode`. */
  kept?: string;
  counts?: number | number[] | number[][];
  /** `snapkv,think` alone: what think keeps, beside `kept`. */
  channels?: string;
  near?: [layer: number, kvHead: number, position: number][];
  tokens: number[];
  margin: number;
  after?: { kept: string; counts: number | number[] | number[][] };
}

/** What kvpress does on one model. */
export interface PolicyOracle {
  shape: { layers: number; heads: number; kvHeads: number; dHead: number };
  prompts: Record<string, PolicyPrompt>;
  /** kvpress's score of heads by mean queries and keys of the prompts [layers][kvHeads]. */
  onTheFly: number[][];
  cases: PolicyCase[];
}

/** Reads what test/oracles/policies_kvpress.py wrote. */
export function policyOracle(model: "llama" | "smollm2"): PolicyOracle {
  return JSON.parse(readFileSync(new URL(`kvpress-${model}.json`, FOLDER), "utf8")) as PolicyOracle;
}

/**
 * Unpacks a case's bits to lists [layers][kvHeads][kept], ascending.
 * @param length positions of the prompt, or channels of a head
 */
export function keptLists(packed: string, { layers, kvHeads }: PolicyOracle["shape"], length: number): number[][][] {
  const bits = inflateSync(Buffer.from(packed, "base64"));
  const bytes = Math.ceil(length / 8);
  const row = (first: number): number[] =>
    Array.from({ length }, (_, place) => place).filter(
      (place) => ((bits[first + (place >> 3)]! >> (place & 7)) & 1) === 1,
    );
  return Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: kvHeads }, (_, head) => row((layer * kvHeads + head) * bytes)),
  );
}

/** How an array of policies/definitions.json is drawn. */
export interface DrawnInput {
  kind: "normal" | "uniform";
  stream: number;
  shape: number[];
  scale: number;
}

/** The elements of such an array, row-major, in double precision. @param seed of the file */
export function drawnInput({ kind, stream, shape, scale }: DrawnInput, seed: number): Float64Array {
  const random = new Random(seed, stream);
  const size = shape.reduce((product, length) => product * length, 1);
  const next = kind === "uniform" ? () => random.uniform() : () => Math.fround(random.normal()) * scale;
  return Float64Array.from({ length: size }, next);
}

/** A section of policies/definitions.json; the docstring of its function in test/oracles/policies.py defines it. */
export interface PolicyDefinition {
  inputs: Record<string, DrawnInput>;
  parameters?: Record<string, unknown>;
  [result: string]: unknown;
}

/** Reads what test/oracles/policies.py wrote: the seed, and its sections by the policy's name. */
export function policyDefinitions(): { seed: number; sections: Record<string, PolicyDefinition> } {
  const {
    seed,
    numpy: _,
    ...sections
  } = JSON.parse(readFileSync(new URL("definitions.json", FOLDER), "utf8")) as Record<string, PolicyDefinition> & {
    seed: number;
  };
  return { seed: Number(seed), sections };
}
