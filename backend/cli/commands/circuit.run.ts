import { parseCircuit } from "../../circuits/edges/circuit-list.ts";
import { findCircuit } from "../../circuits/edges/find-circuit.ts";
import { parseCircuitParameters } from "../../circuits/edges/methods/index.ts";
import { circuitCurve, runCircuit } from "../../circuits/edges/run-circuit.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import type { CircuitLevel, CircuitMethod } from "../../common/words.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { formatJson, readJson } from "../../json.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { Context } from "../context.ts";
import { readPairFile } from "../inputs/case-files.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { circuitText, curveText, runText } from "../text/circuit.ts";

/** Options of every `headscope circuit` command that runs pairs. */
export interface CircuitPairOptions extends StudiedModelOptions {
  pairFile: string;
  metric?: MetricName;
  prependBos?: boolean;
}

/** Options of `headscope circuit find`. */
export interface CircuitFindOptions extends CircuitPairOptions {
  method: CircuitMethod;
  param?: string[];
  edges?: number | "all";
  edgesFrom?: string;
  level?: CircuitLevel;
  nodes?: number;
  out?: string;
}

/** Scores edges. */
export async function findCommand(context: Context, options: CircuitFindOptions): Promise<void> {
  const { method, metric, level, nodes, edges, edgesFrom, out, pairFile, prependBos } = options;
  const params = readPairs(options.param ?? []);
  parseCircuitParameters(method, params); // before the model is loaded, which takes seconds
  if (out !== undefined) await refuseFolder(out);
  const named =
    edgesFrom === undefined ? {} : { edgesFrom: await readJson(edgesFrom, "circuit file"), source: edgesFrom };
  await withStudiedModel(context, options, async (model) => {
    const pairs = await readPairFile(pairFile, model, prependBos);
    const { signal, progress } = context;
    const kept = edges === undefined ? {} : { edges };
    const circuit = await findCircuit(model, {
      pairs,
      method,
      metric,
      params,
      level,
      nodes,
      signal,
      progress,
      ...kept,
      ...named,
    });
    signal.throwIfAborted();
    if (out !== undefined) await writeFileAtomic(out, `${formatJson(circuit)}\n`);
    await context.print(circuit, () => circuitText(circuit, model.ref, out));
  });
}

/** Options of `headscope circuit run`. */
export interface CircuitRunCommandOptions extends CircuitPairOptions {
  circuit: string;
  edges?: number;
  sizes?: number[];
}

/** Runs a circuit, or its first edges at several sizes. */
export async function runCommand(context: Context, options: CircuitRunCommandOptions): Promise<void> {
  const { circuit: file, metric, edges, sizes, pairFile, prependBos } = options;
  if (edges !== undefined && sizes !== undefined)
    throw new HeadscopeError("usage", "--edges and --sizes cannot go together", { remedy: "give one of them" });
  const circuit = await readJson(file, "circuit file");
  const { metric: own = METRICS[0] } = parseCircuit(circuit, file);
  await withStudiedModel(context, options, async (model) => {
    const pairs = await readPairFile(pairFile, model, prependBos);
    const { signal, progress } = context;
    const work = { pairs, circuit, source: file, metric: metric ?? own, signal, progress };
    if (sizes !== undefined) {
      const curve = await circuitCurve(model, { ...work, sizes });
      return context.print(curve, () => curveText(curve, model.ref, work.metric));
    }
    const result = await runCircuit(model, { ...work, ...(edges === undefined ? {} : { edges }) });
    return context.print(result, () => runText(result, model.ref, work.metric));
  });
}
