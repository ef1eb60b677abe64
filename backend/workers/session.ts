import { ablate } from "../circuits/ablation/ablate.ts";
import { forward } from "../models/forward/forward.ts";
import type { Model } from "../models/model.ts";
import { blockHook } from "../models/transformer/hook-points.ts";
import { pause } from "../runtime/turn.ts";
import { CircuitRuns } from "./circuit-runs.ts";
import { type HandlerContext, progressTo } from "./handler.ts";
import { OpenModels } from "./open-models.ts";
import { type Pacing, PromptRuns } from "./prompt-runs.ts";

/** Models and runs that this worker process keeps between requests. */
export const session = { models: new OpenModels(), runs: new PromptRuns(), circuits: new CircuitRuns() };

/** The manners of a handler's long work; what it works with stays while short requests are let in. */
export function pacingOf({ signal, turn, emit }: HandlerContext): Required<Pacing> {
  const hold = (): (() => void) => {
    const ends = [session.models.hold(), session.runs.hold(), session.circuits.hold()];
    return () => {
      for (const end of ends) end();
    };
  };
  return { signal, turn: () => turn(hold), progress: progressTo(emit) };
}

/** Tokens of a prompt whose ablation is compiled in advance; with longer ones the computation counts, not the compiling. */
const MOST_ABLATED = 160;

/**
 * Compiles what is likely to be asked of a prompt next, on as few layers as show every function: a head's pattern, and an
 * ablation with the usual number of controls. Nothing of it is kept but the compiled functions.
 */
export async function prepare(model: Model, ids: readonly number[], signal: AbortSignal): Promise<void> {
  const { streams, nll } = await session.runs.of(model, ids, { signal });
  if (!streams || ids.length < 2) return;
  const names = [blockHook(0, "attn.hook_pattern")];
  const onLayer = () => signal.throwIfAborted();
  const range = { startLayer: 0, stopLayer: 1, logitsAt: "none" as const };
  forward(model, { resid: streams[0]!, ...range }, { names, onLayer }).dispose();
  if (ids.length > MOST_ABLATED) return;
  await pause();
  // The changed layer, two untouched ones after each other, the end.
  const layer = Math.max(0, model.config.n_layers - 3);
  const clean = { streams, nll: [nll] };
  await ablate(model, { tokens: [ids], heads: [{ layer, head: 0 }], method: "zero", clean, signal });
}
