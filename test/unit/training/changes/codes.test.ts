import { beforeAll, describe, expect, it } from "vitest";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { parameterCount, parameterLayout } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { restartCodes, restartsBefore } from "../../../../backend/training/changes/codes.ts";
import { makeSpec, modelConfigOf } from "../../../../backend/training/spec.ts";
import type { SyntheticTask } from "../../../../backend/training/task.ts";
import { type TrainState, train } from "../../../../backend/training/train.ts";
import { refused } from "../../../helpers/errors.ts";
import { tiny } from "../../../helpers/training/tiny-task.ts";

const task = tiny as unknown as SyntheticTask;
const CODED = { codes: 6, code_heads: 2, readout_hidden: [16], d_model: 16, n_heads: 2, n_layers: 1 } as const;

beforeAll(async () => void (await initBackend()));

describe("a restart of codes", () => {
  const config = { ...modelConfigOf(makeSpec(task, CODED).model, task.shape(makeSpec(task).params)) } as ModelConfig;
  const places = parameterLayout(config);
  const { offset, size } = places.find(({ name }) => name === "codes")!;
  const fill = (value: number) => new Float32Array(parameterCount(places)).fill(value);
  const state = () => [Float32Array.from(fill(0), (_, i) => (i - offset) / 8), fill(1), fill(2)];
  const rows = (values: Float32Array) =>
    Array.from({ length: size / 8 }, (_, code) => [...values.subarray(offset + 8 * code, offset + 8 * (code + 1))]);
  // Five tokens with streams 100 t + place; head 0 takes code 1 always, head 1 (rows 6 to 11) code 8 or 9; the last counts for nothing.
  const z = Float32Array.from({ length: 5 * 16 }, (_, i) => 100 * Math.floor(i / 16) + (i % 16));
  const chosen = Int32Array.from([1, 8, 1, 9, 1, 8, 1, 9, 0, 6]);
  const weights = Float32Array.from([1, 0.5, 1, 1, 0]);
  const restarted = (seed: number) =>
    restartCodes(state(), { config, places }, { z, chosen, weights }, { seed, step: 1 });

  it("puts the codes that no prediction takes onto streams of the batch, each on another, and leaves the others", () => {
    const before = rows(state()[0]!);
    const after = rows(restarted(3)[0]!);
    const streams = (head: number) => [0, 1, 2, 3].map((t) => [...z.subarray(16 * t + 8 * head, 16 * t + 8 * head + 8)].join());
    expect(after[1]).toEqual(before[1]);
    expect([after[8], after[9]]).toEqual([before[8], before[9]]);
    for (const [head, free] of [[0, [0, 2, 3, 4, 5]], [1, [6, 7, 10, 11]]] as const) {
      // Five codes of head 0 are free and four streams are there: one code stays.
      const moved = free.map((code) => after[code]!.join()).filter((vector, i) => vector !== before[free[i]!]!.join());
      expect([...moved].sort()).toEqual([...streams(head)].sort());
    }
  });

  it("takes the optimiser's vectors of the codes that moved with it, and changes nothing else", () => {
    const [parameters, first, second] = restarted(3);
    const before = state();
    const moved = rows(parameters!).map((code, c) => code.join() !== rows(before[0]!)[c]!.join());
    for (const [vector, value] of [[first!, 1], [second!, 2]] as const)
      expect(rows(vector)).toEqual(moved.map((each) => new Array(8).fill(each ? 0 : value)));
    parameters!.forEach((x, i) => {
      if (i < offset || i >= offset + size) expect(x).toBe(before[0]![i]);
    });
  });

  it("draws streams by their squared distances from their codes", () => {
    // One code is free (code 1 of two), two streams: at distances 1 and 3 from code 0, so a tenth of the draws takes the first.
    const two = { ...config, d_model: 1, n_heads: 1, bottleneck: { codes: 2, heads: 1 } };
    const own = [{ ...places[0]!, name: "codes", shape: [2, 1], offset: 0, size: 2 }];
    const drawn = Array.from({ length: 2000 }, (_, seed) => {
      const batch = { z: Float32Array.from([1, 3]), chosen: Int32Array.from([0, 0]), weights: Float32Array.from([1, 1]) };
      return restartCodes([new Float32Array(2)], { config: two, places: own }, batch, { seed, step: 1 })[0]![1];
    });
    const share = drawn.filter((x) => x === 1).length / 2000;
    expect(drawn.every((x) => x === 1 || x === 3)).toBe(true);
    expect(Math.abs(share - 0.1)).toBeLessThan(4 * Math.sqrt((0.1 * 0.9) / 2000));
  });

  it("comes before the first step and every so many, up to half of the steps or the step that is given", () => {
    const steps = (training: object) =>
      Array.from({ length: 20 }, (_, i) => i + 1).filter((step) =>
        restartsBefore({ config, places, training: { steps: 20, ...training } }, step));
    expect(steps({ code_restart: 4 })).toEqual([1, 5, 9]);
    expect(steps({ code_restart: 4, code_restart_until: 17 })).toEqual([1, 5, 9, 13, 17]);
    expect(steps({})).toEqual([]);
  });
}); // biome-ignore format: tables

