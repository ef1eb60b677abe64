import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { createScores, writeMask, writeScores } from "../../../../backend/heads/files.ts";
import { writeGates } from "../../../../backend/heads/gate-files.ts";
import { type GenerateOptions, generate } from "../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../backend/inference/generation.ts";
import { policies } from "../../../../backend/inference/policies/index.ts";
import type { PruningPolicy } from "../../../../backend/inference/policies/kinds/inputs.ts";
import type { Policy } from "../../../../backend/inference/policies/kinds/policy.ts";
import { pageBytes } from "../../../../backend/kernels/pages.ts";
import { rowsAllocated } from "../../../../backend/models/cache/page-rows.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { trainGates } from "../../../../probes/gates/train.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const { ready } = await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-policies-"));
const mask = join(folder, "mask.json");
const scores = join(folder, "scores.json");
const heads = join(folder, "heads.safetensors");
const gates = join(folder, "gates.safetensors");
const NEW = 5;
const TOKENS = randomTokens(1, 43, 96, 5)[0]!;
let model: Model;

beforeAll(async () => {
  model = randomModel(smallConfig());
  await writeMask(mask, maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 }));
  const values = [[0.1, 0.5, 0, 0.2, 0.9, 0.3], [0, 0.1, 0, 0, 0, 0.4], [0.7, 0.1, 0.2, 0, 0, 0.1]]; // biome-ignore format: a table
  const metric = { axis: "heads" as const, values };
  const metrics = { retrieval: metric, induction: metric, "duplicate-token": metric };
  await writeScores(scores, createScores({ model: headModel(model), probe: "retrieval", params: {}, metrics }));
  await writeGates(heads, await trainGates(model, "locret", { num_steps: 1, hidden: 4 }));
  await writeGates(
    gates,
    await trainGates(model, "attention-gate", { num_steps: 1, width: 4, context_length_max: 256 }),
  );
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** Parameters that suit a prompt of 43 tokens, for whichever policy has them. */
const SMALL: Record<string, unknown> = {
  window: 6,
  kernel: 3,
  sinks: 2,
  future: 8,
  mask,
  scores,
  prefill: "dense",
  heads,
  stabilizers: 6,
};
/** Beside them, for policies that choose what is read. */
const SMALL_READS: Record<string, unknown> = {
  ...SMALL,
  dense: 0,
  page: 4,
  block: 4,
  recent: 4,
  clusters: 0.2,
  stride: 3,
};
const SMALL_HEADS: Record<string, unknown> = {
  ...SMALL,
  recent: 9,
  least: 9,
  compensation: false,
};
/** Beside them, for policies that choose tokens. */
const SMALL_TOKENS: Record<string, unknown> = { ...SMALL, gates };
/** Policies that can be told how much. */
const BUDGETED: readonly string[] = ["inputs", "tokens", "reads"];

/** Tokens of the parts of a prompt, for policies that cut it part by part. */
const PART = 12;

interface Setting {
  title: string;
  policies: NonNullable<GenerateOptions["policies"]>;
  chooses: Policy["chooses"];
  merges: boolean;
  prunes: boolean;
  /** The way in which it lets tokens go before the prompt's end. */
  within?: "parts" | "layers";
}

/** A policy at each moment that it knows, with parameters that let tokens go. */
function settings(policy: Policy): Setting[] {
  const { name, chooses } = policy;
  const flags = policies.flags(name);
  const base = flags.find((flag) => flag.name === "base")?.default as string | undefined;
  const names = (base ? policies.flags(base) : flags).map((flag) => flag.name);
  const suits = { reads: SMALL_READS, heads: SMALL_HEADS, tokens: SMALL_TOKENS }[chooses as string] ?? SMALL;
  const small = Object.fromEntries(Object.entries(suits).filter(([key]) => names.includes(key)));
  const moments = flags.some((flag) => flag.name === "when") ? ["prefill", "decode"] : [undefined];
  const budget = BUDGETED.includes(chooses) ? { ratio: 0.6 } : {};
  const rest = { chooses, merges: "merge" in policy, prunes: "stages" in policy };
  const own = moments.map((when) => ({
    title: when === undefined ? name : `${name} when=${when}`,
    policies: [{ name, params: { ...small, ...budget, when } }],
    ...rest,
  }));
  if (chooses !== "tokens") return own;
  const within = (title: string, params: object, how: "parts" | "layers"): Setting => ({
    ...{ title: `${name} ${title}`, policies: [{ name, params: { ...small, ...budget, ...params } }] },
    ...{ ...rest, within: how },
  });
  return [
    ...own,
    ...(policy.part ? [within("in parts", { part: PART }, "parts")] : []),
    ...(policy.inPrompt ? [within("in each layer", { prefill: "masked" }, "layers")] : []),
  ];
}
const all = policies
  .list()
  .filter(({ chooses }) => chooses !== "blocks" && (chooses !== "form" || ready))
  .flatMap(settings);

