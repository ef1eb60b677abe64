import { HEAD_ROLES, type HeadRole } from "../../common/heads/roles.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import type { Turn } from "../../runtime/turn.ts";
import type { TokenPair } from "../pairs.ts";
import type { RoleLooks } from "./places.ts";

/** One pair's attention at the places of its roles. */
export interface PairLooks {
  /** By role that the pair has the places of, the share of attention [layers][heads]. */
  readonly shares: Partial<Record<HeadRole, readonly (readonly number[])[]>>;
  /** By layer, the values [positions, KV heads, d_head]. */
  readonly values: readonly Float32Array[];
}

/** Reads a clean prompt's patterns layer by layer, so that one layer's is held at a time. @throws HeadscopeError for patterns that are no numbers */
export async function readLooks(model: Model, { clean }: TokenPair, looks: RoleLooks, turn: Turn): Promise<PairLooks> {
  const { n_layers, n_heads } = model.config;
  const T = clean.length;
  const shares: Partial<Record<HeadRole, number[][]>> = {};
  const values: Float32Array[] = [];
  let resid: ReturnType<typeof forward>["resid"] | undefined;
  try {
    for (let layer = 0; layer < n_layers; layer++) {
      const [pattern, value] = [blockHook(layer, "attn.hook_pattern"), blockHook(layer, "attn.hook_v")];
      const input = resid === undefined ? { tokens: [clean] } : { resid };
      const range = { startLayer: layer, stopLayer: layer + 1, logitsAt: "none" as const };
      const run = forward(model, { ...input, ...range }, { names: [pattern, value] });
      resid?.dispose();
      resid = run.resid;
      const rows = run.activations.get(pattern)!.dataSync() as Float32Array; // [heads, query, key]
      values.push(run.activations.get(value)!.dataSync() as Float32Array);
      tf.dispose([...run.activations.values()]);
      if (!allFinite(rows)) throw notFinite(model, "attention patterns", [clean]);
      for (const role of HEAD_ROLES) {
        const own = looks[role];
        if (own === undefined) continue;
        const share = (head: number): number =>
          own.reduce((sum, { query, keys }) => {
            const row = (head * T + query) * T;
            return sum + keys.reduce((part, key) => part + rows[row + key]!, 0);
          }, 0) / own.length;
        const table = shares[role] ?? [];
        table.push(Array.from({ length: n_heads }, (_, head) => share(head)));
        shares[role] = table;
      }
      await turn();
    }
  } finally {
    resid?.dispose();
  }
  return { shares, values };
}
