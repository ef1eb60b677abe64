/**
 * What the HTTP API takes and gives, as types: the server, its workers and the front end share them.
 * Heads are written LAYER.HEAD, 0-based; times are milliseconds, losses nats a token, sizes bytes unless a name says otherwise.
 */
import type { KeptReport, ReportComparison } from "../../experiments/index.ts";
import type { NeedleTrial } from "../../probes/needle.ts";
import type { Flag, JsonSchema } from "../common/definitions/definition.ts";
import type { PatchNode, PatchPlace, PathEnd, PathForm } from "../common/patching.ts";
import type { Preset } from "../common/presets.ts";
import type { AblationMethod, ShownStatus, TensorType } from "../common/words.ts";
import type { HeadMask } from "../heads/mask.ts";
import type { HeadModel } from "../heads/model.ts";
import type { HeadScores } from "../heads/scores.ts";
import type { Intervention } from "../hooks/intervention-schema.ts";
import type { Stop, Stopped } from "../inference/stop-rule.ts";
import type { ModelConfig } from "../models/config.ts";
import type { LicenceTerms } from "../models/sources/catalogue.ts";
import type { MainJobState } from "../store/main-job.ts";

export type { NeedleAnswer, NeedleTrial } from "../../probes/needle.ts";
/** GET /api/comparison?first=ID&second=ID&metric=NAME&top=N: two score documents of one probe by relative depth. */
export type { ComparedModel, HeadComparison, ParameterDifference } from "../common/api/documents.ts";
export type { KeptReport, ReportComparison };

/** RFC 9457: what every response with a status from 400 on holds. */
export interface Problem {
  /** "about:blank" or "/problems/KIND". */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** What is wrong, in one line that names the thing. */
  readonly detail: string;
  /** What to do about it. */
  readonly remedy?: string;
  /** The parameter or field that cannot be as it is; several where they contradict each other. */
  readonly field?: string | readonly string[];
  /** HeadscopeError's kind, or "limit", "forbidden", "busy", "long", "defect". */
  readonly kind: string;
  /** Of kind "long" (428): what was asked with `Prefer: wait=SECONDS` is likely to take longer. */
  readonly estimate?: { readonly tokens: number; readonly seconds: number };
}

/**
 * GET /api/queue: what the resident worker computes and what waits for it. Requests are named by their `x-request-id`. Short and
 * long ones stand in lanes of their own: a short one does not wait for the end of a long one.
 */
export interface QueueEntry {
  readonly id?: string;
  /** prompt, patterns, ablate, patch, generate, …: what is asked. */
  readonly kind: string;
  readonly lane: "short" | "long";
  readonly state: "computing" | "waiting";
  /** Tokens that it is about. */
  readonly tokens?: number;
  /** That it is likely to take, as estimated. */
  readonly seconds?: number;
  /** That it has been computed for. */
  readonly ms?: number;
  readonly progress?: { readonly done: number; readonly total: number };
}

/** GET /api/health */
export interface Health {
  readonly version: string;
  /** What the resident worker computes on; absent until it has started. */
  readonly backend?: { readonly name: string; readonly why: string; readonly threads: number };
  /** The data folder, absolute. */
  readonly folder: string;
  /** How far the job of `npm start` is, or what it left; absent where it never ran. */
  readonly start?: StartState;
}

/** The job of `npm start`: how far it is, and ids of the scores and the mask that it has written. */
export type StartState = MainJobState & { readonly scores: readonly string[]; readonly mask?: string };

/** One probe, task, experiment, export or import, with what a form needs. */
export interface DefinitionDocument {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly source: string;
  readonly flags: readonly Flag[];
  readonly schema: JsonSchema;
}

/** GET /api/definitions: every registry; `train` has the model's and training's parameters too, with the task's defaults. */
export interface Definitions {
  readonly probes: readonly (DefinitionDocument & {
    /** Of each metric, by name; empty where the probe does not say. */
    readonly meanings: Readonly<
      Record<string, { readonly meaning: string; readonly range?: readonly [number, number] }>
    >;
  })[];
  readonly tasks: readonly (DefinitionDocument & {
    readonly train: readonly Flag[];
    readonly probes: readonly string[];
    /** Which tokens of a prompt its models learn to foretell, where a rule says so; absent for all. */
    readonly part?: "repeated";
  })[];
  readonly experiments: readonly (DefinitionDocument & {
    readonly claims: readonly {
      readonly id: string;
      readonly statement: string;
      readonly source: string;
      readonly check: string;
    }[];
    readonly presets: readonly string[];
  })[];
  readonly exports: readonly (DefinitionDocument & {
    readonly from: readonly ("scores" | "mask")[];
    readonly needsCheckpoint: boolean;
    readonly output: "file" | "folder";
  })[];
  readonly imports: readonly DefinitionDocument[];
}

