import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, describe, expect, it } from "vitest";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import { createScores, writeScores } from "../../../../../backend/heads/files.ts";
import { generate, generateBatch } from "../../../../../backend/inference/generate.ts";
import { choosePolicies } from "../../../../../backend/inference/policies/choice.ts";
import { SlidingHeads } from "../../../../../backend/inference/policies/heads/sliding-heads.ts";
import { pageBytes } from "../../../../../backend/kernels/pages.ts";
import { attendCached } from "../../../../../backend/models/cache/attend-cached.ts";
import { KvCache } from "../../../../../backend/models/cache/kv-cache.ts";
import { ChunkPages, Places } from "../../../../../backend/models/cache/places.ts";
import { UNHOOKED } from "../../../../../backend/models/transformer/hook.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { probe } from "../../../../../probes/index.ts";
import { errorOf, refused } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-razor-"));
afterAll(() => rmSync(folder, { recursive: true }));

it.each(["nothing", "everything"] as const)(
  "the row that stands for what goes is that of a NumPy program of its definition (who looks sees %s)",
  (closeness) => {
    const { seed, sections } = policyDefinitions();
    const { inputs, parameters, z } = sections["razor-attention"]!;
    const { tokens, steps, sinks, recent } = parameters as Record<string, number> as {
      tokens: number;
      steps: number;
      sinks: number;
      recent: number;
    };
    const [q, k, v] = ["q", "k", "v"].map((name) =>
      tf.tensor([...drawnInput(inputs[name]!, seed)], inputs[name]!.shape),
    ) as [Tensor, Tensor, Tensor];
    const [heads, , width] = q.shape as [number, number, number];
    const kvHeads = k.shape[0]!;
    const shape = { n_layers: 1, n_heads: heads, n_key_value_heads: kvHeads, d_head: width, rotary_dim: width };
    const config = smallConfig({ ...shape, attn_scale: width ** -0.5 });
    const cache = new KvCache(config);
    const pages = new ChunkPages(cache, tokens);
    const run = (first: number, count: number): Tensor => {
      cache.prepare(count);
      const places = new Places(
        cache,
        { tokens: count, starts: [first], ends: [first + count] },
        [{ layer: 0 }],
        pages,
      );
      const part = (t: Tensor): Tensor =>
        tf.transpose(tf.slice(t, [0, first, 0], [t.shape[0]!, count, width]), [1, 0, 2]);
      const projections = { q: part(q), k: part(k), v: part(v) };
      const [out] = attendCached(
        projections,
        { cache, places, index: 0, config, reductions: [] },
        { closeness, hook: UNHOOKED },
      );
      cache.advance(count);
      places.dispose();
      return tf.reshape(out!, [count, heads, width]);
    };
    const windows = [new Array(kvHeads).fill({ sink: sinks, recent: 1 })];
    const sliding = new SlidingHeads(
      windows,
      { least: recent, part: 0.01, compensation: true },
      { tokens, context: 100 },
    );
    run(0, tokens);
    sliding.slide(cache, 0, tokens);
    (z as number[][][]).slice(0, steps).forEach((expected, step) => {
      sliding.slide(cache, 0, tokens + step + 1);
      expect(maxDifference(run(tokens + step, 1), tf.tensor([expected]))).toBeLessThan(1e-5);
    });
    sliding.dispose();
    pages.dispose();
    cache.dispose();
  },
);

