import { z } from "zod";
import { atMostKeys } from "../definitions/bounded.ts";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../heads/window.ts";
import { SPARSE_SHAPES } from "../words.ts";
import type { Data } from "./fields.ts";

/** Keys of one object of a document, extra ones included. */
const MOST_KEYS = 1_024;
/** Characters of a name or path in a document. */
const LONGEST_NAME = 4_096;
/** Most layers, heads of a layer, and trials, of which a document has one entry each: several times what any model has. */
const MOST_ENTRIES = 4_096;

/** Names of the formats of documents, as their field `format` has them. */
export const SCORES_FORMAT = "headscope.head-scores/1";
export const MASK_FORMAT = "headscope.head-mask/1";
export const PATTERNS_FORMAT = "headscope.sparse-patterns/1";
export const LEVELS_FORMAT = "headscope.cache-levels/1";
export const HISTORY_FORMAT = "headscope.head-history/1";
export const COMPARISON_FORMAT = "headscope.head-comparison/1";
export const AGREEMENT_FORMAT = "headscope.head-agreement/1";

/** Schema of the time that finding scores took, and of the runs of the model that it took, one back counted as one. */
export const findingCost = z.strictObject({ seconds: z.number().min(0), forwards: z.int().min(0) });
/** Cost of finding scores. */
export type FindingCost = Data<typeof findingCost>;

/** Schema of what the numbers of a table stand for: query heads, or the KV heads that groups of them share. */
export const headAxisSchema = z.enum(["heads", "kvHeads"]);

/** Schema of the model that a file's numbers are about, with how many heads it has. */
export const headModelSchema = atMostKeys(
  z.looseObject({
    /** The name or path it was loaded by; not its identity. */
    ref: z.string().min(1).max(LONGEST_NAME),
    family: z.string().max(200).optional(),
    /** Its identity: "sha256:…" of the weights. Files from elsewhere may lack it. */
    digest: z
      .string()
      .regex(/^sha256:[0-9a-f]{64}$/, "must be sha256: and 64 hexadecimal digits")
      .optional(),
    layers: z.int().min(1),
    /** Query heads of a layer. */
    heads: z.int().min(1),
    /** Key and value heads of a layer. */
    kvHeads: z.int().min(1),
  }),
  MOST_KEYS,
);

const table = z.array(z.array(z.number()).max(MOST_ENTRIES)).max(MOST_ENTRIES);

/** Schema of one table of scores. */
export const metricSchema = atMostKeys(
  z.looseObject({
    axis: headAxisSchema,
    /** [layers, heads] or [layers, kvHeads] */
    values: table,
    /** Least and greatest value that a head can have. */
    range: z.tuple([z.number(), z.number()]).optional(),
    /** The value of a head that attends evenly. */
    chance: z.number().optional(),
    /** One such table a trial: [trials, layers, heads or kvHeads]. */
    trials: z.array(table).max(MOST_ENTRIES).optional(),
  }),
  MOST_KEYS,
);

const parameters = atMostKeys(z.record(z.string().max(200), z.unknown()), MOST_KEYS);

/**
 * The file `headscope.head-scores/1`: what a probe says about every head of a model.
 * A reader needs format, model, probe and metrics; headscope itself writes every field. Extra keys, such as `perCase`, pass.
 */
export const headScoresSchema = atMostKeys(
  z.looseObject({
    format: z.literal(SCORES_FORMAT),
    model: headModelSchema,
    /** Name of the probe; the metric of the same name is the main one. */
    probe: z.string().min(1).max(200),
    params: parameters.default({}),
    /** "sha256:…" of the token rows; absent for scores that came from elsewhere. */
    tokens: z.string().max(200).optional(),
    seed: z.number().optional(),
    /** ISO 8601 time. */
    created: z.string().max(64).optional(),
    /** Version of headscope that wrote it. */
    headscope: z.string().max(64).optional(),
    metrics: atMostKeys(z.record(z.string().max(200), metricSchema), MOST_KEYS),
    summary: atMostKeys(z.record(z.string().max(200), z.number()), MOST_KEYS).default({}),
    cost: findingCost.optional(),
    /** Notes for a reader, a sentence each. */
    notes: z.array(z.string().max(1000)).max(100).optional(),
  }),
  MOST_KEYS,
);

