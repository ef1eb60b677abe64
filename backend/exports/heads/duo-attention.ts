import { basename, join } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import { kvTable, mainMetric } from "../../common/heads/metric.ts";
import { type HeadModel, shapeWords } from "../../common/heads/model.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../../common/heads/window.ts";
import { fileInside } from "../../files.ts";
import { createScores } from "../../heads/files.ts";
import { readJson, readText } from "../../json.ts";
import type { Exporter, ExportInput, ScoresImporter } from "../export.ts";
import { writeFolder, writeSynced } from "../folder.ts";

const HEADS_FILE = "full_attention_heads.tsv";
const CONFIG_FILE = "config.json";
const SOURCE = "DuoAttention (Xiao et al. 2024), mit-han-lab/duo-attention; NVIDIA/kvpress reads the same folder";

/** Arguments of a training beside the window, by their names in config.json. */
const TRAINING = [
  "dataset_format",
  "lr",
  "num_steps",
  "reg_weight",
  "initial_value",
  "num_passkeys",
  "passkey_length",
  "min_needle_depth_ratio",
  "max_needle_depth_ratio",
  "context_length_min",
  "context_length_max",
  "context_lengths_num_intervals",
  "depth_ratio_num_intervals",
  "supervision",
  "threshold",
  "sparsity",
  "seed",
];

const parameters = z.object({
  metric: z.string().optional().describe("metric of the scores; by default the main one"),
  sink: z
    .int()
    .min(0)
    .optional()
    .describe("first tokens a streaming head keeps, in tokens; by default those of the mask or the gates, or 64"),
  recent: z
    .int()
    .min(1)
    .optional()
    .describe("latest tokens a streaming head keeps, in tokens; by default those of the mask or the gates, or 256"),
});

/** A DuoAttention pattern folder: 1 and 0 from a mask, values clipped to [0, 1] from scores; one column a KV head. */
export const duoAttention: Exporter<typeof parameters> = {
  name: "duo-attention",
  title: "DuoAttention pattern folder",
  description:
    "A folder with full_attention_heads.tsv (one row a layer, one column a KV head, 1 for full attention and 0 for " +
    "streaming) and config.json with sink_size and recent_size. From a mask the values are 1 and 0; from scores they " +
    "are the scores of the KV heads, the maximum over each group, clipped to [0, 1], and the reader chooses; trained gates keep " +
    "their training's arguments.",
  source: SOURCE,
  parameters,
  from: ["scores", "mask"],
  leavesOut: "ablated",
  needsCheckpoint: false,
  output: "folder",
  write: (input, path, params, options) =>
    writeFolder(path, options, async (folder) => {
      const rows = table(input, params.metric).map((row) => row.map(savetxt).join("\t"));
      await writeSynced(join(folder, HEADS_FILE), `${rows.join("\n")}\n`);
      await writeSynced(join(folder, CONFIG_FILE), JSON.stringify(configOf(input, params)));
    }),
};

/** The window, which readers use, and the arguments of the training, which gates have and a mask never had. */
function configOf({ mask, scores }: ExportInput, { sink, recent }: z.output<typeof parameters>) {
  const { params = {}, seed, model } = scores ?? { model: mask!.model };
  const known: Record<string, unknown> = { seed, ...params };
  const training = TRAINING.filter((name) => known[name] !== undefined).map((name) => [name, known[name]]);
  const size = (name: string) => (Number.isSafeInteger(known[name]) ? (known[name] as number) : undefined);
  return {
    model_name: model.ref,
    ...(Object.hasOwn(params, "lr") ? Object.fromEntries(training) : {}),
    sink_size: sink ?? mask?.sink ?? size("sink_size") ?? DEFAULT_SINK,
    recent_size: recent ?? mask?.recent ?? size("recent_size") ?? DEFAULT_RECENT,
  };
}

function table({ mask, scores }: ExportInput, metric: string | undefined): number[][] {
  if (mask === undefined) return kvTable(scores!, mainMetric(scores!, metric)).map((row) => row.map(clip));
  if (mask.kvHeads === undefined)
    throw new HeadscopeError("input", "the mask says nothing of KV heads, which DuoAttention is about", {
      remedy: "make one with headscope mask --scores",
    });
  return meaningOf(mask).windows.map((row) => row.map((window) => (window === undefined ? 1 : 0)));
}

