import type { Data, Input } from "../../common/api/fields.ts";
import { evaluate } from "./evaluate.ts";
import { experiment } from "./experiment.ts";
import { history } from "./history.ts";
import { maskSearch } from "./mask-search.ts";
import { needle } from "./needle.ts";
import { probe } from "./probe.ts";
import { pull } from "./pull.ts";
import { sweep } from "./sweep.ts";
import { train } from "./train.ts";

/** The kinds of jobs that POST /api/jobs takes. */
export const requestedKinds = [probe, history, needle, maskSearch, evaluate, experiment, sweep, pull] as const;

/** Every kind of job that headscope has; trainings come with their runs, by POST /api/runs. */
export const kinds = [train, ...requestedKinds] as const;

/** Results of finished jobs, by kind. */
export type JobResults = { readonly [K in (typeof kinds)[number] as K["name"]]: Data<K["result"]> };

/** A request for a job. */
export type JobRequest = Input<(typeof requestedKinds)[number]["request"]>;
