import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { forward } from "../models/forward/forward.ts";
import type { ForwardOptions } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { blockHook, blockHookNames, hookNames, isPattern } from "../models/transformer/hook-points.ts";
import { tf } from "../runtime/tf.ts";

/** Tokens up to which patterns are looked into as well: they grow with the square. */
const PATTERNS = 1024;

/** True where all of some numbers are finite. */
export function allFinite(values: ArrayLike<number>): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

/**
 * The hook point of a run at which numbers that are none (NaN or infinite) first arise, "the logits" behind the last of them;
 * undefined where there are none.
 * @param tokens rows of token ids [rows][positions]
 */
function firstNotFinite(
  model: Model,
  tokens: readonly (readonly number[])[],
  options: Pick<ForwardOptions, "interventions" | "hooks"> = {},
): string | undefined {
  const { n_layers } = model.config;
  let { resid } = forward(model, { tokens, stopLayer: 0 }, options);
  try {
    if (!finite(resid)) return "hook_embed";
    for (let layer = 0; layer < n_layers; layer++) {
      const input = { resid, startLayer: layer, stopLayer: layer + 1, logitsAt: "none" } as const;
      const next = forward(model, input, options).resid;
      if (!finite(next)) {
        next.dispose();
        return firstOfLayer(model, input, options);
      }
      resid.dispose();
      resid = next;
    }
    return firstAtTheEnd(model, resid, options);
  } finally {
    resid.dispose();
  }
}

function firstOfLayer(
  model: Model,
  input: { resid: Tensor; startLayer: number; stopLayer: number; logitsAt: "none" },
  options: Pick<ForwardOptions, "interventions" | "hooks">,
): string {
  const long = input.resid.shape[1]! > PATTERNS;
  const names = blockHookNames(model.config, input.startLayer)
    .filter((name) => !long || !isPattern(name))
    .map((name) => blockHook(input.startLayer, name));
  const result = forward(model, input, { ...options, names });
  const first = names.find((name) => !finite(result.activations.get(name)!));
  result.dispose();
  return first ?? blockHook(input.startLayer, "hook_resid_post");
}

/** The same behind the last layer: in the final norm, or in the logits. */
function firstAtTheEnd(
  model: Model,
  resid: Tensor,
  options: Pick<ForwardOptions, "interventions" | "hooks">,
): string | undefined {
  const names = hookNames(model.config).filter((name) => name.startsWith("ln_final."));
  const result = forward(model, { resid, startLayer: model.config.n_layers, logitsAt: "last" }, { ...options, names });
  const first = names.find((name) => !finite(result.activations.get(name)!));
  const place = first ?? (finite(result.logits!) ? undefined : "the logits");
  result.dispose();
  return place;
}

function finite(t: Tensor): boolean {
  return tf.tidy(() => tf.all(tf.isFinite(t)).dataSync()[0] === 1);
}

/**
 * The error for results that are no numbers, with the place where they arose.
 * @param what the results, such as "the losses"; the error starts with it
 * @param tokens of the run; without its changes the place is looked for in the clean run
 */
export function notFinite(
  model: Model,
  what: string,
  tokens: readonly (readonly number[])[],
  options: Pick<ForwardOptions, "interventions" | "hooks"> = {},
): HeadscopeError {
  const place = firstNotFinite(model, tokens, options);
  const changed = (options.interventions?.size ?? 0) + (options.hooks?.length ?? 0) > 0;
  const where = place === undefined ? "" : `: the first NaN or infinity is at ${place}`;
  return new HeadscopeError("input", `${what} in ${model.ref} are no numbers${where}`, {
    remedy:
      changed || place === undefined
        ? "put smaller numbers where the run is changed"
        : "look at the weights there: the model is damaged, or its training diverged",
  });
}
