/** Stand-ins for a head's output z: nothing, its mean over reference rows, or that of another row. */
export const ABLATION_METHODS = ["zero", "mean", "resample"] as const;
/** One of `ABLATION_METHODS`. */
export type AblationMethod = (typeof ABLATION_METHODS)[number];

/**
 * Parts of which one is taken out at a time. layer: what attention and MLP write; source: what the last token sees of one earlier
 * token.
 */
export const ABLATED_PARTS = ["head", "mlp", "layer", "source"] as const;
/** One of `ABLATED_PARTS`. */
export type AblatedPart = (typeof ABLATED_PARTS)[number];

/** Rules by which scores become a choice of heads. */
export const SELECTION_RULES = ["top", "quantile", "threshold"] as const;
/** One of `SELECTION_RULES`. */
export type SelectionRule = (typeof SELECTION_RULES)[number];

/** Statuses of a run or a job that works no more; one that was cancelled or failed can go on. */
export const ENDED = ["done", "failed", "cancelled"] as const;
/** Statuses of a run or a job: it waits, works, or has ended. */
export type Status = "queued" | "running" | (typeof ENDED)[number];
/** A run's or job's status as a reader sees it: `interrupted` is one whose process died without a word. */
export type ShownStatus = Status | "interrupted";

/** Says of a run or job that it waits or works. */
export function isActive(status: ShownStatus): boolean {
  return status === "queued" || status === "running";
}

/** Says of a run or job that it has come to its end. */
export function hasEnded(status: ShownStatus): boolean {
  return (ENDED as readonly string[]).includes(status);
}

/** Says of a run or job that it was stopped on its way and can go on. */
export function canResume(status: ShownStatus): boolean {
  return status === "cancelled" || status === "interrupted" || status === "failed";
}

/** Ways to hold weights in memory: 32-bit floats, the file's own codes or 16-bit numbers, or bfloat16. */
export const WEIGHT_TYPES = ["f32", "q8", "bf16"] as const;
/** One of `WEIGHT_TYPES`. */
export type WeightType = (typeof WEIGHT_TYPES)[number];

/** Ways to hold keys and values in memory: 32-bit or 16-bit floats, or codes of 8 or 4 bits with a scale for each 32. */
export const CACHE_KINDS = ["f32", "f16", "q8", "q4"] as const;
/** One of `CACHE_KINDS`. */
export type CacheKind = (typeof CACHE_KINDS)[number];

/** Ways to take what is multiplied with weights in codes: as it is, or rounded to 127 steps of each block's largest number. */
export const ACTIVATIONS = ["exact", "8bit"] as const;
/** One of `ACTIVATIONS`. */
export type Activations = (typeof ACTIVATIONS)[number];

/** Number types of a tensor that the server sends. */
export const TENSOR_TYPES = ["f32", "f16"] as const;
/** One of `TENSOR_TYPES`. */
export type TensorType = (typeof TENSOR_TYPES)[number];

/**
 * Changes of the weights that leave the model's log-probabilities as they are and make its parts easier to read, in the
 * order in which they are done. Names and definitions are TransformerLens's:
 * - fold_ln: scale and offset of every norm go into the matrices that read it (of a layer norm also centred, since what
 *   they read has no mean); tied embeddings are untied by it
 * - center_writing_weights: what is written to the residual stream has no mean over d_model
 * - center_unembed: the logits of a position have no mean over the vocabulary
 * - fold_value_biases: value biases go into the bias of attention's output, as every row of a pattern sums to 1
 */
export const PROCESSING = ["fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"] as const;
/** One of `PROCESSING`. */
export type Processing = (typeof PROCESSING)[number];

/** Heads between which composition is measured: those named, or all of the model. */
export const COMPOSITION_SCOPES = ["heads", "all"] as const;
/** One of `COMPOSITION_SCOPES`. */
export type CompositionScope = (typeof COMPOSITION_SCOPES)[number];

/** Events of GET /api/events. */
export const EVENTS = ["job", "run", "metrics", "checkpoint", "library", "start", "reset"] as const;
/** One of `EVENTS`. */
export type EventName = (typeof EVENTS)[number];

