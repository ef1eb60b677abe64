import type { WeightType } from "../../../backend/common/words.ts";
import { measureHere } from "../../../backend/inference/cost/calibrate.ts";
import { workOf } from "../../../backend/inference/cost/costs.ts";
import { footprint } from "../../../backend/inference/cost/footprint.ts";
import { predict } from "../../../backend/inference/cost/predict.ts";
import { generate } from "../../../backend/inference/generate.ts";
import type { Generation } from "../../../backend/inference/generation.ts";
import { choosePolicies, type PolicyChoice, type PolicyRequest } from "../../../backend/inference/policies/choice.ts";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { inspectModel } from "../../../backend/models/load.ts";
import type { Bench } from "../measure.ts";
import { ids } from "../runs.ts";
import { MODEL, type Setting } from "../setting.ts";
import { maskOf } from "./decode.ts";

/** New tokens of a run. */
const NEW = 33;
/** Share by which a prediction may be off. */
const WITHIN = 0.2;

/** Prompts that are run, and what under. */
interface Case {
  readonly tokens: number;
  readonly weights: WeightType;
  readonly under?: "quarter" | PolicyRequest;
}

const CASES: readonly Case[] = [
  { tokens: 512, weights: "f32" },
  { tokens: 2048, weights: "f32" },
  { tokens: 7900, weights: "f32" },
  { tokens: 512, weights: "q8" },
  { tokens: 2048, weights: "q8" },
  { tokens: 7900, weights: "q8" },
  { tokens: 7900, weights: "q8", under: "quarter" },
  { tokens: 2048, weights: "q8", under: { name: "snapkv", params: { ratio: 0.75 } } },
  { tokens: 7900, weights: "q8", under: { name: "snapkv", params: { ratio: 0.75 } } },
  { tokens: 7900, weights: "q8", under: { name: "streaming-llm", params: { budget: 1024, when: "decode" } } },
];

/** Prompts and tokens as they are measured, beside what the cost model says of this machine: docs/cost.md. */
export function costRows(setting: Setting): Bench[] {
  return CASES.flatMap((each) => rowsOf(setting, each));
}

function rowsOf(setting: Setting, each: Case): Bench[] {
  const { tokens, weights, under } = each;
  const runs: Generation[] = [];
  const policy = typeof under === "object" ? under.name : under && "a quarter of the heads full";
  const words = policy === undefined ? "" : `, ${policy}`;
  const of = `${tokens}${words}, ${weights} weights`;
  const common = { rival: "predicted", within: WITHIN, onRequest: true };
  // Anew for each case: a machine's speed an hour ago says little about a run of now.
  let prediction: ReturnType<typeof predictionOf> | undefined;
  const predicted = () => (prediction ??= predictionOf(each));
  return [
    {
      ...common,
      name: `predicted: prompt of ${of}`,
      unit: "ms",
      most: 3,
      ours: async () => {
        runs.push(await run(setting, each));
        return runs.at(-1)!.prefillMs;
      },
      theirs: async () => 1000 * (await predicted()).prefill.seconds,
    },
    {
      ...common,
      name: `predicted: token behind ${of}`,
      unit: "ms/token",
      once: true,
      ours: async () => {
        if (runs.length === 0) runs.push(await run(setting, each), await run(setting, each));
        const times = runs.slice(1).map(({ decodeMsPerToken }) => decodeMsPerToken); // the first compiles
        return times.sort((a, b) => a - b)[times.length >> 1]!;
      },
      theirs: async () => 1000 * (await predicted()).decode.seconds,
    },
  ];
}

async function run(setting: Setting, each: Case): Promise<Generation> {
  const model = await setting.model(each.weights);
  const [tokens] = ids(1, each.tokens);
  return generate(model, { tokens: tokens!, maxTokens: NEW, stop: [], ...howOf(each, model.config) });
}

async function predictionOf(each: Case) {
  const { tokens, weights } = each;
  const { config, memory } = await inspectModel(MODEL);
  const device = await measureHere({ config, memory, weights, cache: "f32" });
  const size = { tokens, newTokens: NEW, cache: "f32" } as const;
  const choice = await choiceOf(each, config);
  const held = footprint(choice, config, size);
  const work = await workOf(config, choice, { ...size, held });
  const costed = { config, parameters: memory.parameters, weightBytes: memory.weights[weights] };
  return predict({ ...costed, narrow: weights !== "f32" }, device, { ...size, held, work });
}

async function choiceOf({ under }: Case, config: ModelConfig): Promise<PolicyChoice> {
  if (under === undefined) return choosePolicies([]);
  if (under !== "quarter") return choosePolicies([under]);
  return { heads: { mask: maskOf(config, 4), prefill: "masked", once: false }, requests: [], used: [] };
}

/** What a run is under, as `generate` takes it. */
function howOf({ under }: Case, config: ModelConfig) {
  if (under === undefined) return {};
  return under === "quarter" ? { mask: maskOf(config, 4) } : { policies: [under] };
}
