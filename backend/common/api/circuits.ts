import { z } from "zod";
import { atMostKeys } from "../definitions/bounded.ts";
import { METRICS } from "../metrics.ts";
import { CIRCUIT_LEVELS, CIRCUIT_METHODS, CIRCUIT_VERDICTS, EDGE_GROUPS } from "../words.ts";
import { headModelSchema } from "./documents.ts";
import { type Bounds, type Data, type Input, modelRef } from "./fields.ts";
import { pairInput } from "./patching.ts";

/** Name of the format of circuit files, as their field `format` has it. */
export const CIRCUIT_FORMAT = "headscope.circuit/1";

/** Keys of one object of a document, extra ones included. */
const MOST_KEYS = 1_024;
/** Edges of one file: several times those of any model that can be held. */
const MOST_EDGES = 2 ** 24;

/** Heads and MLPs of one file. */
const MOST_NODES = 2 ** 16;

const node = z.string().min(1).max(64);

/** Characters of a name that a reader gives. */
const MOST_NAME = 64;
const given = z.string().min(1).max(MOST_NAME);
/** Schema of nodes that a reader takes together under a name. */
export const circuitGroup = z.object({ name: given, nodes: z.array(node).min(1).max(MOST_NODES) });
/** Nodes that are taken together under a name. */
export type CircuitGroup = Data<typeof circuitGroup>;
/** Names and groups that a reader gives nodes: they change no number. */
const labels = {
  names: atMostKeys(z.record(node, given), MOST_NODES).exactOptional().describe("names that a reader gave nodes"),
  groups: z.array(circuitGroup).max(MOST_NODES).exactOptional().describe("nodes that a reader took together"),
};

/** Schema of an edge by its ends: `embed`, `a{layer}.h{head}` or `m{layer}`, to `a{layer}.h{head}<q>`, `<k>` or `<v>`, `m{layer}` or `logits`. */
export const circuitEdge = z.looseObject({ from: node, to: node });
const edges = z.array(circuitEdge).max(MOST_EDGES);

const sums = z.object({
  edges: z.int().min(0),
  sum: z.number(),
  sumAbs: z.number(),
});

/** The file `headscope.circuit/1`: the edges of a model by falling absolute score. Extra keys pass. */
export const circuitSchema = atMostKeys(
  z.looseObject({
    format: z.literal(CIRCUIT_FORMAT),
    model: headModelSchema.exactOptional(),
    method: z.enum(CIRCUIT_METHODS),
    metric: z.enum(METRICS).exactOptional().describe("of the scores; absent in older files: logit-diff"),
    level: z.enum(CIRCUIT_LEVELS).exactOptional().describe("absent: edge"),
    nodes: z
      .array(z.object({ node, score: z.number() }))
      .max(MOST_NODES)
      .exactOptional()
      .describe("of a circuit found by nodes: heads and MLPs by falling absolute score"),
    params: atMostKeys(z.record(z.string().max(200), z.unknown()), MOST_KEYS),
    clean: z.number().describe("metric of the clean prompt, mean over the pairs"),
    corrupt: z.number(),
    total: z.int().min(1).describe("edges of the model"),
    edges: z.array(circuitEdge.extend({ score: z.number() })).max(MOST_EDGES),
    totals: z.record(z.enum(EDGE_GROUPS), sums).describe("over all edges that were scored"),
    ...labels,
    notes: z.array(z.string().max(1_000)).max(10_000).exactOptional(),
  }),
  MOST_KEYS,
);
/** A circuit as `circuit find` writes it. */
export type Circuit = Data<typeof circuitSchema>;
/** Names and groups of a circuit's nodes. */
export type CircuitLabels = Pick<Circuit, "names" | "groups">;

/** Schema of what names a circuit: its edges, such as those of a circuit file, or all edges but some. */
export const circuitListSchema = atMostKeys(
  z.looseObject({
    format: z.literal(CIRCUIT_FORMAT).exactOptional(),
    model: headModelSchema.exactOptional(),
    metric: z.enum(METRICS).exactOptional(),
    total: z.int().min(1).exactOptional(),
    edges: edges.exactOptional(),
    without: edges.exactOptional(),
  }),
  MOST_KEYS,
).refine(({ edges, without }) => (edges === undefined) !== (without === undefined), {
  message: 'it has "edges" or "without", one of them',
});
/** A circuit by its edges, or by those that it lacks. */
export type CircuitList = Data<typeof circuitListSchema>;

const metrics = { clean: z.number(), corrupt: z.number() };
const faithfulness = z
  .number()
  .nullable()
  .describe("(metric - corrupt) / (clean - corrupt), of means over the pairs; null where the two are the same");
const notes = z.array(z.string()).optional().describe("doubts about the pairs");

/** Schema of a circuit's run. */
export const circuitRunResult = z.object({
  ...metrics,
  metric: z.number(),
  faithfulness,
  edges: z.int().describe("edges of the circuit"),
  total: z.int().describe("edges of the model"),
  notes,
});
/** Metrics of a circuit's run, means over the pairs. */
export type CircuitRunResult = Data<typeof circuitRunResult>;

