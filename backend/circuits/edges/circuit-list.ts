import {
  CIRCUIT_FORMAT,
  type Circuit,
  type CircuitList,
  circuitListSchema,
  circuitSchema,
} from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { parseDocument } from "../../common/heads/document.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import type { Model } from "../../models/model.ts";
import type { EdgeSet } from "./assembled-run.ts";
import type { EdgeGraph } from "./graph.ts";

const SHAPE =
  'a circuit is what circuit find writes, {"edges": [{"from", "to"}, ...]} or {"without": [{"from", "to"}, ...]}';

/** A circuit's edges by number. */
export interface NamedEdges {
  /** In the order of the file; of a circuit that is named by what it lacks, in that of the graph. */
  readonly edges: readonly number[];
  /** True where the file names what the circuit lacks. */
  readonly without: boolean;
  /** Metric of its scores. */
  readonly metric: MetricName;
}

/**
 * Checks a circuit that a file or a script gives, and numbers its edges.
 * @param label the file; errors start with it
 * @throws HeadscopeError `input` for what is no circuit, an edge that the model does not have (named) or that is listed twice,
 * `mismatch` for a circuit of another model
 */
export function namedEdges(model: Model, graph: EdgeGraph, value: unknown, label: string): NamedEdges {
  const circuit = parseCircuit(value, label);
  const { total, metric = METRICS[0] } = circuit;
  if (circuit.model) checkModel({ model: circuit.model }, headModel(model), label);
  if (total !== undefined && total !== graph.size)
    throw new HeadscopeError(
      "mismatch",
      `${label} is of a model with ${total} edges, and ${model.ref} has ${graph.size}`,
      { remedy: `find it again with --model ${model.ref}` },
    );
  const numbers = (circuit.edges ?? circuit.without!).map((edge) => numberOf(graph, edge, label));
  const own = new Set(numbers);
  if (own.size < numbers.length) {
    const twice = graph.name(numbers.find((edge, i) => numbers.indexOf(edge) < i)!);
    throw new HeadscopeError("input", `${label}: the edge ${twice.from} -> ${twice.to} is listed twice`, {
      remedy: "list it once",
    });
  }
  if (circuit.edges) return { edges: numbers, without: false, metric };
  const all = Array.from({ length: graph.size }, (_, edge) => edge);
  return { edges: all.filter((edge) => !own.has(edge)), without: true, metric };
}

/** Checks a circuit file with scores, as `circuit find` writes it. @param label the file @throws HeadscopeError (input) naming the field */
export function parseScoredCircuit(value: unknown, label: string): Circuit {
  return parseDocument(circuitSchema, value, {
    format: CIRCUIT_FORMAT,
    label,
    remedy: "write it with headscope circuit find",
  });
}

/** A circuit as the run takes it. @param edges their numbers */
export function edgeSet(graph: EdgeGraph, edges: readonly number[]): EdgeSet {
  const set = new Uint8Array(graph.size);
  for (const edge of edges) set[edge] = 1;
  return set;
}

/** Checks a circuit's form, not its edges. @param label the file @throws HeadscopeError (input) */
export function parseCircuit(value: unknown, label: string): CircuitList {
  const format = value !== null && typeof value === "object" ? (value as { format?: unknown }).format : undefined;
  if (format !== undefined && format !== CIRCUIT_FORMAT)
    throw new HeadscopeError(
      "input",
      `${label} is not a ${CIRCUIT_FORMAT} file: its format is ${JSON.stringify(format)}`,
      {
        remedy: SHAPE,
      },
    );
  const result = circuitListSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const field = issue.path.map((part, i) =>
    typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`,
  );
  throw new HeadscopeError("input", `${label}: ${[field.join(""), issue.message].filter(Boolean).join(": ")}`, {
    remedy: SHAPE,
  });
}

function numberOf(graph: EdgeGraph, edge: { readonly from: string; readonly to: string }, label: string): number {
  try {
    return graph.number(edge);
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    const { kind, message, remedy, subject } = error;
    throw new HeadscopeError(kind, `${label}: ${message}`, { remedy, subject, cause: error });
  }
}
