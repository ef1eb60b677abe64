import type { z } from "zod";
import type { Frozen } from "../../common/api/fields.ts";
import { type Handler, type Handlers, handlerIn, type Reply } from "../handler.ts";

/** The requests that a person waits for, by name: every file here is one. */
export const requests = {
  describe: () => import("./describe.ts"),
  count: () => import("./count.ts"),
  prompt: () => import("./prompt.ts"),
  activations: () => import("./activations.ts"),
  patterns: () => import("./patterns.ts"),
  "text-scores": () => import("./text-scores.ts"),
  ablate: () => import("./ablate.ts"),
  intervene: () => import("./intervene.ts"),
  pairs: () => import("./pairs.ts"),
  patch: () => import("./patch.ts"),
  "patch-places": () => import("./patch-places.ts"),
  "ablate-each": () => import("./ablate-each.ts"),
  attribute: () => import("./attribute.ts"),
  lens: () => import("./lens.ts"),
  circuit: () => import("./circuit.ts"),
  "circuit-run": () => import("./circuit-run.ts"),
  "circuit-roles": () => import("./circuit-roles.ts"),
  "pair-sample": () => import("./pair-sample.ts"),
  "task-sample": () => import("./task-sample.ts"),
  "run-reference": () => import("./run-reference.ts"),
  generate: () => import("./generate.ts"),
  "generate-batch": () => import("./generate-batch.ts"),
  export: () => import("./export.ts"),
  import: () => import("./import.ts"),
} satisfies Handlers;

/**
 * Loads the handler of a name: of a request, else the worker's part of a kind of job, which the resident worker never loads.
 * @throws HeadscopeError `usage` that lists the nearest names
 */
export async function ownHandler(name: string): Promise<Handler> {
  if (Object.hasOwn(requests, name)) return handlerIn(requests, name);
  const { kinds } = await import("../../jobs/kinds/index.ts");
  const jobs = Object.fromEntries(kinds.map((kind) => [kind.name, async () => ({ request: kind })]));
  return handlerIn({ ...requests, ...jobs }, name);
}

/** Payload, as its sender gives it, and answer of each request. */
export type WorkerRequests = { readonly [K in keyof typeof requests]: Exchange<Loaded<(typeof requests)[K]>> };

type Loaded<L extends () => Promise<unknown>> = Awaited<ReturnType<L>>;
type Exchange<M> = M extends { readonly request: Handler<infer S, infer R> }
  ? { readonly payload: Frozen<z.input<S>>; readonly answer: R extends Reply<infer V> ? V : R }
  : never;
