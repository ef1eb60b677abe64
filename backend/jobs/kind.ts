import { createHash } from "node:crypto";
import { z } from "zod";
import type { Bounds, Data } from "../common/api/fields.ts";
import { brief } from "../common/errors.ts";
import type { HeadMask } from "../common/heads/mask.ts";
import type { HeadScores } from "../common/heads/scores.ts";
import { writablePath } from "../files.ts";
import { formatJson } from "../json.ts";
import { dataDir, writeFileAtomic } from "../paths.ts";
import type { Job, JobEnd, JobSubject, Store } from "../store/store.ts";
import type { Handler, HandlerContext } from "../workers/handler.ts";
import { modelIn } from "./protocol.ts";

/** The parent's part of a kind of job. */
export interface QueuedKind<Spec = unknown, Payload = unknown> {
  readonly name: string;
  /** A job's work in words: "induction on smollm2-135m". */
  title(spec: Spec): string;
  /** Called in the parent before every attempt. @returns the worker's payload, default the job's spec */
  prepare?(store: Store, job: Job): Payload;
  /** Brings events of the worker into the store, all in one transaction; progress is not among them. */
  apply?(store: Store, job: Job, events: readonly unknown[]): void;
  /** Called in the transaction that ends the job or puts it back. */
  settle?(store: Store, job: Job, end: JobEnd): void;
}

/** One kind of job: the parent's part, and the worker's. */
export interface JobKind<Spec = unknown, Payload = unknown, R = unknown>
  extends QueuedKind<Spec, Payload>,
    Handler<z.ZodType<Payload>, R> {}

/** The surroundings in which a request is checked: what its server has. */
export interface JobPremises {
  /** The data folder, absolute. */
  readonly folder: string;
  readonly store: Store;
  readonly models: {
    /** The reference as workers take it. @throws HeadscopeError, Refusal for a model that may not be opened */
    allowed(ref: string): Promise<string>;
  };
  readonly library: {
    /** @throws Refusal 404 */
    readScores(id: string): Promise<HeadScores>;
    /** @throws Refusal 404 */
    readMask(id: string): Promise<HeadMask>;
  };
}

type RequestSchema<N extends string, F extends z.ZodRawShape> = z.ZodObject<
  { kind: z.ZodLiteral<N> } & F,
  z.core.$strict
>;
type Spec<N extends string, F extends z.ZodRawShape> = z.output<RequestSchema<N, F>>;

/** A kind of job that POST /api/jobs takes: the request, checked, is the job's spec and the worker's payload. */
export interface RequestedKind<
  N extends string = string,
  F extends z.ZodRawShape = z.ZodRawShape,
  R extends z.ZodType = z.ZodType,
> extends JobKind<Spec<N, F>, Spec<N, F>, Data<R>> {
  readonly name: N;
  /** Schema of what `run` gives, which the job keeps. */
  readonly result: R;
  /** Schema of the request within a server's bounds. */
  request(bounds: Bounds): RequestSchema<N, F>;
  /**
   * Refuses at once what the job would fail with after a while.
   * @returns the spec as the worker takes it
   * @throws HeadscopeError for names and parameters that headscope does not have
   */
  check(request: Spec<N, F>, premises: JobPremises): Promise<Spec<N, F>>;
}

/** A kind of job from its parts; `fields` are those of the request beside `kind`. */
export function jobKind<const N extends string, F extends z.ZodRawShape, R extends z.ZodType>(definition: {
  readonly name: N;
  readonly result: R;
  fields(bounds: Bounds): F;
  title(spec: Spec<N, F>): string;
  check(request: Spec<N, F>, premises: JobPremises): Promise<Spec<N, F>>;
  run(payload: Spec<N, F>, context: HandlerContext): Promise<Data<R>>;
}): RequestedKind<N, F, R> {
  const { name, fields, result, title, check, run } = definition;
  const payload = z.custom<Spec<N, F>>(); // checked when it was asked for, within the bounds of that time
  const request = (bounds: Bounds) => z.strictObject({ kind: z.literal(name), ...fields(bounds) });
  return { name, request, result, payload, title, check, run };
}

/**
 * The subject of a job, told once, when it is queued: its spec may be long, and lists are asked for all the time.
 * @param kind undefined for one that headscope does not have, whose name is its title then
 */
export function subjectOf(kind: Pick<QueuedKind, "title"> | undefined, spec: unknown): JobSubject {
  const model = modelIn(spec);
  return {
    ...(kind === undefined ? {} : { title: brief(kind.title(spec)) }),
    ...(model === undefined ? {} : { model: brief(model, 512) }),
  };
}

/** Eight hexadecimal digits that tell results apart: the same work gives the same name and replaces the older result. */
export function shortHash(work: unknown): string {
  return createHash("sha256").update(JSON.stringify(work)).digest("hex").slice(0, 8);
}

/** Writes a document into the data folder, whole or not at all. @param id path below it, with slashes @returns `id` */
export async function writeResult(id: string, document: unknown): Promise<string> {
  await writeFileAtomic(await writablePath(dataDir(), id), `${formatJson(document)}\n`);
  return id;
}
