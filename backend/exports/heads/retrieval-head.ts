import { basename } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import { queryMetric } from "../../common/heads/metric.ts";
import { type HeadModel, shapeWords } from "../../common/heads/model.ts";
import type { HeadMetric } from "../../common/heads/scores.ts";
import { createScores } from "../../heads/files.ts";
import { readJson } from "../../json.ts";
import type { Exporter, ScoresImporter } from "../export.ts";
import { writeFile } from "../folder.ts";

const SOURCE = "Retrieval Head (Wu et al. 2024), nightdessert/Retrieval_Head; HeadKV reads the same file";

const parameters = z.object({
  metric: z.string().optional().describe("metric of the scores; by default the main one"),
});

/** A Retrieval_Head score file: the scores of each trial by query head, `{"LAYER-HEAD": [...]}` on one line. */
export const retrievalHead: Exporter<typeof parameters> = {
  name: "retrieval-head",
  title: "Retrieval_Head score file",
  description:
    'One line of JSON, {"LAYER-HEAD": [score of each trial, ...], ...} over query heads; users average each list and ' +
    "sort. Scores without trials become lists of one.",
  source: SOURCE,
  parameters,
  from: ["scores"],
  needsCheckpoint: false,
  output: "file",
  write: ({ scores }, path, { metric }) =>
    writeFile(path, () => {
      const { values, trials = [values] } = queryMetric(scores!, metric, "a Retrieval_Head file");
      const lists = values.flatMap((row, layer) =>
        row.map((_, head) => `"${layer}-${head}": [${trials.map((trial) => trial[layer]![head]!).join(", ")}]`),
      );
      return `{${lists.join(", ")}}`;
    }),
};

const noParameters = z.object({});

/** A project whose score files are lists of trials by "LAYER-HEAD". */
interface ListFormat {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly source: string;
  /** Probe and metric that the scores are of. */
  readonly metric: string;
}

/** Reads such score files: a metric over query heads, the mean of each head's trials. */
function listImport({ metric: probe, ...named }: ListFormat): ScoresImporter<typeof noParameters> {
  return {
    ...named,
    parameters: noParameters,
    gives: "scores",
    async read(path, model) {
      const metric = toMetric(readLists(await readJson(path, named.title), model, path));
      return createScores({
        model,
        probe,
        params: { imported: named.name, file: basename(path) },
        metrics: { [probe]: metric },
        summary: { max: Math.max(...metric.values.flat()) },
      });
    },
  };
}

/** Reads a Retrieval_Head score file as metric `retrieval`. */
export const retrievalHeadImport = listImport({
  name: "retrieval-head",
  title: "Retrieval_Head score file",
  description:
    "Reads head_score/MODEL.json of Retrieval_Head as head scores: metric retrieval over query heads, the mean of each " +
    "head's trials, and the trials themselves where every head has as many.",
  source: SOURCE,
  metric: "retrieval",
});

/** Reads a HeadKV score file as metric `retrieval-reasoning`. */
export const headKvImport = listImport({
  name: "headkv",
  title: "HeadKV score file",
  description:
    "Reads the retrieval-reasoning scores of HeadKV (R2) as head scores: metric retrieval-reasoning over query heads, the mean of each " +
    "head's trials, and the trials themselves where every head has as many.",
  source: "HeadKV (Fu et al. 2024), FYYFU/HeadKV, retrieval_head_detection_r2.py",
  metric: "retrieval-reasoning",
});

/** The trials of every head, [layers][heads][trials]. */
function readLists(content: unknown, model: HeadModel, path: string): number[][][] {
  const bad = (what: string) =>
    new HeadscopeError("input", `${path}: ${what}`, { remedy: 'it should hold {"LAYER-HEAD": [scores], ...}' });
  if (content === null || typeof content !== "object" || Array.isArray(content)) throw bad("it is not a JSON object");
  const lists: number[][][] = Array.from({ length: model.layers }, () => []);
  let [layers, heads, count] = [0, 0, 0];
  for (const [key, list] of Object.entries(content)) {
    const place = /^(\d+)-(\d+)$/.exec(key);
    if (place === null) throw bad(`"${key}" is not LAYER-HEAD`);
    if (!Array.isArray(list) || list.length === 0 || !list.every(Number.isFinite))
      throw bad(`head ${key} has no list of finite numbers`);
    const [layer, head] = [Number(place[1]), Number(place[2])];
    [layers, heads, count] = [Math.max(layers, layer + 1), Math.max(heads, head + 1), count + 1];
    if (layer < model.layers && head < model.heads) lists[layer]![head] = list;
  }
  if (layers !== model.layers || heads !== model.heads)
    throw new HeadscopeError(
      "mismatch",
      `${path} has ${layers} layers of ${heads} heads, expected ${model.layers} of ${model.heads}: ${model.ref} has ${shapeWords(model)}`,
      { remedy: "give the model that the scores were made for, with --model" },
    );
  if (count !== layers * heads) {
    const [layer, head] = firstMissing(lists, heads);
    throw bad(`it has ${count} heads, expected ${layers * heads}; the first missing is ${layer}-${head}`);
  }
  return lists;
}

function firstMissing(lists: readonly number[][][], heads: number): [number, number] {
  for (const [layer, row] of lists.entries())
    for (let head = 0; head < heads; head++) if (row[head] === undefined) return [layer, head];
  throw new Error("no head is missing");
}

function toMetric(lists: readonly number[][][]): HeadMetric {
  const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const values = lists.map((row) => row.map(mean));
  const count = lists[0]![0]!.length;
  if (lists.some((row) => row.some((list) => list.length !== count))) return { axis: "heads", values };
  const trials = Array.from({ length: count }, (_, trial) => lists.map((row) => row.map((list) => list[trial]!)));
  return { axis: "heads", values, trials };
}
