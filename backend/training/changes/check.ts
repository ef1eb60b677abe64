import { HeadscopeError } from "../../common/errors.ts";
import { counted } from "../../common/text.ts";
import { HEAD_FIELDS } from "../../models/config.ts";
import { type ChangedModel, changedPlaces } from "./changes.ts";
import type { ChangeParams } from "./parameters.ts";
import { attentionOf, pruneSchedule } from "./prune.ts";

/** Parameters that say nothing without another one. */
const NEEDS = {
  reset_every: ["reset", "reset_until"],
  code_restart: ["code_restart_until"],
  prune: ["prune_sparsity", "prune_parts", "prune_start", "prune_end", "prune_every"],
} as const satisfies Partial<Record<keyof ChangeParams, readonly (keyof ChangeParams)[]>>;

/**
 * Refuses freezing, resets and pruning that make no sense for a model or with each other.
 * @throws HeadscopeError `usage` naming the parameters
 */
export function checkChanges(model: ChangedModel): void {
  const { training, places } = model;
  for (const [leader, followers] of Object.entries(NEEDS)) {
    const idle = followers.find((name) => training[name] !== undefined);
    if (idle !== undefined && training[leader as keyof typeof NEEDS] === undefined)
      throw refusal([idle, leader], `${idle} says nothing without ${leader}`, `give ${leader}, or leave ${idle} out`);
  }
  checkCodes(model);
  if (training.freeze && training.train_only)
    throw refusal(
      ["freeze", "train_only"],
      "freeze names weights that stay, and train_only says that all stay but some",
      "give one of them",
    );
  const { frozen, reset } = changedPlaces(model);
  if (frozen.length === places.length)
    throw refusal(["freeze"], "freeze leaves no weight to be trained", "leave a part out of it");
  const both = reset.find((place) => frozen.includes(place));
  if (both)
    throw refusal(["freeze", "reset"], `${both.name} is frozen and drawn anew`, "leave it out of freeze or of reset");
  checkResets(training);
  checkPruning(model);
}

/** Parameters of a bottleneck's codes. */
const OF_CODES = ["commitment", "code_restart", "code_restart_until"] as const;

function checkCodes(model: ChangedModel): void {
  const { training, config } = model;
  const idle = OF_CODES.find((name) => training[name] !== undefined);
  if (config.bottleneck === undefined) {
    if (idle === undefined) return;
    throw refusal(
      [idle, "codes"],
      `${idle} is of a bottleneck, and there are no codes`,
      `leave ${idle} out, or give codes`,
    );
  }
  const { code_restart: every, code_restart_until: until, steps } = training;
  const { frozen, pruned } = changedPlaces(model);
  if (every !== undefined && frozen.some(({ name }) => name === "codes"))
    throw refusal(
      ["freeze", "code_restart"],
      "codes are frozen and restarted",
      "leave them out of freeze, or code_restart",
    );
  if (until !== undefined && until >= steps)
    throw refusal(
      ["code_restart_until", "steps"],
      `no step follows a restart of codes after step ${until} of ${steps}`,
      `give at most ${steps - 1}`,
    );
  if (pruned.some(({ name }) => name === "codes"))
    throw refusal(
      ["prune_parts"],
      "codes are chosen by their distance, of which a pruned number is a part",
      "leave codes out",
    );
}

function checkResets({ reset_every: every, reset_until: until, steps }: ChangedModel["training"]): void {
  if (every === undefined) return;
  if (every >= steps)
    throw refusal(
      ["reset_every", "steps"],
      `reset_every ${every} comes never in ${counted(steps, "step")}`,
      `give fewer than ${steps}`,
    );
  if (until !== undefined && until < every)
    throw refusal(
      ["reset_until", "reset_every"],
      `reset_until ${until} is before the first reset, at step ${every}`,
      `give at least ${every}`,
    );
}

function checkPruning(model: ChangedModel): void {
  const { training, config } = model;
  const schedule = pruneSchedule(training);
  if (schedule === undefined) return;
  const { structure, start, end, every, sparsity } = schedule;
  if (structure === "heads" && training.prune_parts !== undefined)
    throw refusal(["prune_parts", "prune"], "prune_parts says nothing of heads", "leave it out, or prune weights");
  if (start >= end)
    throw refusal(
      ["prune_start", "prune_end"],
      `prune_start ${start} is not before prune_end ${end}`,
      "make it earlier",
    );
  if (end > training.steps)
    throw refusal(
      ["prune_end", "steps"],
      `prune_end ${end} is after the last step, ${training.steps}`,
      `give at most ${training.steps}`,
    );
  if (every > end - start)
    throw refusal(
      ["prune_every"],
      `prune_every ${every} is more than the ${counted(end - start, "step")} from prune_start to prune_end`,
      "make it smaller",
    );
  const { pruned } = changedPlaces(model);
  if (pruned.length === 0)
    throw refusal(
      ["prune", "prune_parts", "freeze"],
      "there is no matrix to be pruned that is not frozen",
      "freeze less",
    );
  if (structure === "heads") {
    const recurrent = config.mixer?.findIndex((name) => name !== "attention") ?? -1;
    if (recurrent >= 0)
      throw refusal(
        ["prune", "mixer"],
        `prune=heads takes heads of attention, and layer ${recurrent} has none`,
        "prune weights, or say mixer=attention",
      );
    const unequal = HEAD_FIELDS.find((field) => config[field] !== undefined);
    if (unequal)
      throw refusal(
        ["prune", unequal],
        "prune=heads takes a query with a key and a value of its own, and here they differ in number or width",
        `prune weights, or leave ${unequal} out`,
      );
    const heads = attentionOf(pruned).length * config.n_heads;
    const gone = Math.round(sparsity * heads);
    if (gone === 0 || gone === heads)
      throw refusal(
        ["prune_sparsity", "prune"],
        `prune_sparsity ${sparsity} of ${counted(heads, "head")} is ${gone === 0 ? "none" : "all"} of them`,
        `give a share between ${(0.5 / heads).toFixed(3)} and ${(1 - 0.5 / heads).toFixed(3)}`,
      );
  }
}

function refusal(field: readonly string[], message: string, remedy: string): HeadscopeError {
  return new HeadscopeError("usage", message, { remedy, field });
}
