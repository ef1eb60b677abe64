import { beforeAll, expect, it } from "vitest";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { canMatter } from "../../../../frontend/src/patching/result/restoration.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
const [clean] = randomTokens(1, 8, 96) as [number[]];
const differ = [3, 5];
const corrupt = clean.map((id, i) => (differ.includes(i) ? (id + 40) % 96 : id));

beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

it("the positions that the page shades are those where patching changes nothing, for a node of every kind", async () => {
  const pair = { clean, corrupt, answer: 5, wrong: 70 };
  const layers = model.config.n_layers;
  for (const node of ["resid_pre", "q", "k", "pattern", "z", "mlp_out"] as const) {
    const result = await patch(model, { pairs: [pair], node, by: "position" });
    const moved = result.patched.map((row) => row.map((value) => Math.abs(value - result.corrupt) > 1e-4));
    const shaded = moved.map((row, layer) =>
      row.map((_, position) => canMatter(node, layer, position, { layers, positions: clean.length, differ })),
    );
    expect(shaded, node).toEqual(moved);
  }
});
