import type { Intervention } from "../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../hooks/interventions.ts";
import { forwardInTurns } from "../models/forward/turns.ts";
import type { ForwardInput, ForwardOptions, ForwardResult } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import type { Turn } from "../runtime/turn.ts";
import { refuseEnd } from "./intervene.ts";

/** Names and logits that a run of one prompt gives, and who waits for it. */
export interface ChangedRunOptions extends Pick<ForwardOptions, "names" | "onLayer"> {
  logitsAt: NonNullable<ForwardInput["logitsAt"]>;
  turn: Turn | undefined;
}

/**
 * A run of one prompt under interventions, which may be none.
 * @throws HeadscopeError for what `compileInterventions` refuses, and changes of the final norm's inside
 */
export async function changedRun(
  model: Model,
  tokens: readonly number[],
  interventions: readonly Intervention[],
  { logitsAt, turn, ...options }: ChangedRunOptions,
): Promise<ForwardResult> {
  const compiled = compileInterventions(model, interventions, { rows: 1, positions: tokens.length, tokens: [tokens] });
  try {
    refuseEnd(compiled);
    return await forwardInTurns(model, { tokens: [tokens], logitsAt }, { ...options, interventions: compiled }, turn);
  } finally {
    disposeInterventions(compiled);
  }
}