/** GET /api/models: the catalogue, what is in the Hugging Face cache, then one entry for each run with a checkpoint. DELETE /api/models/:ref removes a fetched one. */
export interface ModelEntry {
  /** What `model` takes elsewhere: a catalogue name, hf:org/name[@revision], run:ID, or the path of one that was opened. */
  readonly ref: string;
  readonly title: string;
  readonly kind: "package" | "constructed" | "hub" | "run" | "opened";
  /** Whether it can be opened now. */
  readonly ready: boolean;
  readonly licence?: string;
  /** Terms to accept (`acceptLicence` of a pull) before it is fetched. */
  readonly terms?: LicenceTerms;
  readonly bytes?: number;
}

/** GET /api/folders, POST /api/roots: what of a folder may be opened. */
export interface FolderListing {
  /** Absolute; absent for the list of the folders that may be named. */
  readonly path?: string;
  readonly parent?: string;
  readonly folders: readonly { readonly name: string; readonly path: string }[];
  /** Checkpoint folders and files. */
  readonly models: readonly { readonly name: string; readonly path: string }[];
  /** Whether the folder has more entries than were looked at. */
  readonly more: boolean;
}

/** GET /api/models/:ref (URL-encoded) */
export interface ModelInfo extends HeadModel {
  readonly family: string;
  readonly digest: string;
  readonly config: ModelConfig;
  /** Tokens and texts (without `id`) at which the model's own files end a generation, and which files say so. */
  readonly stops: readonly { readonly id?: number; readonly text: string; readonly sources: readonly string[] }[];
  /** Absent for models that take token ids only. */
  readonly tokenizer?: {
    readonly bos?: { readonly id: number; readonly text: string };
    readonly addsBos: boolean;
    readonly chat: boolean;
  };
  /** What is wrong with the tokenizer that its files hold, where it cannot be used. */
  readonly tokenizerFault?: string;
}

/** GET /api/runs. DELETE /api/runs/:id removes one; POST /api/runs/:id/resume goes on with it, and answers as POST /api/runs. */
export interface RunSummary {
  readonly id: string;
  readonly task: string;
  readonly status: ShownStatus;
  readonly step: number;
  readonly steps: number;
  readonly seed: number;
  readonly group: string;
  readonly job?: number;
  readonly error?: string;
  readonly created: string;
  readonly updated: string;
  /** Whether its model reads tokens, so that probes can read it. */
  readonly tokens: boolean;
}

/** GET /api/runs/:id */
export interface RunDetail extends RunSummary {
  readonly spec: {
    readonly task: string;
    readonly params: object;
    readonly model: object;
    readonly training: object;
    readonly probes: readonly string[];
  };
  /** Steps with a checkpoint, ascending: `run:ID@STEP` names each. */
  readonly checkpoints: readonly number[];
  /** The last value of each metric. */
  readonly last: Readonly<Record<string, number | null>>;
  /** The command line that trains it. */
  readonly command: string;
  /** What its evaluations are measured on, by name, and what guessing reaches there. */
  readonly evaluations?: Readonly<
    Record<string, { readonly title: string; readonly chance?: { readonly accuracy?: number; readonly loss?: number } }>
  >;
  /** Scores of a head that attends evenly by the probes that are measured along, by PROBE.METRIC; those that do not tell are absent. */
  readonly evenScores?: Readonly<Record<string, number>>;
}

/** GET /api/runs/:id/metrics: by name, [step, value] ascending; null where a value was not a number. */
export type RunCurves = Readonly<Record<string, readonly (readonly [number, number | null])[]>>;

/** POST /api/runs: train. @returns 202 { job: JobSummary, runs: RunSummary[] } */
export interface TrainRequest {
  readonly task: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly seeds?: readonly number[];
  readonly probes?: readonly string[];
}

/**
 * GET /api/jobs, GET /api/jobs/:id. POST /api/jobs/:id/cancel stops one and /resume goes on with it; DELETE /api/jobs/:id removes one that
 * has ended, and stops any other. The latest 200 that have ended are kept.
 */
