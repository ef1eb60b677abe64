import { brief } from "../common/errors.ts";

/** What a job is about: what lists show in place of its spec. */
export interface JobSubject {
  /** What it does, in words. */
  readonly title: string;
  /** The model that it is about, where there is one. */
  readonly model?: string;
}

/** What the specs of headscope's kinds of jobs may hold. */
interface Spec {
  readonly runs?: readonly string[];
  readonly probes?: readonly { readonly name: string }[];
  readonly model?: unknown;
  readonly run?: string;
  readonly probe?: string;
  readonly name?: string;
  readonly preset?: string;
}

/** Titles by kind; a kind that is not here is its own title. `schema.ts` says the same in SQL for jobs of older versions. */
const TITLES: Readonly<Record<string, (spec: Spec) => string>> = {
  train: ({ runs = [] }) => `training ${runs.join(", ")}`,
  probe: ({ probes = [], model }) => `${probes.map(({ name }) => name).join(", ")} on ${model}`,
  history: ({ probe, run }) => `${probe} over the checkpoints of ${run}`,
  needle: ({ model }) => `needle questions to ${model}`,
  "mask-search": ({ model }) => `smallest mask of ${model}`,
  experiment: ({ name, preset }) => `experiment ${name}, ${preset}`,
  pull: ({ model }) => `fetching ${model}`,
};

/** What a job is about, told once, when it is queued: its spec may be long, and lists are asked for all the time. */
export function subjectOf(kind: string, spec: unknown): JobSubject {
  const given = (spec !== null && typeof spec === "object" ? spec : {}) as Spec;
  const title = Object.hasOwn(TITLES, kind) ? TITLES[kind]!(given) : kind;
  return { title: brief(title), ...(typeof given.model === "string" ? { model: brief(given.model, 512) } : {}) };
}
