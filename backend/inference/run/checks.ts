import { HeadscopeError } from "../../common/errors.ts";
import type { MaskMeaning } from "../../common/heads/meaning.ts";
import { counted } from "../../common/text.ts";
import { formatOf } from "../../kernels/formats.ts";
import { loadKernels } from "../../kernels/kernels.ts";
import type { KvCache } from "../../models/cache/kv-cache.ts";
import type { Model } from "../../models/model.ts";
import { Matrix } from "../../models/weights/matrix.ts";
import { partTensors } from "../../models/weights/weights.ts";
import { pruningOf, type TokenChoice } from "../policies/choice.ts";
import { type FilterPolicy, type PruningPolicy, prunes } from "../policies/kinds/inputs.ts";
import { kept } from "../policies/kinds/parameters.ts";
import { checkRotates } from "../policies/work/tokens/rerotation.ts";
import type { Prefix } from "../prefix.ts";
import type { CheckedRun, Sequence } from "./options.ts";

/** By layer and KV head, windows of heads that stream; undefined where all are full. */
type Windows = MaskMeaning["windows"] | undefined;

/** Positions that a sequence takes. @throws HeadscopeError (input) where the model has not as many */
export function checkContext(
  { config }: Pick<Model, "config">,
  { prompt, maxTokens }: Sequence,
  { prefix, choice }: CheckedRun,
): number {
  const { seen: [seen = 0] = [], lengths: [length = 0] = [] } = prefix?.cache ?? {};
  const read = prompt.length - (seen - length);
  const { rerotate, when } = choice?.tokens?.params ?? {};
  const held = rerotate ? Math.min(read, kept(choice!.tokens!.params, prompt.length)) : read;
  const positions = Math.max(read, held + (rerotate && when === "decode" ? 1 : maxTokens));
  if (positions <= config.n_ctx) return positions;
  throw new HeadscopeError(
    "input",
    `${prompt.length} prompt tokens and ${maxTokens} new ones exceed the context of ${config.n_ctx}`,
    { remedy: "shorten the prompt or ask for fewer tokens" },
  );
}

/** Insists that nothing needs a cache, where there is none. @param masked where heads stream @throws HeadscopeError (usage) */
export function refuseCached({ prefill, prefix, cache, choice }: CheckedRun, masked: boolean): void {
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", `${what} where nothing is cached`, { remedy });
  if (masked && prefill === "dense")
    throw refuse("a prompt can't be read without the mask", 'leave prefill "dense" out, or useCache: false');
  if (choice?.tokens)
    throw refuse(`${choice.tokens.policy.name} has nothing to free`, "leave the policy out, or useCache: false");
  if (choice?.inputs)
    throw refuse(`${choice.inputs.policy.name} reads a prompt twice`, "leave the policy out, or useCache: false");
  if (choice?.blocks)
    throw refuse(`${choice.blocks.policy.name} has no prompt to read`, "leave the policy out, or useCache: false");
  if (choice?.reads)
    throw refuse(`${choice.reads.policy.name} has nothing to choose`, "leave the policy out, or useCache: false");
  if (choice?.form)
    throw refuse(`${choice.form.policy.name} has nothing to hold`, "leave the policy out, or useCache: false");
  if (prefix) throw refuse("a prefix is of no use", "leave `prefix` out, or useCache: false");
  if (cache) throw refuse("a form of the cache is of no use", "leave `cache` out, or useCache: false");
}

/** Insists that a policy can choose among the tokens that go through a model or its layers. @throws HeadscopeError (usage) */
export function checkInputs(model: Model, run: CheckedRun): void {
  const { policy } = run.choice!.inputs!;
  if (prunes(policy)) checkPruned(model, run, policy);
  else checkFiltered(model, run, policy);
}

/** Insists that layers can run on tokens of their own. @throws HeadscopeError (usage) */
function checkPruned(model: Model, run: CheckedRun, policy: PruningPolicy): void {
  policy.stages(run.choice!.inputs!.params, model.config.n_layers);
  const { prefix, mask, speculative, keep, interventions = [], forward = {} } = run;
  const refuse = (why: string, field: string) =>
    new HeadscopeError("usage", `${policy.name} runs each layer on tokens of its own, ${why}`, {
      remedy: "leave one of the two out",
      field: ["policies", field],
    });
  if (prefix || keep) throw refuse("and a prefix has not the states of those that wait", prefix ? "prefix" : "keep");
  if (mask) throw refuse("which heads of a mask don't know", "mask");
  if (speculative) throw refuse("by the attention of one new token, and not of several drafts", "speculative");
  if (interventions.length > 0 || forward.interventions?.size || model.changes?.size)
    throw refuse("which interventions don't know", "interventions");
  const { names = [], hooks = [], reductions = [] } = forward;
  if (typeof names === "function" || names.length + hooks.length + reductions.length > 0)
    throw refuse("and there is no one forward to look at", "forward");
}