export interface JobSummary {
  readonly id: number;
  /** train, probe, history, needle, mask-search, experiment, pull, export. */
  readonly kind: string;
  /** What it does, in words: "induction on smollm2-135m". */
  readonly title: string;
  /** The model that it is about, as it was asked for; absent where there is none, or several. */
  readonly model?: string;
  readonly status: ShownStatus;
  readonly progress?: {
    readonly done: number;
    readonly total: number;
    readonly label: string;
    readonly values?: Readonly<Record<string, number>>;
  };
  /** Milliseconds that it is likely to take yet; absent before it can be told. */
  readonly remaining?: number;
  readonly result?: unknown;
  readonly error?: string;
  readonly created: string;
  readonly started?: string;
  readonly ended?: string;
}

/** POST /api/jobs: long work. @returns 202 JobSummary; its result is named beside each */
export type JobRequest =
  /** Result { scores: string[] }: ids of the score documents it has written. */
  | {
      readonly kind: "probe";
      readonly model: string;
      readonly probes: readonly { readonly name: string; readonly params?: Readonly<Record<string, unknown>> }[];
      readonly seed?: number;
    }
  /** Every checkpoint of a run. Result { history: string }: id for GET /api/histories/:id (headscope.head-history/1). */
  | {
      readonly kind: "history";
      readonly run: string;
      readonly probe: string;
      readonly params?: Readonly<Record<string, unknown>>;
    }
  /** Needle questions at lengths x depths, all heads full and with the mask. Result NeedleResult. */
  | {
      readonly kind: "needle";
      readonly model: string;
      readonly mask?: HeadMask;
      readonly lengths: readonly number[];
      readonly depths: readonly number[];
      readonly needles?: number;
      readonly maxTokens?: number;
      readonly seed?: number;
    }
  /** The smallest mask, by a score, that answers every needle question which all heads answer. Result { mask: string }: its id; its source holds the curve. */
  | {
      readonly kind: "mask-search";
      readonly model: string;
      readonly scores: string;
      readonly metric?: string;
      readonly sink?: number;
      readonly recent?: number;
      readonly lengths: readonly number[];
      readonly depths?: readonly number[];
      readonly needles?: number;
      readonly seed?: number;
    }
  /** Result { experiment, preset, report }: GET /api/experiments/:name/report?id=REPORT has it. */
  | {
      readonly kind: "experiment";
      readonly name: string;
      readonly preset: Preset;
      readonly params?: Readonly<Record<string, unknown>>;
    }
  /** Fetches a model of the catalogue. */
  | { readonly kind: "pull"; readonly model: string; readonly acceptLicence?: boolean };

export interface NeedleResult {
  readonly model: string;
  readonly trials: readonly NeedleTrial[];
}

/** GET /api/scores?model=REF (all without): score documents in the data folder. `id` is the path below it: "start/induction.json". */
export interface ScoresEntry {
  readonly id: string;
  readonly model: HeadModel;
  readonly probe: string;
  readonly metrics: readonly { readonly name: string; readonly axis: "heads" | "kvHeads" }[];
  readonly created?: string;
}
/** GET /api/scores/ID is the headscope.head-scores/1 document; POST /api/scores takes one and gives its ScoresEntry; DELETE removes it. */
export type ScoresDocument = HeadScores;

/** GET /api/masks: as scores. */
export interface MaskEntry {
  readonly id: string;
  readonly model: HeadModel;
  /** KV heads that keep everything, of all; absent for a mask that only ablates. */
  readonly full?: readonly [number, number];
  /** Query heads that are ablated. */
  readonly ablated: number;
  readonly sink: number;
  readonly recent: number;
  readonly source: unknown;
}
/** POST /api/masks: makes a mask document, and keeps it where `name` is given. @returns { mask: HeadMask, id?: string } */
export type MaskRequest = { readonly name?: string; readonly sink?: number; readonly recent?: number } & (
  | {
      readonly scores: string;
      readonly metric?: string;
      readonly top?: number;
      readonly quantile?: number;
      readonly threshold?: number;
    }
  | { readonly model: string; readonly kvHeads: readonly string[] }
  | { readonly model: string; readonly ablate: readonly string[] }
  | { readonly mask: unknown }
);

/** A text, or token ids. `bos` decides whether BOS comes before a text; default as the tokenizer does. */
export type PromptInput = { readonly model: string } & (
  | { readonly text: string; readonly bos?: boolean }
  | { readonly tokens: readonly number[] }
);

/** A token that may come next. */
export interface Candidate {
  readonly id: number;
  readonly text: string;
  readonly probability: number;
}

