import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { generate } from "../generate.ts";
import type { Generation } from "../generation.ts";
import type { PolicyChoice } from "../policies/choice.ts";
import { checkSuits } from "../policies/suits.ts";
import type { RequestSize } from "./footprint.ts";
import { NARROW, standIn } from "./stand-in.ts";

/** Seconds that policies take to choose, beside what is then held and read. */
export interface OwnWork {
  readonly prompt: number;
  /** For each token behind it. */
  readonly token: number;
}

/** Layers that policies are timed on, and of prompts beyond so many tokens, which take long. */
const [LAYERS, FEW_LAYERS, LONG] = [10, 4, 2048] as const;
/** Tokens behind a prompt, and times that it is run; the median counts, and the first run, which compiles, not at all. */
const [BEHIND, TIMES] = [33, 3] as const;

/**
 * Says whether the work of policies can be measured on a model that only has another's heads: of those for tokens, reads and forms that
 * need no file, since a file is of all layers. What policies for heads, blocks and inputs spare is counted in operations.
 */
export function measurable({ heads, blocks, inputs, tokens, reads, form }: PolicyChoice): boolean {
  const chosen = [tokens, reads, form].filter((each) => each !== undefined);
  return !heads && !blocks && !inputs && chosen.length > 0 && chosen.every(({ prepared }) => prepared === undefined);
}

/**
 * Measures policies at work on layers with a model's heads and next to no weights: a prompt of a request's own length against full
 * attention's, and a token behind it against one of full attention that reads as much.
 * @param share of full attention's keys and values that a token reads under them
 */
export async function measureWork(
  config: ModelConfig,
  choice: PolicyChoice,
  { tokens: length, cache, signal }: RequestSize & { readonly signal?: AbortSignal | undefined },
  share: number,
): Promise<OwnWork> {
  const tokens = Array.from({ length }, (_, i) => (i * 31) % NARROW);
  const run = { tokens, cache, maxTokens: BEHIND, stop: [], signal };
  const policies = choice.requests.map(({ policy, params }) => ({ name: policy, params }));
  const some = Math.min(config.n_layers, length > LONG ? FEW_LAYERS : LAYERS);
  let model = hollow(config, some, length);
  try {
    if (!suits(model, choice)) {
      model.dispose();
      model = hollow(config, config.n_layers, length);
    }
    const { n_layers } = model.config;
    const [full, under] = [await typical(model, run), await typical(model, { ...run, policies })];
    const read = Math.max(1, Math.round(share * length));
    const alike = read < length ? await typical(model, { ...run, tokens: tokens.slice(0, read) }) : full;
    const ofAll = (seconds: number): number => Math.max(0, (config.n_layers / n_layers) * seconds);
    return { prompt: ofAll(under.prompt - full.prompt), token: ofAll(under.token - alike.token) };
  } finally {
    model.dispose();
  }
}

function hollow(config: ModelConfig, n_layers: number, length: number): Model {
  const size = { n_layers, n_ctx: length + BEHIND, vocabulary: NARROW };
  return standIn({ ...config, d_model: NARROW, d_mlp: NARROW }, size, () => "f32");
}

/** Says whether policies that suit a model suit some of its layers: a parameter may name a later one. */
function suits(model: Model, choice: PolicyChoice): boolean {
  try {
    checkSuits(model, choice);
    return true;
  } catch (error) {
    if (error instanceof HeadscopeError) return false;
    throw error;
  }
}

/** Medians of some runs behind one that does not count. */
async function typical(model: Model, options: Parameters<typeof generate>[1]): Promise<OwnWork> {
  await generate(model, options);
  const runs: Generation[] = [];
  for (let time = 0; time < TIMES; time++) runs.push(await generate(model, options));
  const median = (of: (run: Generation) => number): number => runs.map(of).sort((a, b) => a - b)[TIMES >> 1]! / 1000;
  return { prompt: median((run) => run.prefillMs), token: median((run) => run.decodeMsPerToken) };
}
