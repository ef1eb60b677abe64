import { beforeAll, expect, it } from "vitest";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import type { PatchMethod } from "../../../../backend/common/patching.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { circuitOracle, FAMILIES, loadFamily } from "../../../helpers/oracles/circuits.ts";
import { farthest } from "../../../helpers/oracles/differences.ts";

beforeAll(() => initBackend());

/** Families with grouped queries, norms behind attention and parallel blocks: theirs are compared over pairs of all lengths too. */
const WHOLE = ["gemma2", "gpt_neox", "llama-gqa", "olmo2"];

const PLACES = { z: "head", mlp_out: "layer", resid_pre: "position", mlp_post: "neurons" } as const;

it.each(FAMILIES)("tables of %s are PyTorch's, run place by place and estimated from autograd", async (name) => {
  const model = await loadFamily(name);
  const oracle = circuitOracle(name);
  const sections = oracle.patch.filter(({ pairs }) => WHOLE.includes(name) || pairs.length === 1);
  for (const { pairs: which, direction, clean, corrupt, ...tables } of sections) {
    const pairs = which.map((p) => oracle.pairs[p]!);
    for (const node of Object.keys(PLACES) as (keyof typeof PLACES)[])
      for (const [method, table] of Object.entries(tables[node] ?? {})) {
        const group = node === "mlp_post" ? { group: 20 } : {};
        const work = { pairs, node, by: PLACES[node], method: method as PatchMethod, direction, ...group };
        const result = await patch(model, work);
        const off = farthest(result, { clean, corrupt, patched: table });
        expect(off, `${node} ${method} ${direction}`).toBeLessThan(2e-4);
      }
  }
  model.dispose();
});