/** A generation and the logits of each of its steps. */
async function run(options: Partial<GenerateOptions>): Promise<Generation & { steps: Float32Array[] }> {
  const steps: Float32Array[] = [];
  const onStep: GenerateOptions["onStep"] = ({ logits }) => void steps.push(logits!.dataSync().slice() as Float32Array);
  return { ...(await generate(model, { tokens: TOKENS, stop: [], onStep, ...options })), steps };
}

/**
 * Logits from the prompt's end on in the plain forward, whose queries see the positions given.
 * @param visible [query][layer][KV head], of the queries behind the prompt, or of its last ones too
 */
function masked(ids: readonly number[], visible: readonly number[][][][]): Float32Array[] {
  const { n_heads, n_key_value_heads } = model.config;
  const prompt = TOKENS.length;
  const first = ids.length - visible.length;
  const hide = (layer: number) => (scores: Tensor) =>
    tf.tidy(() => {
      const hidden = tf.buffer([1, n_heads, ids.length, ids.length], "float32");
      for (let head = 0; head < n_heads; head++)
        visible.forEach((layers, i) => {
          const seen = new Set(layers[layer]![Math.floor((head * n_key_value_heads) / n_heads)]);
          for (let key = 0; key < first + i; key++) if (!seen.has(key)) hidden.set(-1e30, 0, head, first + i, key);
        });
      return tf.add(scores, hidden.toTensor());
    });
  const hooks = Array.from(
    { length: model.config.n_layers },
    (_, l) => [`blocks.${l}.attn.hook_attn_scores`, hide(l)] as const,
  );
  const logitsAt = Array.from({ length: ids.length - prompt + 1 }, (_, i) => prompt - 1 + i);
  const result = forward(model, { tokens: [[...ids]], logitsAt }, { hooks });
  const numbers = result.logits!.dataSync() as Float32Array;
  result.dispose();
  const width = numbers.length / logitsAt.length;
  return logitsAt.map((_, i) => numbers.slice(i * width, (i + 1) * width));
}

/** A policy that leaves out tokens layer by layer, as masks of the plain forward on the whole text. */
class MaskedLayers {
  readonly #stages: readonly number[];
  readonly #percentiles: readonly number[];
  /** By layer and token that it has run on, what that token saw there. */
  readonly #seen: Map<number, ReadonlySet<number>>[] = [];
  /** Tokens that a layer ran on after a step that left them out. */
  cameBack = 0;

  constructor(policy: PruningPolicy, params: Record<string, unknown>) {
    const { n_layers } = model.config;
    this.#stages = policy.stages(params, n_layers);
    this.#percentiles = policy.percentiles(params, this.#stages.length, TOKENS.length);
    for (let layer = 0; layer < n_layers; layer++) this.#seen.push(new Map());
  }

  /** By layer and KV head, tokens that the layer has run on. */
  get held(): number[][][] {
    const heads = Array.from({ length: model.config.n_key_value_heads });
    return this.#seen.map((seen) => heads.map(() => [...seen.keys()].sort((a, b) => a - b)));
  }

  /** Logits of the last token, whose attention chooses. */
  run(tokens: readonly number[]): Float32Array {
    let alive = tokens.map((_, position) => position);
    for (let layer = 0; layer < model.config.n_layers; layer++) {
      const seen = this.#seen[layer]!;
      const fresh = alive.filter((position) => !seen.has(position));
      if (tokens.length > TOKENS.length) this.cameBack += fresh.length - 1;
      for (const position of fresh) seen.set(position, new Set(alive.filter((key) => key <= position)));
      const stage = this.#stages.indexOf(layer + 1);
      if (stage >= 0) alive = this.#goOn(tokens, { layer, alive, percentile: this.#percentiles[stage]! });
    }
    return this.#forward(tokens).logits;
  }

