import { HeadscopeError } from "../../common/errors.ts";
import { median } from "../../common/numerics/averages.ts";
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
/** Tokens behind a prompt, and times that all runs are done in turn; the median counts, and the first time, which compiles, not at all. */
const [BEHIND, TIMES] = [33, 3] as const;

/**
 * Says whether the work of policies can be measured on a model that only has another's heads: of those for tokens, reads and forms that
 * need no file, since a file is of all layers. What policies for heads, blocks and inputs spare is counted in operations.
 */
export function measurable({ heads, blocks, inputs, tokens, reads, form }: PolicyChoice): boolean {
  const chosen = [tokens, reads, form].filter((each) => each !== undefined);
  return !heads && !blocks && !inputs && chosen.length > 0 && chosen.every(({ prepared }) => prepared === undefined);
}

/** Says whether policies act at every token behind a prompt too, and not at its end alone. */
function actsAtTokens({ tokens, reads, form }: PolicyChoice): boolean {
  return reads !== undefined || form !== undefined || tokens?.params.when === "decode";
}

/**
 * Measures policies at work on layers with a model's heads and next to no weights: a prompt of a request's own length against full
 * attention's, and a token behind it against one of full attention that reads as much; a token is none where they act at the prompt's end alone.
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
    const read = Math.max(1, Math.round(share * length));
    const acts = actsAtTokens(choice);
    const alike = acts && read < length ? [{ ...run, tokens: tokens.slice(0, read) }] : [];
    const rounds = await inTurn(model, [run, { ...run, policies }, ...alike]);
    const ofAll = (beside: (round: readonly Generation[]) => number): number =>
      Math.max(0, (config.n_layers / n_layers) * (median(rounds.map(beside)) / 1000));
    return {
      prompt: ofAll(([full, under]) => under!.prefillMs - full!.prefillMs),
      token: acts ? ofAll(([full, under, asMuch = full]) => under!.decodeMsPerToken - asMuch!.decodeMsPerToken) : 0,
    };
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

/** Generations in turn, some times behind one that does not count: what slows a machine down for seconds then slows all of a round. */
async function inTurn(model: Model, runs: readonly Parameters<typeof generate>[1][]): Promise<Generation[][]> {
  const rounds: Generation[][] = [];
  for (let time = 0; time <= TIMES; time++) {
    const round: Generation[] = [];
    for (const run of runs) round.push(await generate(model, run));
    if (time > 0) rounds.push(round);
  }
  return rounds;
}
