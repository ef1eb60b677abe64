import { basename, join } from "node:path";
import { gateMethods } from "../../../probes/gates/index.ts";
import { gateScores, trainGates } from "../../../probes/gates/train.ts";
import { probe, probes } from "../../../probes/index.ts";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { kvTable, mainMetric } from "../../common/heads/metric.ts";
import { checkModel, type HeadModel } from "../../common/heads/model.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { type Finder, headAgreement } from "../../heads/agreement.ts";
import { writeScores } from "../../heads/files.ts";
import { formatJson } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { Context } from "../context.ts";
import { readFinder } from "../inputs/finder-files.ts";
import { ownedParameters } from "../inputs/owned-parameters.ts";
import { headModelOf, withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { agreementText } from "../text/agreement.ts";

interface CompareOptions extends Omit<StudiedModelOptions, "model"> {
  model?: string;
  measure?: string[];
  param?: string[];
  share?: number;
  keep?: string;
  out?: string;
  seed: number;
}

/** Scores that are measured unless told otherwise: those that cost a minute or two. */
const MEASURED = ["retrieval", "on-the-fly", "long-range", "needle-attribution"];
/** The method of gates that are scores of KV heads. */
const GATES = "duo-attention";

/** Prints how ways of finding heads agree. */
export async function compareFinders(context: Context, options: CompareOptions, ...files: string[]): Promise<void> {
  const { model: ref, keep, out } = options;
  const paths = files.flat();
  const names = options.measure ?? (ref === undefined ? [] : MEASURED);
  if (ref === undefined && names.length > 0)
    throw new HeadscopeError("usage", "scores are measured in a model, and none is given", {
      remedy: "give --model",
      field: "model",
    });
  const params = ownedParameters(options.param ?? [], names, names.length === 1 ? names[0] : undefined);
  for (const name of names) checkMeasure(name, params.get(name)!);
  if (out !== undefined) await refuseFolder(out);
  const read = await Promise.all(paths.map(readFinder));
  const origin = ref === undefined ? read[0]?.model : await headModelOf(ref);
  if (origin) for (const [i, { model }] of read.entries()) checkModel({ model }, origin, paths[i]);
  const measured: HeadScores[] = [];
  if (ref !== undefined && names.length > 0)
    await withStudiedModel(context, { ...options, model: ref }, async (model) => {
      for (const name of names) {
        const scores = await measure(context, model, name, { params: params.get(name)!, seed: options.seed });
        context.signal.throwIfAborted();
        if (keep !== undefined) await writeScores(join(keep, `${name}.json`), scores);
        measured.push(scores);
      }
    });
  const finders = [
    ...read.map(({ finder }, i) =>
      named(
        finder,
        read.map((one) => one.finder),
        paths[i]!,
      ),
    ),
    ...measured.map(finderOf),
  ];
  const agreement = headAgreement(measured[0]?.model ?? (origin as HeadModel), finders, options.share);
  if (out !== undefined) await writeFileAtomic(out, `${formatJson(agreement)}\n`);
  await context.print(agreement, () => agreementText(agreement));
}

/** @throws HeadscopeError (usage) for what can't be measured, and parameters that it has not */
function checkMeasure(name: string, params: Readonly<Record<string, string>>): void {
  if (name === GATES) gateMethods.parse(name, params);
  else if (probes.names().includes(name)) probes.parse(name, params);
  else throw unknownName("way of finding heads", name, [GATES, ...probes.names()]);
}

async function measure(
  { signal, progress }: Context,
  model: Model,
  name: string,
  { params, seed }: { params: Readonly<Record<string, string>>; seed: number },
): Promise<HeadScores> {
  const work = { seed, signal, progress };
  return name === GATES
    ? gateScores(model, await trainGates(model, name, params, work))
    : probe(model, name, params, work);
}

function finderOf(scores: HeadScores): Finder {
  return { name: scores.probe, values: kvTable(scores, mainMetric(scores)), cost: scores.cost };
}

/** A finder under a name that no other has: that of its file where there are several of its kind. */
function named(finder: Finder, all: readonly Finder[], path: string): Finder {
  const alone = all.filter(({ name }) => name === finder.name).length === 1;
  return alone ? finder : { ...finder, name: basename(path, ".json") };
}
