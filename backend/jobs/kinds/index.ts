import type { Job, JobEnd, Store } from "../../store/store.ts";
import { trainKind } from "./train.ts";

/** What the parent does for one kind of job, besides passing its spec to the handler of that name. */
export interface JobKind {
  /** Called before every attempt. @returns the handler's payload, default the job's spec */
  prepare?(store: Store, job: Job): unknown;
  /** Brings events of the handler into the store, all in one transaction; progress is not among them. */
  apply?(store: Store, job: Job, events: readonly unknown[]): void;
  /** Called in the transaction that ends the job or puts it back. */
  settle?(store: Store, job: Job, end: JobEnd): void;
}

/** Kinds of jobs that need more than their handler. */
export const kinds: Readonly<Record<string, JobKind>> = { train: trainKind };
