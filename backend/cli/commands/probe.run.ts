import { probeHistory } from "../../../probes/history.ts";
import { type ProbeContext, probe, probes } from "../../../probes/index.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { errorAt, HeadscopeError } from "../../common/errors.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { writeScores } from "../../heads/files.ts";
import { formatJson, readJson } from "../../json.ts";
import { loadModel } from "../../models/load.ts";
import type { Model } from "../../models/model.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { Context } from "../context.ts";
import { readCases } from "../inputs/case-files.ts";
import { savedSteps } from "../inputs/saved-steps.ts";
import { tokensOf } from "../inputs/tokens.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions, TokenOptions } from "../options.ts";
import { historyText } from "../text/history.ts";
import { scoresText } from "../text/scores.ts";

interface ProbeCommandOptions extends StudiedModelOptions, TokenOptions {
  patternFile?: string;
  casesFile?: string;
  param?: string[];
  seed: number;
  out?: string;
  allSteps?: boolean;
}

/** Probes that take cases. */
const casesProbes = probes
  .list()
  .filter(({ readCase }) => readCase !== undefined)
  .map(({ name }) => name);

type Parameters = Readonly<Record<string, string>>;

/** Scores the heads of a model, or of a run at each of its saved steps. */
export async function scoreHeads(context: Context, options: ProbeCommandOptions, name: string): Promise<void> {
  const parameters = { ...readPairs(options.param ?? []), ...(await patternOf(options)) };
  probes.parse(name, parameters); // before the model is loaded, which takes seconds
  const rows = (["text", "tokensFile"] as const).find((name) => options[name] !== undefined);
  if (rows !== undefined && options.casesFile !== undefined)
    throw new HeadscopeError(
      "usage",
      `--${rows === "text" ? rows : "tokens-file"} and --cases-file cannot go together`,
      {
        remedy: "give one of them",
      },
    );
  if (options.casesFile !== undefined && probes.get(name).readCase === undefined)
    throw new HeadscopeError("usage", `probe ${name} takes no cases file`, {
      remedy: `leave it out: cases are for ${casesProbes.join(" and ")}`,
    });
  if (options.allSteps === true && options.interventions !== undefined)
    throw new HeadscopeError("usage", "--all-steps and --interventions cannot go together", {
      remedy: "name one step, as run:ID@STEP",
      field: "interventions",
    });
  if (options.out !== undefined) await refuseFolder(options.out);
  await (options.allSteps === true ? probeSteps : probeModel)(context, options, name, parameters);
}

/** The pairs of --pattern-file as a parameter; the probe that it is for checks them. */
async function patternOf({ patternFile, param = [] }: ProbeCommandOptions): Promise<Record<string, string>> {
  if (patternFile === undefined) return {};
  if (param.some((pair) => pair.startsWith("pairs=")))
    throw new HeadscopeError("usage", "--pattern-file and --param pairs cannot go together", { remedy: "give one" });
  return { pairs: JSON.stringify(await readJson(patternFile, "pattern file")) };
}

/** Scores the heads of one model. */
async function probeModel(
  context: Context,
  options: ProbeCommandOptions,
  name: string,
  parameters: Parameters,
): Promise<void> {
  await withStudiedModel(context, options, async (model) => {
    const inputs = await inputsOf(options, model, name);
    const { seed } = options;
    const { signal, progress } = context;
    const scores = await naming(options, () => probe(model, name, parameters, { seed, signal, progress, ...inputs }));
    signal.throwIfAborted();
    if (options.out !== undefined) await writeScores(options.out, scores);
    await context.print(scores, () => withPlace(scoresText(scores), options));
  });
}

/** Scores the heads of a run at each of its saved steps. */
async function probeSteps(
  context: Context,
  options: ProbeCommandOptions,
  name: string,
  parameters: Parameters,
): Promise<void> {
  const { run, steps } = savedSteps(options.model, "--all-steps");
  const { signal, progress } = context;
  const load = (step: number) => loadModel(`run:${run}@${step}`, { signal });
  const inputs = (model: Model) => inputsOf(options, model, name);
  const { seed } = options;
  const history = await naming(options, () =>
    probeHistory(name, parameters, { run, steps, load, inputs }, { seed, signal, progress }),
  );
  if (options.out !== undefined) await writeFileAtomic(options.out, `${formatJson(history)}\n`);
  await context.print(history, () => withPlace(historyText(history), options));
}

/** The rows or cases that the user gave. */
async function inputsOf(
  options: ProbeCommandOptions,
  model: Model,
  name: string,
): Promise<Pick<ProbeContext, "tokens" | "cases">> {
  const { readCase } = probes.get(name);
  const { text, tokensFile, casesFile } = options;
  return {
    tokens: text === undefined && tokensFile === undefined ? undefined : await tokensOf(model, options),
    cases: casesFile === undefined ? undefined : await readCases(casesFile, model, readCase!),
  };
}

function withPlace(text: string, { out }: ProbeCommandOptions): string {
  return [text, "", out === undefined ? "Keep them with --out FILE." : `Written to ${out}.`].join("\n");
}

/** Puts a file's path before what a probe has to say of the rows that came from it. */
async function naming<T>({ tokensFile, casesFile }: ProbeCommandOptions, work: () => Promise<T>): Promise<T> {
  const path = tokensFile ?? casesFile;
  try {
    return await work();
  } catch (error) {
    if (path === undefined || !(error instanceof HeadscopeError) || error.kind !== "input") throw error;
    if (error.subject === path) throw error; // the file's reader has said it already
    throw errorAt(path, error);
  }
}