describe("razor-attention", () => {
  const model = randomModel(smallConfig());
  afterAll(() => model.dispose());
  const TOKENS = randomTokens(1, 60, 96, 5)[0]!;

  async function scores(name: string, best: [layer: number, head: number]): Promise<string> {
    const values = [0, 1, 2].map((l) => [0, 1, 2, 3, 4, 5].map((h) => (l === best[0] && h === best[1] ? 1 : 0)));
    const path = join(folder, `${name}.json`);
    const metrics = { [name]: { axis: "heads" as const, values } };
    await writeScores(path, createScores({ model: headModel(model), probe: name, params: {}, metrics }));
    return path;
  }

  it("keeps induction and echo heads whole, the others a window of the prompt's length, batches each their own", async () => {
    const params = {
      ...{ induction: await scores("induction", [1, 4]), echo: await scores("duplicate-token", [2, 0]) },
      ...{ sinks: 2, least: 5, part: 0.25 },
    };
    const policies = [{ name: "razor-attention", params }];
    await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
    const before = [tf.memory().numTensors, pageBytes()];
    const whole = new Set(["1 1", "2 0"]);
    const { cache, ids } = await generate(model, { tokens: TOKENS, policies, maxTokens: 4, stop: [] });
    cache.kept!.forEach((heads, layer) => {
      heads.forEach((positions, head) => {
        const window = [0, 1, ...Array.from({ length: 15 }, (_, i) => 48 + i)];
        expect(positions).toEqual(whole.has(`${layer} ${head}`) ? [...Array(63).keys()] : window);
      });
    });
    const prompts = [{ tokens: TOKENS.slice(0, 30) }, { tokens: TOKENS }];
    const [short, long] = await generateBatch(model, { prompts, policies, maxTokens: 4, stop: [] });
    expect(short!.cache.kept![0]![0]!.length).toBe(2 + 8);
    expect(long!.ids).toEqual(ids);
    const alone = await generate(model, { ...prompts[0]!, policies, maxTokens: 4, stop: [] });
    expect(short!.ids).toEqual(alone.ids);
    // A row that stands for what goes makes another continuation than none, and all kept is full attention.
    const steps = async (own: object) => {
      const rows: Float32Array[] = [];
      await generate(model, {
        ...{
          tokens: TOKENS,
          maxTokens: 2,
          stop: [],
          policies: [{ name: "razor-attention", params: { ...params, ...own } }],
        },
        onStep: ({ logits }) => void rows.push(logits!.dataSync().slice() as Float32Array),
      });
      return rows[1]!;
    };
    expect(await steps({})).not.toEqual(await steps({ compensation: false }));
    const full: Float32Array[] = [];
    const onStep = ({ logits }: { logits?: Tensor }) => void full.push(logits!.dataSync().slice() as Float32Array);
    await generate(model, { tokens: TOKENS, maxTokens: 2, stop: [], onStep });
    expect(await steps({ least: 100 })).toEqual(full[1]);
    expect([tf.memory().numTensors, pageBytes()]).toEqual(before);
  });

  it("is refused before a model is loaded where it has no scores", async () => {
    const run = (params: Record<string, unknown>) => errorOf(choosePolicies([{ name: "razor-attention", params }]));
    expect(await run({})).toEqual(refused("usage", { field: "scores" }));
    expect((await run({})).remedy).toContain("headscope probe induction --param echo=true --model MODEL");
    const induction = await scores("induction", [0, 0]);
    expect(await run({ induction })).toEqual(refused("usage", { field: "echo" }));
    expect(await run({ echo: induction })).toEqual(refused("usage", { field: "induction" }));
    expect(await run({ scores: induction })).toEqual(refused("usage", { field: "scores" }));
    expect(await run({ scores: induction, echo: induction })).toEqual(refused("usage", { field: ["scores", "echo"] }));
  });

  it("chooses by one file of probe induction with echo as by one of each probe", async () => {
    const write = async (name: string, params: object): Promise<string> => {
      const path = join(folder, `probed-${name}.json`);
      await writeScores(path, await probe(model, name, { length: 12, ...params }));
      return path;
    };
    const kept = async (params: Record<string, unknown>) => {
      const { heads } = await choosePolicies([{ name: "razor-attention", params: { inductionShare: 0.34, echoShare: 0.2, ...params } }]); // biome-ignore format: one call
      return heads!.mask.kvHeads;
    };
    const two = { induction: await write("induction", {}), echo: await write("duplicate-token", {}) };
    const apart = await kept(two);
    expect(await kept({ scores: await write("induction", { echo: true }) })).toEqual(apart);
    expect(apart!.flat()).toContain("streaming");
  });
});