describe("training through a bottleneck", () => {
  async function run(raw: Record<string, unknown>, options: { resume?: TrainState[]; stopAt?: number } = {}) {
    const { stopAt, ...start } = options;
    const spec = makeSpec(task, { points: 21, checkpoints: 3, spacing: "linear", ...CODED, ...raw }, { seeds: 2 });
    const states: TrainState[] = [];
    const losses: number[] = [];
    const controller = new AbortController();
    const seeds = [3, 4];
    const onMetrics = (step: number, seed: number, values: Readonly<Record<string, number>>) => {
      if (seed === 3) losses.push(values["fresh.loss"]!);
      if (step === stopAt) controller.abort();
    };
    const onCheckpoint = async (_: number, state: TrainState) => void states.push(state);
    await train(task, spec, seeds, { onMetrics, onCheckpoint, signal: controller.signal }, start);
    return { states, losses };
  }

  it("goes on from a checkpoint bit for bit, restarts of codes too", async () => {
    const raw = { code_restart: 3, code_restart_until: 15, commitment: 0.5 };
    const whole = await run(raw);
    const begun = await run(raw, { stopAt: 7 });
    const rest = await run(raw, { resume: begun.states.slice(-2) });
    expect(begun.states.at(-1)!.step).toBe(7);
    expect(rest.states.slice(-2)).toEqual(whole.states.slice(-2));
  });

  it("learns what the token and the codes tell, whose restarts change the run", async () => {
    const [without, restarting] = [await run({ steps: 60 }), await run({ steps: 60, code_restart: 3 })];
    for (const { losses } of [without, restarting]) expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2);
    expect(restarting.states.at(-1)!.state[0]).not.toEqual(without.states.at(-1)!.state[0]);
  });

  it.each([
    ["heads of no codes", { code_heads: 2 }, ["code_heads", "codes"]],
    ["heads that do not divide the stream", { codes: 4, code_heads: 3 }, ["code_heads", "d_model"]],
    ["codes of vectors", { codes: 4, vectors: true }, ["codes"]],
    ["a commitment to nothing", { commitment: 1 }, ["commitment", "codes"]],
    ["restarts of nothing", { code_restart: 4 }, ["code_restart", "codes"]],
    ["an end of no restarts", { codes: 4, code_restart_until: 4 }, ["code_restart_until", "code_restart"]],
    ["restarts behind the last step", { codes: 4, code_restart: 4, code_restart_until: 20 }, ["code_restart_until", "steps"]],
    ["frozen codes that restart", { codes: 4, code_restart: 4, freeze: ["codes"] }, ["freeze", "code_restart"]],
    ["pruned codes", { codes: 4, prune: "weights", prune_parts: ["codes"] }, ["prune_parts"]],
  ] as const)("refuses %s", (_, raw, field) => {
    expect(() => makeSpec(task, { steps: 20, ...raw })).toThrow(refused("usage", { field: [...field] }));
  }); // biome-ignore format: a table
});
