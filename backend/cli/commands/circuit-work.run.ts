import { basename, join } from "node:path";
import { parseScoredCircuit } from "../../circuits/edges/circuit-list.ts";
import { compareCircuits } from "../../circuits/evaluation/compare.ts";
import { evaluateCircuit } from "../../circuits/evaluation/evaluate.ts";
import { pruneCircuit } from "../../circuits/evaluation/prune.ts";
import { evaluationReport } from "../../circuits/evaluation/report.ts";
import type { Circuit } from "../../common/api/circuits.ts";
import {
  type CircuitMaskOptions,
  circuitMask,
  dotText,
  graphmlText,
  neuronpediaGraph,
} from "../../common/circuit-files/index.ts";
import { headsOutside } from "../../common/circuit-files/nodes.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead } from "../../common/heads/head.ts";
import { counted } from "../../common/text.ts";
import type { CircuitExport } from "../../common/words.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { formatJson, readJson } from "../../json.ts";
import { writeFileAtomic } from "../../paths.ts";
import { createReport, writeReport } from "../../reports/report.ts";
import type { Context } from "../context.ts";
import { readPairFile } from "../inputs/case-files.ts";
import { promptOf } from "../inputs/graph-prompt.ts";
import { exportWithModel, withStudiedModel } from "../model.ts";
import { comparedText, evaluationText, prunedText } from "../text/circuit-evaluation.ts";
import type { CircuitPairOptions } from "./circuit.run.ts";

/** Options of `headscope circuit prune`. */
export interface CircuitPruneOptions extends CircuitPairOptions {
  circuit: string;
  faithfulness: number;
  out?: string;
}

/** Prunes a circuit to a budget. */
export async function pruneCommand(context: Context, options: CircuitPruneOptions): Promise<void> {
  const { circuit: file, metric, faithfulness, out, pairFile, prependBos } = options;
  const circuit = await readJson(file, "circuit file");
  if (out !== undefined) await refuseFolder(out);
  await withStudiedModel(context, options, async (model) => {
    const pairs = await readPairFile(pairFile, model, prependBos);
    const { signal, progress } = context;
    const pruned = await pruneCircuit(model, { pairs, circuit, source: file, metric, faithfulness, signal, progress });
    signal.throwIfAborted();
    if (out !== undefined) await writeFileAtomic(out, `${formatJson(pruned)}\n`);
    await context.print(pruned, () => prunedText(pruned, model.ref, out));
  });
}

/** Options of `headscope circuit compare`. */
export interface CircuitCompareOptions {
  edges?: number;
}

/** Compares two circuit files. */
export async function compareCommand(
  context: Context,
  { edges }: CircuitCompareOptions,
  first: string,
  second: string,
): Promise<void> {
  const [a, b] = [await readJson(first, "circuit file"), await readJson(second, "circuit file")];
  const comparison = compareCircuits(a, b, { edges }, [first, second]);
  await context.print(comparison, () => comparedText(comparison, [first, second]));
}

/** Options of `headscope circuit evaluate`. */
export interface CircuitEvaluateOptions extends CircuitPairOptions {
  circuit: string;
  edges?: number;
  others?: string[];
  draws?: number;
  resamples?: number;
  seed: number;
  out?: string;
}

/** Evaluates a circuit, and writes its report. */
export async function evaluateCommand(context: Context, options: CircuitEvaluateOptions): Promise<void> {
  const {
    circuit: file,
    metric,
    edges,
    draws,
    resamples,
    seed,
    out,
    pairFile,
    prependBos,
    others: files = [],
  } = options;
  const circuit = await readJson(file, "circuit file");
  await withStudiedModel(context, options, async (model) => {
    const pairs = await readPairFile(pairFile, model, prependBos);
    const others = Object.fromEntries(
      await Promise.all(
        files.map(async (path) => [basename(path, ".json"), await readPairFile(path, model, prependBos)] as const),
      ),
    );
    const { signal, progress } = context;
    const work = { pairs, circuit, source: file, metric, signal, progress };
    const evaluation = await evaluateCircuit(model, { ...work, edges, others, draws, resamples, seed });
    signal.throwIfAborted();
    if (out !== undefined) {
      const command = `headscope circuit evaluate --model ${model.ref} --pair-file ${pairFile} --circuit ${file} --metric ${evaluation.metric}`;
      await writeFileAtomic(join(out, "evaluation.json"), `${formatJson(evaluation)}\n`);
      await writeReport(out, createReport(evaluationReport(evaluation, command)));
    }
    await context.print(evaluation, () => evaluationText(evaluation, out));
  });
}