  #goOn(
    tokens: readonly number[],
    { layer, alive, percentile }: { layer: number; alive: readonly number[]; percentile: number },
  ): number[] {
    const pattern = this.#forward(tokens, `blocks.${layer}.attn.hook_pattern`).activation![0]!;
    const mean = alive.map((key) => pattern.reduce((sum, head) => sum + head.at(-1)![key]!, 0) / pattern.length);
    const ordered = mean.toSorted((a, b) => a - b);
    const place = (percentile / 100) * (mean.length - 1);
    const [below, part] = [ordered[Math.floor(place)]!, place - Math.floor(place)];
    const least = below + part * ((ordered[Math.floor(place) + 1] ?? below) - below);
    return alive.filter((_, i) => mean[i]! >= least || i === alive.length - 1);
  }

  #forward(tokens: readonly number[], name?: string): { logits: Float32Array; activation?: number[][][][] } {
    const hide = (layer: number) => (scores: Tensor) =>
      tf.tidy(() => {
        const hidden = tf.buffer([1, 1, tokens.length, tokens.length], "float32");
        for (const [query, keys] of this.#seen[layer]!)
          for (let key = 0; key < query; key++) if (!keys.has(key)) hidden.set(-1e30, 0, 0, query, key);
        return tf.add(scores, hidden.toTensor());
      });
    const hooks = this.#seen.map((_, layer) => [`blocks.${layer}.attn.hook_attn_scores`, hide(layer)] as const);
    const result = forward(
      model,
      { tokens: [[...tokens]], logitsAt: "last" },
      { hooks, ...(name ? { names: [name] } : {}) },
    );
    const logits = result.logits!.dataSync().slice() as Float32Array;
    const activation = name ? (result.activations.get(name)!.arraySync() as number[][][][]) : undefined;
    result.dispose();
    return { logits, ...(activation ? { activation } : {}) };
  }
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

/** What each new token's query sees, by the pattern of the run itself [new token][layer][KV head][positions]. */
async function seenBy(policies: GenerateOptions["policies"]): Promise<number[][][][]> {
  const { n_layers, n_heads, n_key_value_heads: kvHeads } = model.config;
  const seen: number[][][][] = [];
  const onStep: GenerateOptions["onStep"] = ({ activations }, step) => {
    if (step === 0) return;
    const layers = Array.from({ length: n_layers }, (_, layer) => {
      const pattern = activations.get(`blocks.${layer}.attn.hook_pattern`)!.arraySync() as number[][][][];
      const ofHead = (g: number): number[] => pattern[0]![(g * n_heads) / kvHeads]![0]!;
      return Array.from({ length: kvHeads }, (_, g) => ofHead(g).flatMap((weight, key) => (weight > 0 ? [key] : [])));
    });
    seen.push(layers);
  };
  const forward = { names: (name: string) => name.endsWith("hook_pattern") };
  await generate(model, { tokens: TOKENS, stop: [], policies, maxTokens: NEW, onStep, forward });
  return seen;
}

/**
 * What each token of the prompt sees, under a policy that lets some go before its end [token][layer][KV head][positions].
 * @param kept at the prompt's end
 */
async function seenInPrompt(
  policies: Setting["policies"],
  within: "parts" | "layers",
  kept: number[][][],
): Promise<number[][][][]> {
  if (within === "layers") {
    const own = (rows: number[], token: number) => [...rows.filter((position) => position < token), token];
    return TOKENS.map((_, token) => kept.map((layer) => layer.map((rows) => own(rows, token))));
  }
  const [{ name, params }] = policies as [{ name: string; params: object }];
  const budget = kept[0]![0]!.length;
  const request = [{ name, params: { ...params, ratio: undefined, budget } }];
  const seen: number[][][][] = [];
  let before = kept.map((layer) => layer.map((): number[] => []));
  for (let token = 0; token < TOKENS.length; token++) {
    const begin = token - (token % PART);
    // A shorter prompt of whole parts is cut as the longer one is behind them.
    if (token === begin && begin > 0) {
      const { cache } = await run({ tokens: TOKENS.slice(0, begin), policies: request, maxTokens: 1 });
      const all = Array.from({ length: begin }, (_, position) => position);
      before = cache.kept ?? kept.map((layer) => layer.map(() => all));
    }
    const part = Array.from({ length: token - begin + 1 }, (_, i) => begin + i);
    seen.push(before.map((layer) => layer.map((rows) => [...rows, ...part])));
  }
  return seen;
}

