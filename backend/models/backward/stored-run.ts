import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../../common/options.ts";
import { tf } from "../../runtime/tf.ts";
import { joinChanges } from "../forward/changes.ts";
import { forward } from "../forward/forward.ts";
import type { Affine, ForwardInput, ForwardOptions, HookFunction } from "../forward/types.ts";
import type { Model } from "../model.ts";
import { requireOpenEnd } from "../transformer/bottleneck.ts";
import { blockHook } from "../transformer/hook-points.ts";

/** Input of a run that is gone back through: as of a forward, without a cache and to the end. */
export type BackwardInput = Pick<
  ForwardInput,
  "tokens" | "inputs" | "resid" | "positions" | "softPrompt" | "keyMask" | "windows" | "startLayer"
> & {
  /** Positions whose logits the metric reads: the last of each row (default), all, or a list. */
  logitsAt?: Exclude<ForwardInput["logitsAt"], "none" | undefined>;
};

/** Options of a stored run. */
export interface StoredRunOptions extends Pick<ForwardOptions, "interventions" | "hooks" | "onLayer"> {
  /** Lowest layer to go back through; default the first that runs. Streams below are not kept. */
  firstLayer?: number;
  /** Activations to keep beside the streams. */
  names?: readonly string[];
}

const OPTIONS: Rules<StoredRunOptions> = {
  firstLayer: whole(0),
  names: ANYTHING,
  interventions: ANYTHING,
  hooks: ANYTHING,
  onLayer: FUNCTION,
};

/** A run whose residual streams are kept, one a layer: what a backward pass starts from. The caller disposes it. */
export interface StoredRun {
  readonly model: Model;
  readonly input: BackwardInput;
  /** Tokens of each row. */
  readonly lengths: readonly number[];
  /** Lowest layer whose stream is kept. */
  readonly firstLayer: number;
  /** Streams before layer firstLayer + i, and the last behind all layers [rows, positions, d_model]. */
  readonly streams: readonly Tensor[];
  /** [rows, wanted positions, outputs] */
  readonly logits: Tensor;
  /** Those that `names` asked for, by hook name. */
  readonly activations: ReadonlyMap<string, Tensor>;
  /** Changes of the run, which stay the caller's. */
  readonly interventions: ReadonlyMap<string, Affine>;
  /** Functions that changed activations: they are called again when their block is computed again. */
  readonly hooks: NonNullable<ForwardOptions["hooks"]>;
  dispose(): void;
}

/**
 * Runs a model and keeps the stream before every layer.
 * @throws HeadscopeError as `forward` does, and (usage) for a first layer that does not run
 */
export function storeRun(given: Model, input: BackwardInput, options: StoredRunOptions = {}): StoredRun {
  checkOptions("storeRun", options, OPTIONS);
  // What the model is under is the run's from here on, as its blocks are computed again by hand.
  const model = given.changes ? given.under(undefined) : given;
  const { n_layers } = model.config;
  requireOpenEnd(model.config, "a backward pass");
  const { startLayer = 0, logitsAt = "last" } = input;
  const { firstLayer = startLayer, names = [], onLayer } = options;
  const interventions = joinChanges(given.changes, options.interventions ?? new Map<string, Affine>());
  if (firstLayer < startLayer || firstLayer > n_layers)
    throw new HeadscopeError("usage", `a backward pass can't go down to layer ${firstLayer}`, {
      remedy: `choose from ${startLayer}, where the run starts, to ${n_layers}`,
    });
  const before = Array.from({ length: n_layers - firstLayer }, (_, i) => blockHook(firstLayer + i, "hook_resid_pre"));
  const watched = watchHooks(before, options.hooks ?? []);
  const requests = {
    names: watched.hooks.length > 0 ? names : [...before, ...names],
    interventions,
    hooks: watched.hooks,
    ...(onLayer ? { onLayer } : {}),
  };
  const result = watched.guard(() => forward(model, { ...input, logitsAt }, requests));
  const { lengths, resid, logits, activations } = result;
  const streams = [...before.map((name) => watched.stream(name) ?? activations.get(name)!), resid];
  const all = [...streams, logits!, ...activations.values()];
  return {
    model, input, lengths, firstLayer, streams, logits: logits!, interventions,
    activations: new Map([...activations].filter(([name]) => names.includes(name))),
    hooks: watched.changing(),
    dispose: () => tf.dispose(all),
  }; // biome-ignore format: one object
}

/** A user's hooks, watched: the streams before they change them, and which of them change anything. */
function watchHooks(streams: readonly string[], hooks: NonNullable<ForwardOptions["hooks"]>) {
  const seen = new Map<string, Tensor[]>();
  const changing = new Set<HookFunction>();
  const looks = (name: string): boolean => streams.includes(name);
  const keep: HookFunction = (activation, name) => {
    seen.set(name, [...(seen.get(name) ?? []), tf.keep(tf.clone(activation))]);
  };
  const noted = hooks.map(([point, hook]): [typeof point, HookFunction] => [
    point,
    (activation, name, starts) => {
      const result = hook(activation, name, starts);
      if (result !== undefined) changing.add(hook);
      return result;
    },
  ]);
  return {
    hooks: hooks.length === 0 ? [] : ([[looks, keep], ...noted] as NonNullable<ForwardOptions["hooks"]>),
    /** The stream that came to a hook point, of all its parts. */
    stream(name: string): Tensor | undefined {
      const parts = seen.get(name);
      if (!parts) return undefined;
      if (parts.length === 1) return parts[0];
      const whole = tf.tidy(() => tf.keep(tf.concat(parts, 1)));
      tf.dispose(parts);
      return whole;
    },
    /** Calls a function; frees what was kept where it fails. */
    guard<T>(run: () => T): T {
      try {
        return run();
      } catch (error) {
        tf.dispose([...seen.values()].flat());
        throw error;
      }
    },
    changing: () => hooks.filter(([, hook]) => changing.has(hook)),
  };
}