const clip = (value: number) => Math.min(1, Math.max(0, value));

/**
 * A number as numpy.savetxt writes it: C's "%.18e", two digits of exponent at least.
 * The two differ where the 19 digits end in an exact tie, which float32 values often do: C goes to the even digit,
 * JavaScript up.
 */
export function savetxt(value: number): string {
  let [digits, exponent] = value.toExponential(18).split("e") as [string, string];
  // A tie in the 20th digit: the longer expansion is exact there, and its last kept digit is the one before the tie.
  const [long] = value.toExponential(60).split("e") as [string, string];
  const dot = long.indexOf(".");
  const exact = long.slice(0, dot + 19);
  if (/^50*$/.test(long.slice(dot + 19)) && Number(exact.at(-1)) % 2 === 0) digits = exact;
  exponent = exponent.replace(/^([+-])(\d)$/, "$10$2");
  return `${Object.is(value, -0) ? "-" : ""}${digits}e${exponent}`;
}

const noParameters = z.object({});

/** Reads a DuoAttention pattern folder as scores: metric `gate` over KV heads, clipped to [0, 1] as its loader does. */
export const duoAttentionImport: ScoresImporter<typeof noParameters> = {
  name: "duo-attention",
  title: "DuoAttention pattern folder",
  description:
    "Reads full_attention_heads.tsv and config.json of a DuoAttention pattern as head scores: metric gate over KV " +
    "heads, clipped to [0, 1], 1 for a retrieval head. The training arguments become the parameters.",
  source: SOURCE,
  parameters: noParameters,
  gives: "scores",
  async read(path, model) {
    const file = (await fileInside(path, HEADS_FILE)) ?? join(path, HEADS_FILE);
    const gates = parseTsv(await readText(file, "DuoAttention pattern"), file);
    checkShape(gates, model, file);
    const settings = (await fileInside(path, CONFIG_FILE)) ?? join(path, CONFIG_FILE);
    const config = await readJson(settings, "DuoAttention configuration");
    if (config === null || typeof config !== "object" || Array.isArray(config))
      throw new HeadscopeError("input", `${settings} is not a JSON object`, { remedy: "mend the file" });
    return duoScores(gates, model, { folder: basename(path), ...config });
  },
};

function duoScores(gates: number[][], model: HeadModel, params: Record<string, unknown>): HeadScores {
  const values = gates.map((row) => row.map(clip));
  const all = values.flat();
  return createScores({
    model,
    probe: "duo-attention",
    params,
    metrics: { gate: { axis: "kvHeads", values } },
    summary: { mean: all.reduce((sum, value) => sum + value, 0) / all.length },
  });
}

function parseTsv(text: string, file: string): number[][] {
  const lines = text.split(/\r?\n/).map((line, i) => ({ line: line.replace(/#.*/, "").trim(), number: i + 1 }));
  return lines
    .filter(({ line }) => line !== "")
    .map(({ line, number }) =>
      line.split("\t").map((cell, column) => {
        const value = cell.trim() === "" ? Number.NaN : Number(cell);
        if (Number.isFinite(value)) return value;
        throw new HeadscopeError(
          "input",
          `${file}, line ${number}, column ${column + 1}: ${JSON.stringify(cell)} is not a finite number`,
          { remedy: "give tab-separated numbers, one row a layer and one column a KV head" },
        );
      }),
    );
}

function checkShape(gates: readonly number[][], model: HeadModel, file: string): void {
  const odd = gates.find((row) => row.length !== model.kvHeads);
  if (gates.length === model.layers && odd === undefined) return;
  const columns = odd?.length ?? model.kvHeads;
  throw new HeadscopeError(
    "mismatch",
    `${file} has ${gates.length} rows of ${columns} values, expected ${model.layers} rows of ${model.kvHeads}: ${model.ref} has ${shapeWords(model)}`,
    { remedy: "give the model that the pattern was made for, with --model" },
  );
}
