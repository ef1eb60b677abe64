import type { z } from "zod";
import type { BlockPolicy } from "./blocks.ts";
import type { FormPolicy } from "./form.ts";
import type { HeadPolicy } from "./heads.ts";
import type { InputPolicy } from "./inputs.ts";
import type { ReadPolicy } from "./reads.ts";
import type { TokenPolicy } from "./tokens.ts";

/** A way to hold or to read less of what a model has read. */
export type Policy<S extends z.ZodObject = z.ZodObject> =
  | HeadPolicy<S>
  | BlockPolicy<S>
  | InputPolicy<S>
  | TokenPolicy<S>
  | ReadPolicy<S>
  | FormPolicy<S>;

/** A policy of one kind and its parameters, checked. */
export interface Chosen<P extends Policy> {
  readonly policy: P;
  readonly params: Record<string, unknown>;
  /** Of what it has read before a model was loaded. */
  readonly prepared?: unknown;
}
