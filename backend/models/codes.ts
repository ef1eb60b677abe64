import { tf } from "../runtime/tf.ts";
import { forward } from "./forward/forward.ts";
import type { Model } from "./model.ts";
import { normalise } from "./transformer/block.ts";
import { nearestCodes, requireCodes } from "./transformer/bottleneck.ts";
import { UNHOOKED } from "./transformer/hook.ts";

/**
 * The codes of a model's bottleneck at every token of sequences: what the outputs of the next token are computed from.
 * @returns by sequence [positions, heads], each head's codes counted from 0
 * @throws HeadscopeError (unsupported) for a model without a bottleneck
 */
export async function codesOf(model: Model, sequences: readonly (readonly number[])[]): Promise<Int32Array[]> {
  const { config, weights } = model;
  const bottleneck = requireCodes(config);
  const { heads, codes } = bottleneck;
  const { resid, dispose } = forward(model, { tokens: sequences.map((row) => [...row]), logitsAt: "none" });
  const chosen = tf.tidy(() => {
    const stream = tf.reshape(resid, [-1, config.d_model]);
    const z = config.final_norm ? normalise(stream, weights.lnFinal, "ln_final", { config, hook: UNHOOKED }) : stream;
    return nearestCodes(z, weights.codes!.widen(), bottleneck); // [rows * positions * heads]
  });
  dispose();
  const all = (await chosen.data()) as Int32Array;
  chosen.dispose();
  const length = all.length / sequences.length;
  return sequences.map((row, r) =>
    all.slice(r * length, r * length + row.length * heads).map((code, i) => code - (i % heads) * codes),
  );
}