/** Statuses of a run or a job as a reader sees it. */
export const SHOWN_STATUSES = ["queued", "running", ...ENDED, "interrupted"] as const;

/** Times from which windows of heads and flags of tokens hold: in the prompt too, or only after it. */
export const PREFILLS = ["masked", "dense"] as const;
/** One of `PREFILLS`. */
export type Prefill = (typeof PREFILLS)[number];

/**
 * Shapes of sparse attention that a head can have while it reads a prompt, under MInference's names. vertical_and_slash: key columns and
 * diagonals, found from the last queries. stream_llm: first and recent tokens. block_sparse: the best key blocks of every block of queries.
 */
export const SPARSE_SHAPES = ["vertical_and_slash", "stream_llm", "block_sparse"] as const;
/** One of `SPARSE_SHAPES`. */
export type SparseShape = (typeof SPARSE_SHAPES)[number];

/** Ways of scoring a model's edges. */
export const CIRCUIT_METHODS = ["eap", "eap-ig", "eap-ig-activations", "eap-gp", "exact", "acdc"] as const;
/** One of `CIRCUIT_METHODS`. */
export type CircuitMethod = (typeof CIRCUIT_METHODS)[number];

/** Parts of a model that a circuit is found by. */
export const CIRCUIT_LEVELS = ["edge", "node"] as const;
/** One of `CIRCUIT_LEVELS`. */
export type CircuitLevel = (typeof CIRCUIT_LEVELS)[number];

/** Formats in which a circuit leaves: drawings, a graph for Neuronpedia's viewer, and a mask of the heads that it does not touch. */
export const CIRCUIT_EXPORTS = ["dot", "graphml", "neuronpedia", "mask", "pruned-checkpoint"] as const;
/** One of `CIRCUIT_EXPORTS`. */
export type CircuitExport = (typeof CIRCUIT_EXPORTS)[number];

/** Fates of heads outside a circuit under its mask: they write 0, or keep first and recent tokens only. */
export const OUTSIDE_CIRCUIT = ["ablate", "stream"] as const;

/** Edges up to which `exact` and `acdc` take a run each, and up to which a circuit file holds all unless told otherwise. */
export const MANY_EDGES = 5_000;
/** Edges that a circuit file holds beyond that, the ones with the largest scores. */
export const KEPT_EDGES = 1_000;
/** Heads and MLPs that a circuit found by nodes holds beyond that. */
export const KEPT_NODES = 50;

/** Groups of edges whose scores are added up, by the part of the model that they go into or come from. */
export const EDGE_GROUPS = ["into q", "into k", "into v", "into mlp", "into logits", "from embed", "from head", "from mlp"] as const; // biome-ignore format: a table
/** One of `EDGE_GROUPS`. */
export type EdgeGroup = (typeof EDGE_GROUPS)[number];

/** Names of the sizes in which an experiment can be run. */
export const PRESETS = ["quick", "full"] as const;
export type Preset = (typeof PRESETS)[number];

/** A parameter that differs from the preset's, as `--param` takes it. */
export interface ParameterChange {
  readonly name: string;
  readonly value: string;
}

/** The setting of a report in words: "quick", or "quick, 2 changed: seeds 5, steps 500". */
export function settingText({ preset, changed }: { preset: string; changed: readonly ParameterChange[] }): string {
  if (changed.length === 0) return preset;
  return `${preset}, ${changed.length} changed: ${changed.map(({ name, value }) => `${name} ${value}`).join(", ")}`;
}

/** Bearing of a verdict: for the claim, against it, or leaving it open. */
export type Tone = "good" | "bad" | "open";

/** Verdicts with their bearing on the claim; the last three say that the run was smaller than its preset, so that nothing is decided. */
const TONES = {
  reproduced: "good",
  "not reproduced": "bad",
  "inconclusive at this scale": "open",
  "too few seeds to tell": "open",
  "not trained to the end": "open",
  "too little measured to tell": "open",
} as const satisfies Record<string, Tone>;

export type Verdict = keyof typeof TONES;

/** Every verdict on a paper's claim. */
export const VERDICTS = Object.keys(TONES) as [Verdict, ...Verdict[]];