/**
 * The file `headscope.head-mask/1`: which KV heads keep everything and which only sink and recent tokens, and which
 * query heads are ablated. Either table may be absent, not both.
 */
export const headMaskSchema = atMostKeys(
  z.looseObject({
    format: z.literal(MASK_FORMAT),
    model: headModelSchema,
    /** [layers, kvHeads]: "retrieval" heads attend to everything, "streaming" heads to sink and recent tokens. */
    kvHeads: z
      .array(z.array(z.enum(["retrieval", "streaming"])).max(MOST_ENTRIES))
      .max(MOST_ENTRIES)
      .optional(),
    /** [layers, heads] */
    heads: z
      .array(z.array(z.enum(["keep", "ablate"])).max(MOST_ENTRIES))
      .max(MOST_ENTRIES)
      .optional(),
    /** First tokens that a streaming head keeps. */
    sink: z.int().min(0).default(DEFAULT_SINK),
    /** Latest tokens that a streaming head keeps; at least the query's own. */
    recent: z.int().min(1).default(DEFAULT_RECENT),
    /** Origin of the choice: a score file and rule, or "user". */
    source: z.union([z.string().max(LONGEST_NAME), atMostKeys(z.looseObject({}), MOST_KEYS)]).default("user"),
  }),
  MOST_KEYS,
);

/** Schema of the sparse attention of one query head while it reads a prompt. */
export const sparsePatternSchema = z.looseObject({
  pattern: z.enum(SPARSE_SHAPES),
  /** Vertical columns, first tokens or key blocks of a row, by the pattern. */
  a: z.int().min(0),
  /** Slash diagonals or recent tokens, by the pattern; of block_sparse nothing. */
  b: z.int().min(0),
  /** Goodness in the search that found it: attention that it keeps, or outputs that it leaves alone. */
  score: z.number(),
});

/** The file `headscope.sparse-patterns/1`: a sparse attention pattern for every query head of a model. */
export const sparsePatternsSchema = atMostKeys(
  z.looseObject({
    format: z.literal(PATTERNS_FORMAT),
    model: headModelSchema,
    /** [layers, heads] */
    layers: z.array(z.array(sparsePatternSchema).max(MOST_ENTRIES)).max(MOST_ENTRIES),
    /** Origin: a search's parameters, or a foreign file's name. */
    params: parameters.default({}),
    /** ISO 8601 time. */
    created: z.string().max(64).optional(),
    /** Version of headscope that wrote it. */
    headscope: z.string().max(64).optional(),
  }),
  MOST_KEYS,
);

const levels = (count: number) => z.array(z.number()).length(count);
const levelsByBits = z.strictObject({ 2: levels(4), 3: levels(8), 4: levels(16) });

/** The file `headscope.cache-levels/1`: the levels that a model's keys and values are rounded to, by layer and bits. */
export const cacheLevelsSchema = atMostKeys(
  z.looseObject({
    format: z.literal(LEVELS_FORMAT),
    model: headModelSchema,
    /** Of the search: the share of outliers, rows and tokens of the sample. */
    params: z.looseObject({ outliers: z.number() }),
    /** By layer; of the keys before the rotation. */
    layers: z.array(z.strictObject({ keys: levelsByBits, values: levelsByBits })).max(MOST_ENTRIES),
    /** ISO 8601 time. */
    created: z.string().max(64).optional(),
    /** Version of headscope that wrote it. */
    headscope: z.string().max(64).optional(),
  }),
  MOST_KEYS,
);

