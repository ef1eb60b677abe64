import type { Head } from "./head.ts";
import type { HeadMask } from "./mask.ts";

/** The meaning of a mask for each head of its model: both of its tables, an absent one filled in. */
export interface MaskMeaning {
  /** KV heads that keep everything: all where the mask says nothing of KV heads. */
  readonly full: readonly Head[];
  /** KV heads that keep sink and recent tokens only. */
  readonly streaming: readonly Head[];
  /** By layer and KV head, what a streaming head keeps; undefined where everything. */
  readonly windows: readonly (readonly ({ readonly sink: number; readonly recent: number } | undefined)[])[];
  /** Query heads whose output is 0 at every position: none where the mask says nothing of query heads. */
  readonly ablated: readonly Head[];
}

/** Decides what a mask means, for whoever runs, exports or shows it. Heads are in order of layer and head. */
export function meaningOf({ model, kvHeads, heads, sink, recent }: HeadMask): MaskMeaning {
  const choices =
    kvHeads ?? Array.from({ length: model.layers }, () => new Array<"retrieval">(model.kvHeads).fill("retrieval"));
  return {
    full: places(choices, "retrieval"),
    streaming: places(choices, "streaming"),
    windows: choices.map((row) => row.map((choice) => (choice === "streaming" ? { sink, recent } : undefined))),
    ablated: places(heads ?? [], "ablate"),
  };
}

function places(rows: readonly (readonly string[])[], word: string): Head[] {
  return rows.flatMap((row, layer) => row.flatMap((choice, head) => (choice === word ? [{ layer, head }] : [])));
}
