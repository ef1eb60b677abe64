import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../../common/errors.ts";
import { type CachePage, type CacheStorage, Table } from "../storage/storage.ts";

/** A row that stands for tokens before all queries: each sees it, and its score is the larger by the logarithm of their number. */
export interface Summary {
  /** [1, 1, d_head], as the value. */
  readonly key: Tensor;
  readonly value: Tensor;
  /** Number of the tokens, at least 1. */
  readonly weight: number;
}

/** A summary as it is held: the first row of a page of its own. */
export interface SummaryRow {
  readonly page: CachePage;
  readonly weight: number;
}

/** Puts a summary into a page of its own. @throws HeadscopeError (usage) for a weight that can't be */
export function summaryRow(storage: CacheStorage, { key, value, weight }: Summary): SummaryRow {
  if (!(Number.isInteger(weight) && weight >= 1 && weight < 2 ** 31))
    throw new HeadscopeError("usage", `a row can't stand for ${weight} tokens`, {
      remedy: "give a whole number from 1 on",
      field: "weight",
    });
  const page = storage.page(1);
  const slots = new Table(Int32Array.of(page.id, 0), [1, 1, 1, 2]);
  storage.write({ k: key, v: value, layer: 0 }, slots);
  slots.dispose();
  return { page, weight };
}

/** Its span as tables of places have it [1, 4]: the position is -weight. */
export function summarySpan({ page, weight }: SummaryRow): Int32Array {
  return Int32Array.of(page.id, 0, -weight, 1);
}
