import type { Tensor } from "@tensorflow/tfjs";
import type { KeysAndValues } from "../transformer/attention.ts";

/** New tokens on their way through a layer: q [rows * tokens, heads, d_head], k and v [rows * tokens, kv heads, d_head]. */
export interface NewTokens {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  /** Tokens of a row in these tensors, padding included. */
  tokens: number;
  /** Tokens that are no padding. */
  real: number;
  /** Position of the first token, by row. */
  starts: readonly number[];
}

/**
 * Keys and values of one layer as attention sees them. Attention hands over new tokens' and reads what their queries reach; whether
 * a store holds all of it, in which numbers and where, it never asks.
 */
export interface AttentionStore {
  /** Keeps the keys and values of a row's new tokens. @returns by part of the queries and KV head, the keys and values that they reach */
  update(row: number): KeysAndValues[][];
}

/** Attention as a part of a larger captured function: the tensors that it reads, and z [tokens, heads * d_head] of them. */
export interface StagedAttention {
  key: string;
  tensors: Tensor[];
  z(tensors: Tensor[]): Tensor;
}

/** Queries that share one product: scores of more do not stay in the processor's cache, and reach past the diagonal. */
const PART = 128;

/** The parts of a chunk's queries: first and count. */
export function queryParts(tokens: number): { first: number; count: number }[] {
  return Array.from({ length: Math.ceil(tokens / PART) }, (_, j) => ({
    first: j * PART,
    count: Math.min(PART, tokens - j * PART),
  }));
}
