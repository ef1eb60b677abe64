import type { z } from "zod";
import type { HeadMask } from "../../../common/heads/mask.ts";
import type { Prefill } from "../../../common/words.ts";
import type { PolicyDefinition } from "./definition.ts";

/** A choice of heads. */
export interface HeadChoice {
  /** Its streaming heads keep sink and recent tokens only. */
  readonly mask: HeadMask;
  /** Reach of the mask's windows: during the prompt too, or from its end on. */
  readonly prefill: Prefill;
  /** True where streaming heads are cut once, at the end of the prompt, and then grow. */
  readonly once: boolean;
  /** Windows that follow from the prompt's length instead of the mask's, and slide from its end on. */
  readonly slides?: {
    /** Fewest last tokens; default a part of the model's context. */
    readonly least?: number | undefined;
    /** Share of the prompt that is the window, where that is more. */
    readonly part: number;
    /** A row stands for what goes. */
    readonly compensation: boolean;
  };
}

/** A policy that chooses the KV heads that keep everything. */
export interface HeadPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "heads";
  /** Reads what it needs, before a model is loaded. */
  choose(params: z.output<S>): Promise<HeadChoice>;
}