/** POST /api/prompts (PromptInput): runs the model and keeps what later requests read. */
export interface Prompt {
  /** Names the model's weights and the token ids; later requests give it instead of the tokens. Kept while there is room: 404 says post again. */
  readonly id: string;
  /** With the step, where the model is a run: later requests read the same weights. */
  readonly model: string;
  readonly digest: string;
  readonly ids: readonly number[];
  /** Each token alone as text, the ids in a model without a tokenizer. */
  readonly tokens: readonly string[];
  /** Loss of each token given those before it, from the second on: one fewer than `ids`. */
  readonly nll: readonly number[];
  readonly loss: number | null;
  /** Likeliest tokens after the last one, best first, ten of them. */
  readonly next: readonly Candidate[];
  readonly ms: number;
}

/**
 * GET /api/prompts/ID/activations/HOOK: safetensors with one tensor named as the hook; query parameters below; ETag.
 * GET /api/prompts/ID/patterns/LAYER: the same for the layer's pattern [heads, query, key], `weighted=value` multiplies each
 * key by the norm of what its value writes through W_O (Kobayashi et al. 2020).
 */
export interface SliceQuery {
  /** Heads, with commas: "0,3"; default all. Of k and v KV heads. */
  readonly heads?: string;
  /** Positions or queries [start, end): "0:10". */
  readonly queries?: string;
  /** Keys [start, end), of patterns. */
  readonly keys?: string;
  readonly dtype?: TensorType;
  readonly weighted?: "value";
}

/** POST /api/ablate: a set of heads, beside as many others of the same layers. `rows` instead of `prompt` measures on token rows. */
export interface AblateRequest {
  readonly prompt?: string;
  readonly model?: string;
  readonly rows?: readonly (readonly number[])[];
  readonly heads: readonly string[];
  readonly method?: AblationMethod;
  readonly byPosition?: boolean;
  /** Token rows for mean and resample; default the other rows, or for a single row eight rows of random tokens of its length, after BOS. */
  readonly reference?: readonly (readonly number[])[];
  readonly controls?: number;
  readonly seed?: number;
  readonly topTokens?: number;
  /** A token of the single row by its position (from 1 on) against another in its place: `difference` of the result. */
  readonly contrast?: { readonly position: number; readonly wrong: number };
}
export interface AblateResult {
  readonly model: { readonly ref: string; readonly digest: string };
  readonly heads: readonly string[];
  readonly method: string;
  /** Present where mean or resample drew from random tokens, since a single row was given and no reference. */
  readonly reference?: "random";
  readonly clean: { readonly loss: number; readonly nll: readonly (readonly number[])[] };
  readonly ablated: { readonly loss: number; readonly nll: readonly (readonly number[])[] };
  readonly control?: {
    readonly mean: number;
    readonly range: readonly [number, number];
    /** How many different sets there are to draw, where these are fewer than the draws asked for. */
    readonly ways?: number;
    readonly draws: readonly {
      readonly heads: readonly string[];
      readonly loss: number;
      readonly nll: readonly (readonly number[])[];
    }[];
  };
  /** Why there is no control though it was asked for. */
  readonly noControl?: string;
  /** With a contrast: logit of its token less that of the wrong one, in each run. */
  readonly difference?: { readonly clean: number; readonly ablated: number; readonly draws: readonly number[] };
  /** By row. */
  readonly nextToken: readonly (readonly {
    readonly id: number;
    readonly text?: string;
    readonly clean: number;
    readonly ablated: number;
  }[])[];
  readonly ms: number;
}

/** POST /api/intervene: any interventions on a prompt, as data. */
export interface InterveneRequest {
  readonly prompt: string;
  readonly interventions: readonly Intervention[];
  readonly topTokens?: number;
}
export interface InterveneResult {
  readonly clean: {
    readonly loss: number | null;
    readonly nll: readonly number[];
    readonly next: readonly Candidate[];
  };
  readonly changed: {
    readonly loss: number | null;
    readonly nll: readonly number[];
    readonly next: readonly Candidate[];
  };
  readonly ms: number;
}