/** Options that a format takes beside the circuit and its edges. */
const OPTIONS_OF: Partial<Record<CircuitExport, readonly (keyof CircuitExportOptions)[]>> = {
  neuronpedia: ["model", "pairFile"],
  mask: ["outside", "sink", "recent"],
  "pruned-checkpoint": ["model", "force"],
};
/** All of these. */
const OPTIONS = [...new Set(Object.values(OPTIONS_OF).flat())];

/** Options of `headscope circuit export`. */
export interface CircuitExportOptions extends Partial<CircuitPairOptions>, Omit<CircuitMaskOptions, "source"> {
  circuit: string;
  edges?: number;
  out: string;
  force?: boolean;
}

/** Writes a circuit in another format. */
export async function exportCommand(context: Context, options: CircuitExportOptions, name: string): Promise<void> {
  const format = name as CircuitExport; // the command line lets no other through
  const { circuit: file, edges, out } = options;
  const foreign = OPTIONS.find((option) => options[option] !== undefined && !OPTIONS_OF[format]?.includes(option));
  if (foreign)
    throw new HeadscopeError(
      "usage",
      `--${foreign === "pairFile" ? "pair-file" : foreign} and ${format} cannot go together`,
      {
        remedy: `leave it out: ${format} takes ${OPTIONS_OF[format] ? "other options" : "the circuit alone"}`,
      },
    );
  if (format !== "pruned-checkpoint") await refuseFolder(out);
  const whole = parseScoredCircuit(await readJson(file, "circuit file"), file);
  const circuit = { ...whole, edges: whole.edges.slice(0, edges) };
  if (format === "pruned-checkpoint") return exportCheckpoint(context, options, circuit);
  await writeFileAtomic(out, await contentOf(context, { options, format, circuit }));
  const result = { path: out, format, edges: circuit.edges.length };
  await context.print(result, () => `${circuit.edges.length} edges written to ${out} as ${format}.`);
}

/** Writes the model without the heads that the circuit does not touch; its MLPs stay. */
async function exportCheckpoint(context: Context, options: CircuitExportOptions, circuit: Circuit): Promise<void> {
  const { circuit: file, out, force } = options;
  const mask = circuitMask(circuit, { source: { circuit: file } });
  const format = "pruned-checkpoint";
  const { ref: own, ...shape } = circuit.model!; // without it there is no mask
  const ref = options.model ?? own;
  const ablated = headsOutside(circuit.edges, shape).map(formatHead);
  const written = await exportWithModel(context, { model: ref }, { format, input: { mask }, out, force });
  const result = { format, edges: circuit.edges.length, ablated, ...written };
  await context.print(
    result,
    () =>
      `${ref} without the ${counted(ablated.length, "head")} that ${counted(circuit.edges.length, "edge")} do not touch is written to ${written.path}: ${written.files.join(", ")}.`,
  );
}

/** The content of a circuit's file in another format. */
async function contentOf(
  context: Context,
  {
    options,
    format,
    circuit,
  }: { options: CircuitExportOptions; format: Exclude<CircuitExport, "pruned-checkpoint">; circuit: Circuit },
): Promise<string> {
  const { edges, model, names, groups } = circuit;
  const { outside, sink, recent } = options;
  if (!model)
    throw new HeadscopeError("input", `${options.circuit} does not say of which model it is`, {
      remedy: "find it again with headscope circuit find",
    });
  const drawn = { edges, layers: model.layers, ref: model.ref, ...(names && { names }), ...(groups && { groups }) };
  switch (format) {
    case "dot":
      return dotText(drawn);
    case "graphml":
      return graphmlText(drawn);
    case "mask":
      return `${formatJson(circuitMask(circuit, { outside, sink, recent, source: { circuit: options.circuit } }))}\n`;
    case "neuronpedia":
      return `${formatJson(neuronpediaGraph(drawn, await promptOf(context, options), basename(options.circuit, ".json")))}\n`;
  }
}