/** Schema of the runs of a circuit cut to several sizes. */
export const circuitCurveResult = z.object({
  ...metrics,
  total: z.int(),
  curve: z.array(
    z.object({
      edges: z.int(),
      share: z.number().describe("of all edges of the model"),
      metric: z.number(),
      faithfulness,
    }),
  ),
  cpr: z.number().nullable().describe("area under the faithfulness over the share of edges"),
  cmd: z.number().nullable().describe("area between the faithfulness and 1"),
  notes,
});
/** Metrics of a circuit's first edges, by their number. */
export type CircuitCurve = Data<typeof circuitCurveResult>;

const overlap = z.object({
  first: z.int(),
  second: z.int(),
  both: z.int(),
  jaccard: z.number().nullable().describe("both over either; null of two empty circuits"),
});

/** Schema of two circuits beside each other. */
export const circuitComparison = z.object({
  edges: overlap,
  nodes: overlap.describe("heads and MLPs that the edges touch"),
  rank: z.object({
    edges: z.int().describe("edges that both score"),
    correlation: z.number().nullable().describe("Spearman's, of their scores; null of fewer than two"),
  }),
});
/** Overlap of two circuits. */
export type CircuitComparison = Data<typeof circuitComparison>;

/** Name of the format of circuits' evaluations. */
export const EVALUATION_FORMAT = "headscope.circuit-evaluation/1";

const bound = z.number().nullable();
const interval = z.object({
  value: z.number(),
  low: bound.describe("of its 95 % interval over resamples of the pairs; null of one pair"),
  high: bound,
});
/** Schema of a figure with its 95 % interval. */
export type Interval = Data<typeof interval>;

/** The file `headscope.circuit-evaluation/1`: a circuit put to the test. */
export const circuitEvaluation = z.object({
  format: z.literal(EVALUATION_FORMAT),
  model: headModelSchema,
  method: z.enum(CIRCUIT_METHODS),
  metric: z.enum(METRICS),
  edges: z.int(),
  total: z.int(),
  pairs: z.int(),
  ...metrics,
  faithfulness: interval,
  completeness: interval.describe("1 less the faithfulness of all other edges together"),
  minimality: z.object({
    tried: z.int(),
    needed: z.number().describe("share of the tried edges without which 0.01 of faithfulness or more is lost"),
    losses: z.array(z.object({ from: node, to: node, loss: z.number() })),
  }),
  random: z.object({ draws: z.int(), faithfulness: z.array(z.number()) }),
  curve: z.array(z.object({ edges: z.int(), share: z.number(), faithfulness: z.number() })),
  cpr: z.number().nullable(),
  cmd: z.number().nullable(),
  stability: interval.nullable().describe("overlap (Jaccard) with circuits found on resamples of the pairs"),
  others: z.record(z.string(), interval.extend({ pairs: z.int() })).describe("faithfulness on other pairs, by name"),
  templates: z
    .record(z.string(), interval.extend({ pairs: z.int() }))
    .optional()
    .describe("faithfulness on the pairs of each template, where the pairs name several"),
  verdicts: z.array(
    z.object({
      name: z.string(),
      statement: z.string(),
      check: z.string(),
      verdict: z.enum(CIRCUIT_VERDICTS),
      why: z.string(),
    }),
  ),
  seed: z.int(),
  resamples: z.int(),
  notes,
});
/** A circuit put to the test. */
export type CircuitEvaluation = Data<typeof circuitEvaluation>;

/** Edges that a page can ask for. */
const MOST_DRAWN = 500;

/** Schema of a search for the edges that answer a question, which are then run alone. */
export function circuitRequest(bounds: Bounds) {
  return z.strictObject({
    model: modelRef,
    pairs: z.array(pairInput(bounds)).min(1).max(bounds.rows),
    bos: z.boolean().optional(),
    metric: z.enum(METRICS).optional().describe("default logit-diff"),
    method: z.enum(CIRCUIT_METHODS),
    params: atMostKeys(z.record(z.string().max(64), z.union([z.string().max(64), z.number()])), MOST_KEYS)
      .optional()
      .describe("the method's parameters, such as steps or threshold"),
    steps: z.int().min(1).max(100).optional().describe("params.steps by its older name"),
    edges: z.int().min(1).max(MOST_DRAWN).describe("edges of the circuit, those with the largest scores"),
  });
}
export type CircuitRequest = Input<typeof circuitRequest>;

/** Schema of a circuit with the runs of its first edges. */
export const circuitAnswer = z.object({ circuit: circuitSchema, curve: circuitCurveResult, ms: z.number() });
export type CircuitAnswer = Data<typeof circuitAnswer>;

/** Schema of a run of some edges alone. */
export function circuitRunRequest(bounds: Bounds) {
  return circuitRequest(bounds)
    .pick({ model: true, pairs: true, bos: true, metric: true })
    .extend({ edges: z.array(z.strictObject({ from: node, to: node })).max(MOST_DRAWN) });
}
export type CircuitRunRequest = Input<typeof circuitRunRequest>;

/** Schema of the metrics of some edges alone. */
export const circuitRunAnswer = circuitRunResult.extend({ ms: z.number() });
export type CircuitRunAnswer = Data<typeof circuitRunAnswer>;