/** A pair of prompts of one length, as texts or ids. */
export interface PairInput {
  readonly clean: string | readonly number[];
  readonly corrupt: string | readonly number[];
  readonly answer: string | number;
  readonly wrong: string | number;
}
/** POST /api/pairs: checks a pair and aligns its tokens, without patching. Lengths may differ here. */
export interface PairAlignment {
  readonly clean: { readonly ids: readonly number[]; readonly tokens: readonly string[] };
  readonly corrupt: { readonly ids: readonly number[]; readonly tokens: readonly string[] };
  /** Positions where both have a token and the ids differ. */
  readonly differ: readonly number[];
  /** With its probability after the clean prompt; of a text of several tokens the first. */
  readonly answer: Candidate;
  /** With its probability after the corrupt prompt. */
  readonly wrong: Candidate;
  /** Why it cannot be patched, such as lengths that differ; absent when it can. */
  readonly problem?: string;
}
/** POST /api/patch. `into` and `through` make it path patching (z by head). Long: streams as `text/event-stream` if accepted. */
export interface PatchRequest {
  readonly model: string;
  readonly pairs: readonly PairInput[];
  readonly bos?: boolean;
  readonly node?: PatchNode;
  readonly by?: PatchPlace;
  readonly layers?: readonly number[];
  readonly into?: readonly string[];
  readonly through?: PathEnd;
  /** Of path patching: the direct edge (default), or the MLPs between computed again. */
  readonly form?: PathForm;
}
export interface PatchResponse {
  readonly clean: number;
  readonly corrupt: number;
  /** [layers][heads, positions, or 1]; of k and v the KV heads. */
  readonly patched: readonly (readonly number[])[];
  /** What to bear in mind, such as a clean prompt that does not prefer its answer. */
  readonly notes?: readonly string[];
  /** Of path patching: its form, and whose inputs were changed, query heads as "1.2", KV heads as "KV 1.1". */
  readonly form?: PathForm;
  readonly receivers?: readonly string[];
  readonly ms: number;
}

/**
 * POST /api/generate. With `accept: text/event-stream` the answer is events `token` { id, text, probability } (and `progress`), then
 * one `done` GenerateResult or `error` Problem; otherwise GenerateResult alone. A token's text lags behind where a character
 * lacks bytes or a stop text may have begun; the result's text is whole.
 */
export type GenerateRequest = PromptInput & {
  readonly chat?: boolean;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly seed?: number;
  readonly mask?: HeadMask;
  readonly prefill?: "masked" | "dense";
  /** Zeroed at every position, in the prompt and after. */
  readonly ablate?: readonly string[];
  /** Token ids and texts that end it, beside those that the model's own files name. */
  readonly stop?: readonly Stop[];
  /** Their positions are those of the sequence: the prompt, then the new tokens. */
  readonly interventions?: readonly Intervention[];
};
export interface GenerateResult {
  readonly ids: readonly number[];
  readonly tokens: readonly string[];
  readonly text: string;
  /** Why it ended; what it stopped at is not part of the result. */
  readonly stopped: Stopped;
  readonly promptTokens: number;
  readonly cache: { readonly bytes: number; readonly bytesFull: number };
  readonly prefillMs: number;
  readonly decodeMsPerToken: number;
}

/** POST /api/exports: writes a format below the data folder's exports/. */
export interface ExportRequest {
  readonly format: string;
  /** Id or document; which one the format takes is in its definition. */
  readonly scores?: string | HeadScores;
  readonly mask?: string | HeadMask;
  readonly params?: Readonly<Record<string, unknown>>;
  /** Needed by formats that write weights. */
  readonly model?: string;
}
export interface ExportResult {
  readonly id: string;
  readonly format: string;
  /** Absolute path of the file or folder. */
  readonly path: string;
  /** `url` downloads it; `text` is its beginning where it is text, at most 20 kB. */
  readonly files: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly url: string;
    readonly text?: string;
  }[];
  /** The command line that writes the same. */
  readonly command: string;
}
/** POST /api/imports: another project's head file becomes scores. @returns ScoresEntry. Either the contents by name, or a path inside the data folder or a given root. */
export interface ImportRequest {
  readonly format: string;
  readonly model: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/**
 * GET /api/experiments. What probes said over checkpoints: GET /api/histories?run=ID lists { id, run, probe }.
 * Reports are at GET /api/experiments/NAME/report?id=… (JSON) and …/report.html?id=…; two of them beside each other at
 * GET /api/experiments/NAME/comparison?first=…&second=…: ReportComparison.
 */
export interface ExperimentEntry {
  readonly name: string;
  readonly title: string;
  /** Every report that is kept, newest first. */
  readonly reports: readonly KeptReport[];
}

/**
 * GET /api/events (text/event-stream; `Last-Event-ID` goes on after an event, `reset` says that too many were missed: read everything anew).
 * Event names and their data:
 */
export interface Events {
  /** A job began, moved on or ended. */
  readonly job: JobSummary;
  /** A run changed. */
  readonly run: RunSummary;
  /** Measurements of a run. */
  readonly metrics: {
    readonly run: string;
    readonly step: number;
    readonly values: Readonly<Record<string, number | null>>;
  };
  /** A checkpoint of a run was written. */
  readonly checkpoint: { readonly run: string; readonly step: number };
  /** Scores or masks were written or removed. */
  readonly library: { readonly scores?: string; readonly mask?: string };
  /** The job of `npm start` moved on. */
  readonly start: StartState;
  readonly reset: Record<string, never>;
}
