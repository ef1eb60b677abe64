import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../../../backend/hooks/interventions.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import {
  disconnect,
  type Edge,
  randomEdges,
  STEP_NAMES,
  STEPS,
  siblingEdges,
} from "../../../../experiments/icl-circuit/steps.ts";
import { leavesNoTensors, maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

/** "a b : L \n c : M \n d e :" */
const PROMPT = {
  tokens: Array.from({ length: 12 }, (_, i) => i),
  texts: [[0, 2], [5, 6], [9, 11]],
  forerunners: [2, 6, 11],
  labels: [3, 7],
} as const; // biome-ignore format: a line a part

describe("the circuit's steps", () => {
  it("are the edges between texts, forerunners and labels", () => {
    const edges = Object.fromEntries(STEP_NAMES.map((step) => [step, STEPS[step].edges(PROMPT)]));
    expect(edges).toEqual({
      summary: [[2, 0], [2, 1], [6, 5]],
      query: [[11, 9], [11, 10]],
      merge: [[3, 2], [7, 6]],
      retrieval: [[11, 3], [11, 7]],
    }); // biome-ignore format: a step a line
  });
});

describe("random edges", () => {
  it("are different causal ones, every one as likely", () => {
    const random = new Random(1);
    const seen = new Map<string, number>();
    for (let draw = 0; draw < 4000; draw++) {
      const edges = randomEdges(3, 4, random);
      expect(new Set(edges.map(String)).size).toBe(3);
      for (const edge of edges) seen.set(String(edge), (seen.get(String(edge)) ?? 0) + 1);
    }
    expect(seen.size).toBe(10); // of 4 tokens: 4 · 5 / 2
    for (const [edge, count] of seen) {
      const [query, key] = edge.split(",").map(Number) as [number, number];
      expect(key).toBeLessThanOrEqual(query);
      expect(Math.abs(count / 4000 - 0.3)).toBeLessThan(0.04); // more than five standard errors
    }
    expect(randomEdges(99, 4, random)).toHaveLength(10);
  });

  it("of the same queries are others than the step's, as many where there are such", () => {
    const step: Edge[] = [[5, 1], [5, 2], [3, 0]]; // biome-ignore format: one line
    for (let seed = 0; seed < 50; seed++) {
      const edges = siblingEdges(step, new Random(seed));
      expect(edges.map(([query]) => query)).toEqual([5, 5, 3]);
      expect(new Set([...step, ...edges].map(String)).size).toBe(6);
    }
    expect(siblingEdges([[1, 0], [1, 1]], new Random(0))).toEqual([]); // biome-ignore format: one line
  });
});

describe("disconnecting", () => {
  const config = smallConfig();
  const tokens = randomTokens(2, 8, config.d_vocab);
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    model = randomModel(config);
    forward(model, { tokens }).dispose(); // the runtime keeps a few constants
  });
  leavesNoTensors();
  afterAll(() => model.dispose());

  it("is the intervention knock-out of the same keys, row by row, in the layers of the span alone", () => {
    const edges: Edge[][] = [[[4, 1], [7, 4]], [[7, 0]]]; // biome-ignore format: one line
    const cut = disconnect([1, 3], (row) => edges[row]!, { rows: 2, positions: 8 });
    const wanted = [1, 2].flatMap((layer) =>
      edges.flatMap(
        (own, row) =>
        own.map(([query, key]): Intervention => ({ at: "attn.hook_attn_scores", layer, do: "knock-out", rows: [row], positions: [query], keys: [key] })), // biome-ignore format: one line
      ),
    );
    const compiled = compileInterventions(model, wanted, { rows: 2, positions: 8, tokens });
    const [own, other, plain] = [cut, compiled, new Map()].map((interventions) => forward(model, { tokens }, { interventions })); // biome-ignore format: one line
    expect(maxDifference(own!.logits!, other!.logits!)).toBeLessThan(1e-5);
    expect(maxDifference(own!.logits!, plain!.logits!)).toBeGreaterThan(0.01);
    for (const run of [own, other, plain]) run!.dispose();
    for (const changes of [cut, compiled]) disposeInterventions(changes);
  });

  it("of no edges changes no logit", () => {
    const cut = disconnect([0, 3], () => [], { rows: 2, positions: 8 });
    const [own, plain] = [cut, new Map()].map((interventions) => forward(model, { tokens }, { interventions }));
    expect(maxDifference(own!.logits!, plain!.logits!)).toBeLessThan(1e-5);
    own!.dispose();
    plain!.dispose();
    disposeInterventions(cut);
  });
});
