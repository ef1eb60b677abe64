import { probes } from "../../../probes/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { trainRuns } from "../../jobs/train-runs.ts";
import { openStore, type RunRecord, type Store } from "../../store/store.ts";
import { makeSpec } from "../../training/spec.ts";
import type { Context } from "../context.ts";
import { integerParser } from "../options.ts";
import { trainDocument, trainText, valuesText } from "../text/train.ts";

interface TrainCommandOptions {
  param?: string[];
  seed?: number;
  seeds?: string;
  steps?: number;
  probes?: string;
  from?: string;
  resume?: string;
}

/** Trains a toy transformer, or goes on with one. */
export async function trainTask(context: Context, options: TrainCommandOptions, name: string): Promise<void> {
  const makeRuns = options.resume === undefined ? await newRuns(options, name) : undefined;
  if (!makeRuns) refuseBesideResume(options, name);
  const store = openStore();
  try {
    const runs = makeRuns ? makeRuns(store) : store.runs({ group: store.run(options.resume!).group });
    const ids = runs.map(({ id }) => id).join(", ");
    context.note(`  ${makeRuns ? "training" : "going on with"} ${ids}`);
    const trained = await trainRuns(store, runs, {
      signal: context.signal,
      onProgress: ({ done, total, label, values }) => context.progress(done, total, label, valuesText(values)),
    });
    if (context.signal.aborted)
      context.note(
        `  ${ids} ${trained.length === 1 ? "is" : "are"} saved at step ${trained[0]!.step}; go on with: headscope train --resume ${trained[0]!.id}`,
      );
    context.signal.throwIfAborted();
    const document = trainDocument(store, trained);
    await context.print(document, () => trainText(store, trained));
  } finally {
    store.close();
  }
}

/** Checks everything before the store is touched. @returns makes the runs */
async function newRuns(
  options: TrainCommandOptions,
  name: string | undefined,
): Promise<(store: Pick<Store, "createRuns">) => RunRecord[]> {
  if (name === undefined)
    throw new HeadscopeError("usage", "no task is given", { remedy: `give one of ${tasks.names().join(", ")}` });
  const task = tasks.get(name);
  const pairs = readPairs(options.param ?? []);
  for (const name of ["steps", "from"] as const)
    if (options[name] !== undefined && pairs[name] !== undefined)
      throw new HeadscopeError("usage", `${name === "steps" ? "steps are" : "from is"} given twice`, {
        remedy: `give --${name} or --param ${name}`,
      });
  const seeds = readSeeds(options);
  const named = options.probes === undefined ? (task.defaults?.probes ?? []) : splitList(options.probes);
  const measured = named.filter((probe) => probe !== "none");
  for (const probe of measured) probes.get(probe);
  const params = { ...pairs, steps: options.steps ?? pairs["steps"], from: options.from ?? pairs["from"] };
  const spec = makeSpec(task, params, { seeds: seeds.length, probes: measured });
  return (store) => store.createRuns(spec, seeds);
}

function readSeeds({ seed, seeds }: TrainCommandOptions): number[] {
  if (seeds === undefined) return [seed ?? 0];
  if (seed !== undefined)
    throw new HeadscopeError("usage", "--seed and --seeds cannot go together", { remedy: "give one of them" });
  const list = splitList(seeds).map(integerParser("--seeds", 0));
  if (list.length === 0 || new Set(list).size !== list.length)
    throw new HeadscopeError("usage", `--seeds cannot be "${seeds}"`, { remedy: "give each seed once: 0,1,2,3" });
  return list;
}

function splitList(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function refuseBesideResume(options: TrainCommandOptions, name: string | undefined): void {
  const { param, seed, seeds, steps, probes, from } = options;
  const beside = [name, param, seed, seeds, steps, probes, from].some((value) => value !== undefined);
  if (beside)
    throw new HeadscopeError("usage", "--resume goes on as the run began, and takes no task or parameters", {
      remedy: "leave them out",
    });
}