/** Verdicts on what is claimed of a circuit, with their bearing. */
const CIRCUIT_TONES = { holds: "good", "does not hold": "bad", undecided: "open" } as const satisfies Record<
  string,
  Tone
>;

/** Every verdict on what is claimed of a circuit. */
export const CIRCUIT_VERDICTS = Object.keys(CIRCUIT_TONES) as (keyof typeof CIRCUIT_TONES)[];

/** Every verdict that a report can hold. */
export const REPORT_VERDICTS = [...VERDICTS, ...CIRCUIT_VERDICTS] as const;

/** The bearing of a verdict; one of another version leaves its claim open. */
export function toneOf(verdict: string): Tone {
  const tones: Readonly<Record<string, Tone>> = { ...TONES, ...CIRCUIT_TONES };
  return Object.hasOwn(tones, verdict) ? tones[verdict]! : "open";
}

/** Ways to fit a linear classifier. */
export const CLASSIFIERS = ["ridge", "logistic"] as const;
/** One of `CLASSIFIERS`. */
export type Classifier = (typeof CLASSIFIERS)[number];

/** Points of a layer that linear probes read. */
export const PROBED_POINTS = ["hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out"] as const;
/** One of `PROBED_POINTS`. */
export type ProbedPoint = (typeof PROBED_POINTS)[number];

/** Architectures of sparse dictionaries that are read, by SAELens's names. */
export const DICTIONARY_ARCHITECTURES = ["standard", "topk", "jumprelu"] as const;
/** One of `DICTIONARY_ARCHITECTURES`. */
export type DictionaryArchitecture = (typeof DICTIONARY_ARCHITECTURES)[number];

/** Things that policies choose, in the order in which they act; a run has at most one policy for each. */
export const CHOOSES = ["heads", "blocks", "inputs", "tokens", "reads", "form"] as const;

/**
 * Ways to ask the questions of a case. single: the first; turns: each behind the answer before it, on one cache; requests: each
 * behind the context as it was cut for the first.
 */
export const EVALUATION_MODES = ["single", "turns", "requests"] as const;
/** One of `EVALUATION_MODES`. */
export type EvaluationMode = (typeof EVALUATION_MODES)[number];

/** A case's score is taken from what the model writes, or from its foresight of a text. */
export const SCORINGS = ["answers", "text"] as const;
/** One of `SCORINGS`. */
export type Scoring = (typeof SCORINGS)[number];

/** Costs that quality is weighed against: bytes of keys and values, time until the first token, time of each token. */
export const EVALUATION_COSTS = ["bytes", "prefill", "decode"] as const;
/** One of `EVALUATION_COSTS`. */
export type EvaluationCost = (typeof EVALUATION_COSTS)[number];

/** Measures of quality that a figure can show: the share of right answers, and nats a token of the right ones. */
export const EVALUATION_MEASURES = ["score", "loss"] as const;
/** One of `EVALUATION_MEASURES`. */
export type EvaluationMeasure = (typeof EVALUATION_MEASURES)[number];

/** Share of a prompt's tokens that goes, or is not read, where nobody says how much. */
export const RATIO = 0.5;

/** Parameters of a training run by what they decide: the model, its training, and changes of weights beside the optimiser's. */
export const TRAIN_PARTS = ["model", "training", "changes"] as const;
/** One of `TRAIN_PARTS`. */
export type TrainPart = (typeof TRAIN_PARTS)[number];

/** Rules by which queries weigh keys, `softmax` being that of pretrained models; backend/models/transformer/kernels computes them. */
export const ATTENTION_KERNELS = [
  "softmax",
  "sigmoid",
  "sigmoid-normalised",
  "linear",
  "polynomial",
  "key-bias",
  "key-value-bias",
  "sink-logit",
] as const;
/** One of `ATTENTION_KERNELS`. */
export type AttentionKernelName = (typeof ATTENTION_KERNELS)[number];

/** Ways in which the tokens of a layer read earlier ones; backend/models/transformer/mixers computes those that are not attention. */
export const MIXERS = ["attention", "linear-recurrence", "selective"] as const;
/** One of `MIXERS`. */
export type MixerName = (typeof MIXERS)[number];