describe("every policy", () => {
  it.each(all.filter(({ chooses }) => chooses === "reads"))(
    "$title reads what masked keys leave in the plain forward, and frees nothing",
    async ({ policies }) => {
      const [plain, under] = [await run({ maxTokens: NEW }), await run({ policies, maxTokens: NEW })];
      const visible = await seenBy(policies);
      masked([...TOKENS, ...under.ids.slice(0, -1)], visible).forEach((logits, i) => {
        expect(furthest(logits, under.steps[i]!)).toBeLessThan(5e-4);
      });
      expect(under.steps[0]).toEqual(plain.steps[0]);
      const shares = visible.map((layers, i) => {
        const heads = layers.flat();
        for (const read of heads) expect(read).toContain(TOKENS.length + i);
        return heads.reduce((sum, read) => sum + read.length / (TOKENS.length + i + 1), 0) / heads.length;
      });
      expect(under.cache.read).toBeCloseTo(shares.reduce((a, b) => a + b) / shares.length, 6);
      expect(under.cache.read).toBeLessThan(0.9);
      const { read: _, ...held } = under.cache;
      expect(held).toEqual(plain.cache);
    },
  );

  it.each(all.filter(({ prunes }) => prunes))(
    "$title runs from memory, for the prompt and each new token, what masked scores give in the plain forward",
    async ({ policies: own }) => {
      const [{ name, params: given }] = own as [{ name: string; params: Record<string, unknown> }];
      const policy = policies.get(name) as PruningPolicy;
      const params = policies.parse(name, given);
      const { ids, steps, cache } = await run({ policies: own, maxTokens: NEW });
      const plain = new MaskedLayers(policy, params);
      for (let step = 0; step < NEW; step++) {
        const tokens = [...TOKENS, ...ids.slice(0, step)];
        expect(furthest(plain.run(tokens), steps[step]!)).toBeLessThan(5e-4);
      }
      expect(cache.kept).toEqual(plain.held);
      expect(plain.cameBack).toBeGreaterThan(0);
      expect(cache.kept!.flat().some((positions) => positions.length < TOKENS.length + NEW - 1)).toBe(true);
    },
  );

  it.each(all.filter(({ chooses, prunes }) => chooses === "inputs" && !prunes))(
    "$title goes on as the plain forward does behind the tokens that it leaves",
    async ({ policies }) => {
      const { ids, steps, cache } = await run({ policies, maxTokens: NEW });
      const [left] = cache.kept!.flat().map((positions) => positions.filter((p) => p < TOKENS.length)) as [number[]];
      expect(left.length).toBe(Math.trunc(TOKENS.length * 0.4));
      for (const positions of cache.kept!.flat())
        expect(positions).toEqual([...left, ...Array.from({ length: NEW - 1 }, (_, i) => TOKENS.length + i)]);
      const tokens = [...left.map((place) => TOKENS[place]!), ...ids.slice(0, -1)];
      const plain = forward(model, { tokens: [tokens] });
      const logits = plain.logits!.dataSync() as Float32Array;
      plain.dispose();
      const width = logits.length / tokens.length;
      steps.forEach((step, i) => {
        const first = (left.length - 1 + i) * width;
        expect(furthest(logits.slice(first, first + width), step)).toBeLessThan(5e-4);
      });
    },
  );

  // What merges rows leaves others than a mask does: tokens/look-m.test.ts.
  it.each(all.filter(({ chooses, merges }) => (chooses === "tokens" || chooses === "heads") && !merges))(
    "$title reads from memory what masked keys leave in the plain forward",
    async ({ policies, chooses, within }) => {
      const held: number[][][][] = [];
      for (let maxTokens = 1; maxTokens <= NEW; maxTokens++)
        held.push((await run({ policies, maxTokens })).cache.kept!);
      const { ids, steps } = await run({ policies, maxTokens: NEW });
      // A window slides as the token comes; a policy on tokens chooses after it.
      const visible = chooses === "heads" ? held.slice(1) : held.slice(0, -1);
      const inPrompt = within ? await seenInPrompt(policies, within, held[0]!) : [];
      const simulated = masked([...TOKENS, ...ids.slice(0, -1)], [...inPrompt, ...visible]);
      simulated.forEach((logits, i) => {
        expect(furthest(logits, steps[i]!)).toBeLessThan(5e-4);
      });
      // What the prompt sees shows in what it says.
      if (within) expect(furthest(masked(TOKENS, [])[0]!, steps[0]!)).toBeGreaterThan(5e-4);
      expect(held[0]!.flat().some((positions) => positions.length < TOKENS.length)).toBe(true);
    },
  );

  it.each(all.filter(({ chooses }) => BUDGETED.includes(chooses)))(
    "$title with everything kept is full attention, to the bit",
    async ({ policies, chooses }) => {
      const plain = await run({ maxTokens: NEW });
      const read = chooses === "reads" ? { read: 1 } : {};
      for (const budget of [{ ratio: 0 }, { ratio: undefined, budget: 200 }]) {
        const [{ name, params }] = policies as [{ name: string; params: object }];
        const under = await run({ policies: [{ name, params: { ...params, ...budget } }], maxTokens: NEW });
        expect(under.steps).toEqual(plain.steps);
        expect(under.cache).toEqual({ ...plain.cache, ...read });
      }
    },
  );

  it.each(all)("$title frees what it lets go, and leaves no tensor", async ({ policies, chooses, prunes }) => {
    const before = tf.memory().numTensors;
    const pages = pageBytes();
    const { cache } = await generate(model, { tokens: TOKENS, policies, maxTokens: NEW, stop: [] });
    expect(tf.memory().numTensors).toBe(before);
    expect(pageBytes()).toBe(pages);
    // Tokens that wait may come back, and their states are wider than keys and values: inputs/lazyllm.test.ts.
    if (!cache.kept || prunes) return;
    const perRow = cache.bytesFull / rowsAllocated(TOKENS.length + NEW - 1) / cache.kept!.flat().length;
    const rows = cache.kept!.flat().reduce((sum, positions) => sum + rowsAllocated(positions.length), 0);
    if (chooses === "tokens") expect(cache.bytes).toBe(rows * perRow);
    expect(cache.bytes).toBeLessThan(cache.bytesFull);
  });
});

