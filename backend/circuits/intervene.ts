import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../common/options.ts";
import type { Intervention } from "../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions, type Sources } from "../hooks/interventions.ts";
import { forwardInTurns } from "../models/forward/turns.ts";
import type { Affine } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { gatherRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";
import { checkLossRows, meanLoss, residLossesInTurns, type TokenLosses } from "./loss.ts";
import { type NextToken, nextTokens } from "./next-tokens.ts";

/** A run to change, and how. */
export interface InterveneOptions {
  /** Rows of token ids [rows][positions], at least two tokens each. */
  tokens: readonly (readonly number[])[];
  interventions: readonly Intervention[];
  /** The activations that `with` of the interventions refers to. */
  sources?: Sources;
  /** Next tokens shown for each row. Default 5. */
  topTokens?: number;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<InterveneOptions> = {
  tokens: { wants: "rows of token ids", fits: (rows) => Array.isArray(rows) && rows.length > 0 },
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  sources: ANYTHING,
  topTokens: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** The effect of interventions. */
export interface Intervened {
  model: { ref: string; digest: string };
  clean: TokenLosses;
  changed: TokenLosses;
  /** By row: the likeliest tokens after its end, by the larger of the two probabilities; `ablated` is with the interventions. */
  nextToken: NextToken[][];
}

/**
 * Runs rows with interventions and without, and measures the loss and the next token's probabilities.
 * @throws HeadscopeError for what `compileInterventions` refuses, rows of fewer than two tokens, changes of the final norm's
 * inside, and losses that are no numbers
 */
export async function intervene(model: Model, options: InterveneOptions): Promise<Intervened> {
  checkOptions("intervene", options, OPTIONS, ["tokens", "interventions"]);
  const { tokens, interventions, topTokens = 5, sources, progress, signal, turn = loopTurn(signal) } = options;
  checkLossRows(tokens);
  const positions = Math.max(...tokens.map((row) => row.length));
  const compiled = compileInterventions(model, interventions, { rows: tokens.length, positions, tokens, ...sources });
  const tensors: Tensor[] = [];
  const { n_layers } = model.config;
  const run = async (changes: ReadonlyMap<string, Affine>, done: number): Promise<TokenLosses & { ends: Tensor }> => {
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      progress?.(done * n_layers + layer, 2 * n_layers, "interventions, layers");
    };
    const options = { interventions: changes, onLayer };
    const { resid } = await forwardInTurns(model, { tokens, logitsAt: "none" }, options, turn);
    tensors.push(resid);
    const nll = await residLossesInTurns(model, resid, tokens, { turn, interventions: changes });
    const index = tokens.map((row, r) => r * positions + row.length - 1);
    const ends = tf.tidy(() => gatherRows(tf.reshape(resid, [-1, model.config.d_model]), tf.tensor1d(index, "int32")));
    tensors.push(ends);
    return { loss: meanLoss(nll), nll, ends };
  };
  try {
    refuseEnd(compiled);
    const { ends: before, ...clean } = await run(new Map(), 0);
    await turn();
    const { ends: after, ...changed } = await run(compiled, 1);
    return {
      model: { ref: model.ref, digest: model.digest },
      clean,
      changed,
      nextToken: nextTokens(model, before, after, { tokens, count: topTokens }),
    };
  } finally {
    tf.dispose(tensors);
    disposeInterventions(compiled);
  }
}

/**
 * The final norm's inputs are chosen positions, not all of them: losses are made in parts.
 * @throws HeadscopeError (unsupported) for a change there
 */
export function refuseEnd(compiled: ReadonlyMap<string, Affine>): void {
  const end = [...compiled.keys()].find((hook) => hook.startsWith("ln_final."));
  if (end !== undefined)
    throw new HeadscopeError("unsupported", `${end} can't be changed here`, {
      remedy: "change the last block's hook_resid_post, which it reads",
    });
}
