import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, listOf, oneOf, type Rule, type Rules, whole } from "../../common/options.ts";
import { counted } from "../../common/text.ts";
import { CACHE_KINDS, type CacheKind, WEIGHT_TYPES, type WeightType } from "../../common/words.ts";
import type { ModelConfig } from "../../models/config.ts";
import { inspectModel } from "../../models/load.ts";
import type { ModelReference } from "../../models/sources/reference.ts";
import type { ModelInspection } from "../../models/sources/source.ts";
import {
  checkPrompt,
  choosePolicies,
  type PolicyChoice,
  type PolicyRequest,
  type UsedPolicy,
} from "../policies/choice.ts";
import { checkSuits } from "../policies/suits.ts";
import { measureHere } from "./calibrate.ts";
import { type Device, deviceOf, HERE } from "./devices.ts";
import { type Footprint, footprint } from "./footprint.ts";
import { measurable, measureWork, type OwnWork } from "./own-work.ts";
import { type Cost, type CostedRequest, predict } from "./predict.ts";

/** New tokens of a request where nobody says how many. */
export const NEW_TOKENS = 128;

/** Requests whose costs are wanted. */
export interface CostOptions {
  /** Tokens of prompts; every length is predicted. */
  readonly tokens: readonly number[];
  /** New tokens behind a prompt, default 128. */
  readonly newTokens?: number | undefined;
  /** Policies that run together, any number of such combinations; full attention is always predicted beside them. */
  readonly policies?: readonly (readonly PolicyRequest[])[] | undefined;
  /** Names of devices, default this machine. */
  readonly devices?: readonly string[] | undefined;
  /** Default: as the device is used. */
  readonly weights?: WeightType | undefined;
  readonly cache?: CacheKind | undefined;
  readonly signal?: AbortSignal | undefined;
}

const TEXT: Rule = { wants: "a name", fits: (value) => typeof value === "string" };

const OPTIONS: Rules<CostOptions> = {
  tokens: listOf(whole(1)),
  newTokens: whole(1),
  policies: {
    wants: "a list of combinations, such as [[{ name, params }]]",
    fits: (lists) => Array.isArray(lists) && lists.every(Array.isArray),
  },
  devices: listOf(TEXT),
  weights: oneOf(WEIGHT_TYPES),
  cache: oneOf(CACHE_KINDS),
  signal: ANYTHING,
};

/** A request on a device. */
export interface CostRow extends Cost {
  readonly device: string;
  readonly tokens: number;
  readonly newTokens: number;
  readonly weights: WeightType;
  readonly cache: CacheKind;
  /** None of full attention. */
  readonly policies: readonly UsedPolicy[];
  /** Keys and values of the request, and the attention over them. */
  readonly held: Footprint;
  /** Seconds of choosing, on this machine; absent where they were not measured, and count nothing. */
  readonly work?: OwnWork;
}

/** Costs of requests, and the devices that they are predicted for. */
export interface Costs {
  readonly model: string;
  readonly parameters: number;
  readonly devices: readonly Device[];
  /** By device, length and combination of policies, in this order. */
  readonly rows: readonly CostRow[];
}

/**
 * Predicts memory and time of requests without running them; this machine's speeds are measured first.
 * @param ref as for `loadModel`; no weights are read
 * @throws HeadscopeError for an unknown device, model or policy, for more tokens than the model has positions, and for what a policy
 * cannot be or cannot keep
 */
export async function predictCosts(ref: string | ModelReference, options: CostOptions): Promise<Costs> {
  checkOptions("predictCosts", options, OPTIONS, ["tokens"]);
  const { tokens: lengths, newTokens = NEW_TOKENS, devices: names = [HERE], policies = [], signal } = options;
  const sheets = names.map(deviceOf);
  const choices: PolicyChoice[] = [{ used: [], requests: [] }];
  for (const requests of policies) choices.push(await choosePolicies(requests));
  const model = await inspectModel(ref);
  for (const tokens of lengths) checkLength(model, tokens, newTokens);
  for (const choice of choices) checkChoice(model, choice, lengths);
  const devices: Device[] = [];
  const rows: CostRow[] = [];
  for (const sheet of sheets) {
    const { weights, cache } = { ...(sheet ?? FORMS_HERE), ...given(options) };
    const device = sheet ?? (await measureHere({ ...model, ...{ weights, cache, signal } }));
    devices.push(device);
    const { memory, config } = model;
    const costed = {
      ...{ config, parameters: memory.parameters, weightBytes: memory.weights[weights], narrow: weights !== "f32" },
    };
    for (const tokens of lengths)
      for (const choice of choices) {
        const size = { tokens, newTokens, cache };
        const held = footprint(choice, config, size);
        const work = sheet ? undefined : await workOf(config, choice, { ...size, held, signal });
        const cost = predict(costed, device, { ...size, held, work });
        const request = { device: device.name, tokens, newTokens, weights, cache, policies: choice.used };
        rows.push({ ...request, held, ...(work && { work }), ...cost });
      }
  }
  return { model: model.ref, parameters: model.memory.parameters, devices, rows };
}

/** Forms of weights and of keys and values that this machine runs with where nobody says otherwise. */
const FORMS_HERE = { weights: "f32", cache: "f32" } as const;

function given({ weights, cache }: CostOptions): { weights?: WeightType; cache?: CacheKind } {
  return { ...(weights && { weights }), ...(cache && { cache }) };
}

/** The work of policies on this machine, where it can be measured. */
export async function workOf(
  config: ModelConfig,
  choice: PolicyChoice,
  { held, ...size }: CostedRequest & Pick<CostOptions, "signal">,
): Promise<OwnWork | undefined> {
  if (!measurable(choice)) return undefined;
  return measureWork(config, choice, size, held.readBytes / footprint({}, config, size).readBytes);
}

/** @throws HeadscopeError for more tokens than there are positions */
function checkLength({ ref, config }: ModelInspection, tokens: number, newTokens: number): void {
  if (tokens + newTokens <= config.n_ctx) return;
  throw new HeadscopeError(
    "usage",
    `${counted(tokens, "token")} and ${newTokens} new ones are beyond the ${config.n_ctx} positions of ${ref}`,
    { remedy: "give fewer tokens, or a model with more positions", field: ["tokens", "newTokens"] },
  );
}

/** @throws HeadscopeError for a file of another model, and a policy that keeps more in any case than it would of a prompt */
function checkChoice(model: ModelInspection, choice: PolicyChoice, lengths: readonly number[]): void {
  const { tokens } = choice;
  checkSuits(model, choice);
  if (tokens) for (const length of lengths) checkPrompt(tokens, length);
}