describe("a long prompt", () => {
  it.each(["observed-attention", "expected-attention", "h2o", "snapkv"])(
    "is chosen from by %s in parts as in one",
    async (name) => {
      const tokens = randomTokens(1, 1100, 96, 3)[0]!;
      const policies = [{ name, params: { ratio: 0.7 } }];
      const inParts = (await generate(model, { tokens, policies, maxTokens: 1 })).cache.kept!.flat();
      const whole = (await generate(model, { tokens, policies, maxTokens: 1, onStep: () => {} })).cache.kept!.flat();
      inParts.forEach((positions, i) => {
        const other = new Set(whole[i]);
        // Sums in another order may turn what is nearly a tie.
        expect(positions.filter((p) => other.has(p)).length).toBeGreaterThan(positions.length - 4);
      });
    },
  );
});

describe("policies together", () => {
  const heads = { name: "duo-attention", params: { mask } };

  it.each(["masked", "dense"])("tokens go from the heads that keep everything alone (%s prompt)", async (prefill) => {
    const tokens = { name: "tova", params: { ratio: 0.5 } };
    const own = [tokens, { ...heads, params: { mask, prefill } }];
    const { cache } = await generate(model, { tokens: TOKENS, policies: own, maxTokens: 1 });
    cache.kept!.forEach((layer, l) => {
      layer.forEach((positions, g) => {
        expect(positions.length).toBe(l === 1 && g === 0 ? Math.trunc(TOKENS.length / 2) : 11);
      });
    });
  });

  it.runIf(ready)("compose with every form of keys and values", async () => {
    for (const cache of ["f16", "q8", "q4"] as const) {
      const policies = [{ name: "snapkv", params: { ratio: 0.5, window: 6 } }];
      const under = await generate(model, { tokens: TOKENS, policies, cache, maxTokens: 3 });
      expect(under.cache.kind).toBe(cache);
      expect(under.cache.kept!.flat().every((positions) => positions.length === 21 + 2)).toBe(true);
    }
  });

  it("of several prompts choose for each what they choose for it alone", async () => {
    const { generateBatch } = await import("../../../../backend/inference/generate.ts");
    const prompts = [TOKENS, TOKENS.slice(0, 30), [...TOKENS.slice(0, 30), 3, 4]];
    for (const name of ["snapkv", "h2o"]) {
      const policies = [{ name, params: { ratio: 0.5, ...(name === "h2o" ? { when: "decode" } : { window: 6 }) } }];
      const together = await generateBatch(model, {
        prompts: prompts.map((tokens) => ({ tokens })),
        policies,
        maxTokens: NEW,
      });
      for (const [i, tokens] of prompts.entries()) {
        const alone = await generate(model, { tokens, policies, maxTokens: NEW });
        expect(together[i]!.ids).toEqual(alone.ids);
        expect(together[i]!.cache.kept).toEqual(alone.cache.kept);
      }
    }
  });
});
