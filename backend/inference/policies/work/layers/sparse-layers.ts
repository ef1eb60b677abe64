import { SQUARE } from "../../../../kernels/attend.ts";
import type { KvCache } from "../../../../models/cache/kv-cache.ts";
import { localWindow, type ModelConfig } from "../../../../models/config.ts";
import type { Window } from "../../../../models/transformer/attention.ts";
import type { ColumnRule, HeldColumns } from "../../kinds/blocks.ts";

/** Columns that each layer of global attention holds, where some are let go. */
export function columnRules(config: ModelConfig, holds: HeldColumns): (ColumnRule | undefined)[] {
  return Array.from({ length: config.n_layers }, (_, layer) =>
    localWindow(config, layer) === undefined ? holds(config, layer) : undefined,
  );
}

/** Tells whether a token reads a position, by a rule for their columns. */
export function readsAt(rule: ColumnRule, position: number, token: number): boolean {
  return rule(Math.floor(position / SQUARE), Math.floor(token / SQUARE));
}

/** Layers of one sequence that a policy for blocks makes sparse: their heads let go what no later token reads. */
export class SparseLayers {
  readonly #rules: readonly (ColumnRule | undefined)[];
  readonly #windows: readonly (readonly (Window | undefined)[])[] | undefined;
  /** Column of the token that was seen last. */
  #own = -1;

  /** @param windows of heads that stream, by layer and KV head: these are left alone */
  constructor(config: ModelConfig, holds: HeldColumns, windows?: readonly (readonly (Window | undefined)[])[]) {
    this.#rules = columnRules(config, holds);
    this.#windows = windows;
  }

  /** Lets go what a row's token at position `end` - 1 does not read: one that is held already, or comes next. */
  slide(cache: KvCache, row: number, end: number): void {
    const own = Math.floor((end - 1) / SQUARE);
    if (own === this.#own) return;
    this.#own = own;
    for (const [layer, rule] of this.#rules.entries()) {
      if (!rule) continue;
      for (const head of cache.windows[layer]!.keys()) {
        if (this.#windows?.[layer]?.[head]) continue;
        const gone = cache.positions(layer, row, head).filter((position) => !readsAt(rule, position, end - 1));
        if (gone.length > 0) cache.drop(layer, row, head, gone);
      }
    }
  }
}
