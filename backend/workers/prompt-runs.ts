import type { Tensor } from "@tensorflow/tfjs";
import { residLossesInTurns } from "../circuits/loss.ts";
import { HeadscopeError } from "../common/errors.ts";
import { forward } from "../models/forward/forward.ts";
import { forwardInTurns } from "../models/forward/turns.ts";
import type { ForwardInput } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { blockHook, isPattern } from "../models/transformer/hook-points.ts";
import { Recent } from "../runtime/recent.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";

/** A model's run on one prompt. */
export interface PromptRun {
  /** Loss of each token given those before it, one fewer than the ids; empty for models that predict no tokens. */
  readonly nll: readonly number[];
  /**
   * Residual stream [1, positions, d_model] before each layer and after the last, n_layers + 1 of them, owned by the store;
   * undefined where they would not fit into it.
   */
  readonly streams: readonly Tensor[] | undefined;
  readonly bytes: number;
}

/** Manners of long work: the signal that ends it, turns in which others get in, and its progress. */
export interface Pacing {
  readonly signal?: AbortSignal;
  readonly turn?: Turn;
  readonly progress?: (done: number, total: number, label: string) => void;
}

/** Tokens from which on it is told how far the reading of a text is. */
export const LONG_PROMPT = 256;

/** Bytes of residual streams that are kept. */
const MOST = 512 * 2 ** 20;

/**
 * The residual stream before every layer of recent prompts: a look at one layer then runs one layer. Those used least recently
 * are freed where room is needed.
 */
export class PromptRuns {
  readonly #most: number;
  /** By model and ids. */
  readonly #runs: Recent<PromptRun>;

  constructor(most = MOST) {
    this.#most = most;
    this.#runs = new Recent({
      bytes: most,
      size: ({ bytes }) => bytes,
      free: ({ streams = [] }) => tf.dispose([...streams]),
    });
  }

  /** Bytes of streams held. */
  get bytes(): number {
    return this.#runs.bytes;
  }

  /** Keeps all that is held now until the returned function is called, whatever others ask for meanwhile. */
  hold(): () => void {
    return this.#runs.hold();
  }

  /**
   * The run of a model on a prompt, from the store or made now. Its streams live at least until the next call.
   * @param pacing of a run that must be made
   * @throws HeadscopeError for ids outside the vocabulary or beyond the context; what the work was given up with
   */
  async of(model: Model, ids: readonly number[], pacing: Pacing = {}): Promise<PromptRun> {
    const key = `${model.digest} ${ids.join(",")}`;
    return this.#runs.get(key) ?? this.#runs.set(key, await makeRun(model, ids, this.#most, pacing));
  }

  /**
   * Uses the residual stream before a layer (n_layers: after the last): a stored one, or one made for this.
   * @param look layer, and the manner of a run that must be made
   * @param use takes the stream [1, positions, d_model] and does not dispose it
   */
  async withStream<T>(
    model: Model,
    ids: readonly number[],
    { layer, ...pacing }: Pacing & { layer: number },
    use: (stream: Tensor) => T | Promise<T>,
  ): Promise<T> {
    const { streams } = await this.of(model, ids, pacing);
    if (streams) return use(streams[layer]!);
    const onLayer = () => pacing.signal?.throwIfAborted();
    const input = { tokens: [ids], stopLayer: layer, logitsAt: "none" } as const;
    const { resid } = await forwardInTurns(model, input, { onLayer }, pacing.turn);
    try {
      return await use(resid);
    } finally {
      resid.dispose();
    }
  }

  /**
   * Looks at activations of one block of a prompt's run: only that block runs, from the stream before it.
   * @param look layer of the block, hook names of it, and the manner of a run that must be made
   * @param use takes the activations by name [1, ...], which are freed afterwards, as is all that it makes but its result
   * @throws HeadscopeError (input) for patterns over 1 GiB
   */
  async atLayer(
    model: Model,
    ids: readonly number[],
    { names, ...look }: Pacing & { layer: number; names: readonly string[] },
    use: (activations: ReadonlyMap<string, Tensor>) => Tensor,
  ): Promise<Tensor> {
    if (names.some(isPattern)) checkPatternBytes(model, ids.length);
    const { layer } = look;
    return this.withStream(model, ids, look, (resid) =>
      withForward(model, { resid, startLayer: layer, stopLayer: layer + 1, logitsAt: "none" }, names, use),
    );
  }

  /** Frees them all. */
  dispose(): void {
    this.#runs.clear();
  }
}

/** Bytes of a layer's pattern at most. */
const MOST_PATTERN = 2 ** 30;

function checkPatternBytes({ config }: Model, tokens: number): void {
  const most = Math.floor(Math.sqrt(MOST_PATTERN / 4 / config.n_heads));
  if (tokens > most)
    throw new HeadscopeError("input", `the patterns of ${tokens} tokens do not fit into memory`, {
      remedy: `give at most ${most} tokens`,
    });
}

/** Runs a forward for the sake of some activations, uses them and frees everything but the result. */
export function withForward(
  model: Model,
  input: ForwardInput,
  names: readonly string[],
  use: (activations: ReadonlyMap<string, Tensor>) => Tensor,
): Tensor {
  const result = forward(model, input, { names });
  try {
    return tf.tidy(() => use(result.activations));
  } finally {
    result.dispose();
  }
}

async function makeRun(model: Model, ids: readonly number[], most: number, pacing: Pacing): Promise<PromptRun> {
  const { n_layers, d_model } = model.config;
  const bytes = (n_layers + 1) * ids.length * d_model * 4;
  const keep = bytes <= most;
  const names = keep ? Array.from({ length: n_layers }, (_, l) => blockHook(l, "hook_resid_pre")) : [];
  const { turn = loopTurn(pacing.signal) } = pacing;
  const onLayer = (layer: number) => {
    pacing.signal?.throwIfAborted();
    if (ids.length >= LONG_PROMPT) pacing.progress?.(layer, n_layers, "reading the text, layers");
  };
  const result = await forwardInTurns(model, { tokens: [ids], logitsAt: "none" }, { names, onLayer }, pacing.turn);
  let nll: readonly number[];
  try {
    nll = ids.length < 2 ? [] : (await residLossesInTurns(model, result.resid, [ids], { turn }))[0]!;
  } catch (error) {
    result.dispose();
    throw error;
  }
  if (keep) return { nll, streams: [...names.map((name) => result.activations.get(name)!), result.resid], bytes };
  result.dispose();
  return { nll, streams: undefined, bytes: 0 };
}