/** Insists that a policy can choose among a prompt's tokens. @throws HeadscopeError (usage) where these can't stand at other positions, or layers are too few */
function checkFiltered(
  { config, changes }: Model,
  { choice, prefix, interventions = [], forward }: CheckedRun,
  policy: FilterPolicy,
): void {
  const { params } = choice!.inputs!;
  policy.layers(params, config.n_layers);
  const refuse = (what: string, remedy: string, field: string) =>
    new HeadscopeError("usage", `${policy.name} reads some of a prompt's tokens, at positions of their own, ${what}`, {
      remedy,
      field: ["policies", field],
    });
  if (prefix) throw refuse("and those of a prefix have been read", "give whole prompts", "prefix");
  if (interventions.length > 0 || forward?.interventions?.size || changes)
    throw refuse("which interventions don't know", "leave one of the two out", "interventions");
}

/**
 * Insists that nobody looks into the forward of a prompt that is read in parts, behind each of which something goes.
 * @throws HeadscopeError (usage)
 */
export function checkParts({ policy, params }: TokenChoice, tokens: number, { forward = {} }: CheckedRun): void {
  const { names = [], hooks = [], reductions = [] } = forward;
  if (typeof names !== "function" && names.length + hooks.length + reductions.length === 0) return;
  throw new HeadscopeError(
    "usage",
    `${policy.name} reads a prompt in parts of ${counted(policy.part!(params), "token")}, and activations of all ${tokens} are looked at`,
    { remedy: `let a part have ${counted(tokens, "token")}, or look at none`, field: ["policies", "forward"] },
  );
}

/** Insists that what was run can be kept. @throws HeadscopeError (usage) where it is no one cache with the logits that follow */
export function checkKeep({ useCache = true, speculative, choice }: CheckedRun): void {
  const refuse = (what: string) =>
    new HeadscopeError("usage", `there is nothing to keep ${what}`, { remedy: "leave keep out", field: "keep" });
  if (!useCache) throw refuse("where nothing is cached");
  if (choice?.form?.policy.condense) throw refuse("that another run could read: the form is this run's own");
  if (speculative) throw refuse("of speculative decoding, whose last tokens are drafts");
}

/** Insists that a text can be read to be gone on from. @throws HeadscopeError (usage) for a policy whose waiting tokens would be lost */
export function checkLeaves({ choice }: CheckedRun): void {
  const pruning = pruningOf(choice);
  if (!pruning) return;
  throw new HeadscopeError(
    "usage",
    `${pruning.policy.name} lets tokens wait before layers, and a prefix has not their states`,
    {
      remedy: "read the prefix without it",
      field: ["policies", "prefix"],
    },
  );
}

/** Insists on products that take 8-bit vectors. @throws HeadscopeError (unsupported) */
export function checkCoded({ ref, weights }: Model): void {
  const { ready, why } = loadKernels();
  const refuse = (what: string, remedy: string) => new HeadscopeError("unsupported", what, { remedy });
  if (!ready)
    throw refuse(`8-bit activations need the kernels: ${why}`, "leave them out; `headscope doctor` says more");
  const coded = [...partTensors(weights).values()].some(
    (part) => part instanceof Matrix && part.packed && formatOf(part.packed.format).block !== undefined,
  );
  if (!coded)
    throw refuse(
      `8-bit activations are for weights in codes, and ${ref} has its own in plain numbers`,
      "load a quantised GGUF file with weights q8, or leave them out",
    );
}

/** Insists that keys can be turned to other positions. @param windows of heads that stream @throws HeadscopeError */
export function checkRerotation(model: Model, { cache, prefix, choice }: CheckedRun, windows: Windows): void {
  checkRotates(model);
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", `rerotate ${what}`, { remedy, field: "rerotate" });
  if (windows) throw refuse("needs KV heads that hold as many tokens, and some stream", "leave one of the two out");
  const kind = cache ?? prefix?.cache.kind ?? "f32";
  if (choice?.tokens?.params.when === "decode" && (kind !== "f32" || choice.form))
    throw refuse(
      "turns keys again at every step, and in fewer bits each turn rounds them",
      "cache in f32 and in no other form, or turn once",
    );
}

/** Insists that a prefix is held as its continuations are to be. @param windows that it should have, undefined where all heads are full @throws HeadscopeError (mismatch) */
export function checkPrefix({ cache }: Prefix, { mask, cache: kind }: CheckedRun, windows: Windows): void {
  const refuse = (what: string, remedy: string) => new HeadscopeError("mismatch", `the prefix ${what}`, { remedy });
  if (kind !== undefined && kind !== cache.kind)
    throw refuse(`is held in ${cache.kind}, not in ${kind}`, `read it again, or go on in ${cache.kind}`);
  if (mask === undefined) return;
  const text = (all: KvCache["windows"]): string =>
    JSON.stringify(all.map((row) => row.map((window) => window ?? null)));
  if (text(cache.windows) !== text(windows ?? cache.windows.map((row) => row.map(() => undefined))))
    throw refuse(
      "was read with other windows than the mask's",
      'read it with this mask, or with all heads full for prefill "dense"',
    );
}
