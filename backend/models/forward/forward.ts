import { tf } from "../../runtime/tf.ts";
import type { Model } from "../model.ts";
import { joinChunks, withoutPadding } from "./chunks.ts";
import { embed, logitsOf } from "./ends.ts";
import { LayerPass } from "./layer.ts";
import { ForwardPass } from "./pass.ts";
import { checkForward } from "./plan.ts";
import type { ForwardInput, ForwardOptions, ForwardResult } from "./types.ts";

let begun = 0;

/** Runs that this process has begun: forwards, of a part of a prompt or of one token too, and ways back. */
export function runsBegun(): number {
  return begun;
}

/** Counts a run. */
export function countRun(): void {
  begun++;
}

/**
 * Runs the transformer. One function serves prefill, decode, any range of layers, interventions and hooks:
 * what can be data runs as captured functions, a user's JavaScript hooks run op by op.
 * @throws HeadscopeError for ids outside the vocabulary, inputs beyond the context, unknown hook names and options
 */
export function forward(model: Model, input: ForwardInput, options: ForwardOptions = {}): ForwardResult {
  checkForward(model, input, options);
  countRun();
  const pass = new ForwardPass(model, input, options);
  const { plan, activations, reductions } = pass;
  try {
    const { resid, logits } = tf.tidy(() => {
      let streams = plan.chunks.map((chunk) => embed(pass, chunk));
      for (let layer = plan.startLayer; layer < plan.stopLayer; ) {
        const blocks = new LayerPass(pass, layer);
        for (const end = layer + blocks.count; layer < end; layer++) options.onLayer?.(layer);
        streams = blocks.run(streams);
      }
      const resid = joinChunks(
        streams.map(({ x }) => x),
        plan,
        model.config.d_model,
      );
      const logits = plan.stopLayer < model.config.n_layers ? undefined : logitsOf(pass, resid);
      const everywhere = (input.logitsAt ?? "all") === "all";
      return {
        resid: withoutPadding(resid, "", plan),
        ...(logits ? { logits: everywhere ? withoutPadding(logits, "", plan) : logits } : {}),
      };
    });
    pass.clearPadding();
    if (!input.places) plan.cache?.advance(plan.lengths);
    const { lengths } = plan;
    const all = [resid, ...(logits ? [logits] : []), ...pass.collected];
    return { lengths, resid, ...(logits ? { logits } : {}), activations, reductions, dispose: () => tf.dispose(all) };
  } catch (error) {
    tf.dispose(pass.collected);
    // Rings of the layers that have run hold new tokens in the place of those before.
    if (plan.places.some(({ late }) => late)) plan.cache?.dispose();
    throw error;
  } finally {
    pass.dispose();
  }
}
