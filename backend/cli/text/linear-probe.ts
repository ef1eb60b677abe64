import type { ProbedLayer, PromptProbes, RunProbes } from "../../common/api/linear-probes.ts";
import { counted } from "../../common/text.ts";
import { bold, number, right, table } from "./format.ts";

/** Linear probes of labelled prompts, by layer, for people. */
export function promptProbesText(document: PromptProbes): string {
  const { model, at, position, method, classes, train, test, chance, layers } = document;
  return [
    `${bold(`${method} probe`)} of ${at} in ${model.ref} at ${placeOf(position)}: ${counted(classes.length, "class", "classes")}, ${counted(train, "prompt")} fitted, ${test} held out; always the most frequent class: ${number(chance)}`,
    layersTable(layers, "accuracy"),
  ].join("\n");
}

/** Linear probes of a run, by layer, or by saved step and layer, for people. */
export function runProbesText(document: RunProbes): string {
  const { run, task, target, at, position, method, train, test, metric, chance, steps } = document;
  const score = metric === "r2" ? "R²" : "accuracy";
  const nothing = metric === "r2" ? "" : `; always the most frequent class: ${number(chance)}`;
  const title = `${bold(`${method} probe`)} of ${at} in ${run} at ${placeOf(position)} for ${target} of ${task}: ${counted(train, "sequence")} fitted, ${test} held out${nothing}`;
  const [only] = steps;
  if (steps.length === 1) return [`${title}; step ${only!.step}`, layersTable(only!.layers, score)].join("\n");
  const columns = ["step", ...only!.layers.map(({ layer }) => `layer ${layer}`)].map(right);
  const rows = steps.map(({ step, layers }) => [String(step), ...layers.map(cell)]);
  return [`${title}; ${score} and, in brackets, that of shuffled targets`, table(columns, rows, "  ")].join("\n");
}

function cell({ score, control }: ProbedLayer): string {
  return control === undefined ? number(score) : `${number(score)} (${number(control)})`;
}

function layersTable(layers: readonly ProbedLayer[], score: string): string {
  const rows = layers.map(({ layer, score, interval, control, selectivity }) => [
    String(layer),
    number(score),
    interval.map((bound) => number(bound, 2)).join(" to "),
    control === undefined ? "-" : number(control),
    selectivity === undefined ? "-" : number(selectivity),
    "█".repeat(Math.round(20 * Math.max(0, score))),
  ]);
  return table([right("layer"), right(score), "95 %", right("shuffled"), right("selectivity"), ""], rows, "  ");
}

function placeOf(position: number | "mean" | "scored"): string {
  if (position === "mean") return "the mean over positions";
  if (position === "scored") return "the last scored position";
  return position === -1 ? "the last position" : `position ${position}`;
}
