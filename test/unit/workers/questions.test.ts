import { beforeAll, describe, expect, it } from "vitest";
import { ablateEach } from "../../../backend/circuits/ablation/each.ts";
import { attribute } from "../../../backend/circuits/attribution/direct.ts";
import { lens } from "../../../backend/circuits/attribution/lens.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import { patchTogether } from "../../../backend/circuits/patching/together.ts";
import type { AttributeResponse, LensResponse } from "../../../backend/common/api/attribution.ts";
import type { AblateEachResponse, PatchPlacesResponse, PatchResponse } from "../../../backend/common/api/patching.ts";
import { ABLATED_PARTS } from "../../../backend/common/words.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { randomTokens, smallConfig } from "../../helpers/models.ts";
import { apart, handled, ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";

const MODEL = "run:asked-1@0";
const CONFIG = smallConfig();
const [clean, corrupt] = randomTokens(2, 9, CONFIG.d_vocab) as [number[], number[]];
const PAIRS = [
  { clean, corrupt, answer: 3, wrong: 5 },
  { clean: corrupt, corrupt: clean, answer: 8, wrong: 2 },
];
let model: Model;

ownDataFolder();
beforeAll(async () => {
  await saveRandomRun("asked-1", 0, CONFIG);
  model = await loadModel(MODEL);
});

describe("what is asked of pairs over the pipe is what the library answers", () => {
  it("as direct attribution, whose parts add up to the logit difference", async () => {
    const { value } = await handled<AttributeResponse>("attribute", { model: MODEL, prompts: PAIRS, neurons: [1] });
    const direct = await attribute(model, { prompts: PAIRS, neurons: [1] });
    expect(apart(value.parts.heads.flat(), direct.parts.heads.flat())).toBeLessThan(1e-6);
    expect(value.sum).toBeCloseTo(value.logitDiff, 4);
    expect(value.neurons![0]!.values.reduce((a, b) => a + b, value.neurons![0]!.bias)).toBeCloseTo(
      value.parts.mlps[1]!,
      4,
    );
  });

  it("as a lens, with the tokens' texts, at the position that is asked for", async () => {
    const prompts = PAIRS.map(({ clean, answer, wrong }) => ({ clean, answer, wrong }));
    const { value } = await handled<LensResponse>("lens", { model: MODEL, prompts, position: 2, topTokens: 3 });
    const { rows } = await lens(model, { prompts, position: 2, top: 3 });
    expect(value.rows.map(({ at, rank }) => [at, rank])).toEqual(rows.map(({ at, rank }) => [at, rank]));
    expect(value.rows.map(({ top }) => top.map(({ id, text }) => [id, text]))).toEqual(
      rows.map(({ top }) => top.map(({ id }) => [id, String(id)])),
    );
  });

  it.each(ABLATED_PARTS)("as ablation of each %s", async (each) => {
    const options = { each, metric: "probability-diff", ...(each === "source" ? { window: 3 } : {}) } as const;
    const held = tf.memory().numTensors;
    const { value, events } = await handled<AblateEachResponse>("ablate-each", {
      model: MODEL,
      pairs: PAIRS,
      ...options,
    });
    expect(tf.memory().numTensors).toBe(held);
    const direct = await ablateEach(model, { pairs: PAIRS, ...options });
    expect(value).toMatchObject({ each, metric: "probability-diff", method: direct.method });
    expect(apart(value.ablated.flat(), direct.ablated.flat())).toBeLessThan(1e-6);
    expect(events).toHaveLength(PAIRS.length * CONFIG.n_layers);
  });

  it("as places patched together", async () => {
    const places = ["1.2@-1", "mlp_out:2", "v:0.1"];
    const request = { model: MODEL, pairs: PAIRS, places, direction: "noise", metric: "kl" } as const;
    const { value } = await handled<PatchPlacesResponse>("patch-places", request);
    const direct = await patchTogether(model, {
      ...{ pairs: PAIRS, direction: "noise", metric: "kl" },
      places: [
        { node: "z", layer: 1, head: 2, position: -1 },
        { node: "mlp_out", layer: 2 },
        { node: "v", layer: 0, head: 1 },
      ],
    });
    expect(value.patched).toBeCloseTo(direct.patched, 6);
    expect(value.places).toEqual(["z:1.2@-1", "mlp_out:2", "v:0.1"]);
  });

  it("as paths from chosen senders, whose likes stay empty", async () => {
    const paths = { into: ["2.1"], through: "v", from: ["0.1", "mlps", "embed"] } as const;
    const { value } = await handled<PatchResponse>("patch", { model: MODEL, pairs: PAIRS, ...paths });
    const direct = await patchPaths(model, { pairs: PAIRS, ...paths });
    expect(value.patched).toEqual(direct.patched);
    expect(value.patched[0]!.filter((each) => each !== null)).toHaveLength(1);
    expect(value.patchedMlps).toEqual(direct.patchedMlps);
    expect(value.patchedEmbed).toBe(direct.patchedEmbed);
  });

  it("is given up between two layers", async () => {
    const controller = new AbortController();
    const request = { model: MODEL, pairs: PAIRS, each: "head" };
    const given = handled("ablate-each", request, { signal: controller.signal, onEvent: () => controller.abort() });
    await expect(given).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("what says nothing of the parts is refused, naming the option", () => {
  it.each([
    ["window", { each: "head", window: 3 }],
    ["reference", { each: "mlp", method: "resample", reference: [clean] }],
    ["method", { each: "source", method: "mean" }],
  ])("%s", async (field, options) => {
    const given = handled("ablate-each", { model: MODEL, pairs: PAIRS, ...options });
    await expect(given).rejects.toEqual(refused("usage", { field }));
  });

  it("a place that the model lacks, or that is none", async () => {
    for (const places of [["9.0"], ["z:0.99"], ["word"], ["1.0@20"]])
      await expect(handled("patch-places", { model: MODEL, pairs: PAIRS, places })).rejects.toEqual(refused("usage"));
  });
});