/** The file `headscope.head-history/1`: what a probe says about every head at every saved step of a run. */
export const headHistorySchema = z.object({
  format: z.literal(HISTORY_FORMAT),
  run: z.string().describe("the run's id"),
  model: headModelSchema.describe("the model at the last step"),
  probe: z.string(),
  params: z.record(z.string(), z.unknown()),
  tokens: z.string().optional().describe("digest of the token rows, the same at every step"),
  seed: z.number().optional(),
  created: z.string().optional().describe("ISO 8601 time"),
  headscope: z.string().optional().describe("version of headscope that wrote it"),
  steps: z.array(z.int()),
  metrics: z
    .record(z.string(), z.object({ axis: headAxisSchema, values: z.array(z.array(z.array(z.number()))) }))
    .describe("by metric, tables in the order of `steps`: [steps][layers][heads or kvHeads]"),
  summary: z.record(z.string(), z.array(z.number())).describe("by name, in the order of `steps`"),
});

const depth = z.number().describe("relative depth, from 0, the first layer, to 1, the last");
const head = z.string().describe("LAYER.HEAD, or KV LAYER.HEAD");

const layerProfile = z.object({
  layer: z.int(),
  depth,
  best: z.number().describe("score of the layer's best head"),
  head,
  mean: z.number().describe("mean score of the layer's heads"),
});
/** One layer of a model by a metric. */
export type LayerProfile = Data<typeof layerProfile>;

const placedHead = z.object({ head, depth, value: z.number(), rank: z.int().describe("1 is the highest score") });
/** A head with its place among the model's layers. */
export type PlacedHead = Data<typeof placedHead>;

const comparedModel = z.object({
  model: headModelSchema,
  params: parameters.describe("of the probe, as they were used"),
  seed: z.number().optional(),
  values: table.describe("[layers, heads or kvHeads]"),
  range: z.tuple([z.number(), z.number()]).optional().describe("least and greatest value that a head can have"),
  chance: z.number().optional().describe("the value of a head that attends evenly"),
  layers: z.array(layerProfile).describe("from the first layer to the last"),
  top: z.array(placedHead).describe("the best heads, best first"),
});
/** One of two compared models. */
export type ComparedModel = Data<typeof comparedModel>;

const parameterDifference = z.object({
  name: z.string(),
  first: z.unknown().optional(),
  second: z.unknown().optional(),
});
/** A parameter that two score documents do not share; a side without it is absent. */
export type ParameterDifference = Data<typeof parameterDifference>;

/** Schema of two models' heads by one metric, on the common scale of relative depth. */
export const headComparisonSchema = z.object({
  format: z.literal(COMPARISON_FORMAT),
  probe: z.string(),
  metric: z.string(),
  axis: headAxisSchema,
  sentence: z.string().describe("the finding in numbers"),
  caveat: z.string().optional().describe("parameters that differ, in words; absent where all are the same"),
  differences: z
    .array(parameterDifference)
    .describe("parameters of the probe, its seed among them, that were not the same for both"),
  models: z.tuple([comparedModel, comparedModel]),
});
/** Two models' heads by one metric. */
export type HeadComparison = Data<typeof headComparisonSchema>;

const finder = z.object({
  name: z.string(),
  cost: findingCost.optional().describe("absent where nobody measured it"),
  top: z.array(head).describe("its best KV heads, best first"),
  values: table.describe("[layers, kvHeads]"),
});

/** The file `headscope.head-agreement/1`: several ways of scoring the KV heads of one model, beside each other. */
export const headAgreementSchema = z.object({
  format: z.literal(AGREEMENT_FORMAT),
  model: headModelSchema,
  share: z.number().describe("of the KV heads that `top` and `overlap` are about"),
  top: z.int().describe("that many KV heads"),
  finders: z.array(finder),
  correlation: z
    .array(z.array(z.number().nullable()))
    .describe("Spearman's, of all KV heads' scores [finders, finders]; null where one scores all alike"),
  overlap: z
    .array(z.array(z.number()))
    .describe("share of the best KV heads of one that are the other's [finders, finders]"),
  chance: z.number().describe("mean overlap of two random choices"),
});
/** Ways of finding heads beside each other. */
export type HeadAgreement = Data<typeof headAgreementSchema>;
