import type { z } from "zod";
import { experiment } from "./experiment.ts";
import { history } from "./history.ts";
import { maskSearch } from "./mask-search.ts";
import { needle } from "./needle.ts";
import { probe } from "./probe.ts";
import { pull } from "./pull.ts";
import { train } from "./train.ts";

/** The kinds of jobs that POST /api/jobs takes. */
export const requestedKinds = [probe, history, needle, maskSearch, experiment, pull] as const;

/** Every kind of job that headscope has; trainings come with their runs, by POST /api/runs. */
export const kinds = [train, ...requestedKinds] as const;

/** POST /api/jobs: long work. The result of each kind is what its `run` gives. */
export type JobRequest = ReadonlyDeep<z.input<ReturnType<(typeof requestedKinds)[number]["request"]>>>;

type ReadonlyDeep<T> = T extends object ? { readonly [K in keyof T]: ReadonlyDeep<T[K]> } : T;
