import type { Tensor } from "@tensorflow/tfjs";
import { backward } from "../../../models/backward/backward.ts";
import { storeRun } from "../../../models/backward/stored-run.ts";
import { forwardInTurns } from "../../../models/forward/turns.ts";
import type { Model } from "../../../models/model.ts";
import { tf } from "../../../runtime/tf.ts";
import type { Interrupts } from "../../batches.ts";
import type { PairBatch } from "./batch.ts";
import type { Ends, Ways } from "./ways.ts";

/** A descent along the slope of the output's distance. */
export interface GradPath extends Interrupts {
  readonly steps: number;
  /** Of a step, over all positions of a pair together. */
  readonly length: number;
  /** Called with the number of steps that are taken. */
  readonly onStep: (done: number) => void;
}

/** Squares of slopes below which there is no direction to go in: the path stays where it is. */
const FLAT = 1e-24;

/**
 * The way of the embeddings down the slope of the model's output, whose gradients count for the edges from all sources. It begins
 * at the clean prompt's embedding x_0, and step j is x_j = x_{j-1} - length g / |g|, g the gradient at x_{j-1} of
 * |G(x) - G(corrupt)|², with G the logits at all positions. So the way is steps * length long and ends where it ends, not at the
 * corrupt embedding. Share j / steps of it is x_j; x_0 is none. The paper's length is 1.
 *
 * The paper writes a path for the output of every node by itself; its running times are those of one path of the embeddings,
 * which is also what CircuitKIT 0.2 goes for its scores of nodes.
 * Steps as long as the embeddings are apart overshoot: on real models each multiplies rounding errors by hundreds, and a smaller
 * length tames it.
 * @see Zhang et al. 2025, EAP-GP: Mitigating Saturation Effect in Gradient-based Automated Circuit Identification, section 5
 */
export async function gradWay(batch: PairBatch, embeds: Ends, path: GradPath): Promise<Ways> {
  const points = await descend(batch.model, embeds, path);
  const sources = { first: 0, count: batch.graph.sources.length };
  const at = (share: number): Tensor => points[Math.round(share * points.length) - 1]!;
  const rows = (shares: readonly number[]): Tensor =>
    tf.tidy(() => {
      const [pairs, ...rest] = embeds[0].shape as [number, number, number];
      return tf.reshape(tf.stack(shares.map(at), 1), [pairs * shares.length, ...rest]);
    });
  return { ways: [{ sources, startLayer: 0, path: rows }], dispose: () => tf.dispose(points) };
}

/** The points after every step [pairs, positions, d_model]; the caller disposes them. */
async function descend(model: Model, [clean, corrupt]: Ends, path: GradPath): Promise<Tensor[]> {
  const { steps, length, onLayer, turn, onStep } = path;
  const goal = await logitsOf(model, corrupt, path);
  const points: Tensor[] = [];
  try {
    for (let done = 0; done < steps; done++) {
      const from = points.at(-1) ?? clean;
      const run = storeRun(model, { resid: from, logitsAt: "all" }, { onLayer });
      const apart = tf.tidy(() => tf.mul(2, tf.sub(run.logits, goal))); // gradient of the squared distance
      try {
        for (const { layer, resid } of backward(run, apart)) {
          onLayer();
          if (layer === 0) points.push(step(from, resid, length));
          await turn?.();
        }
      } finally {
        apart.dispose();
        run.dispose();
      }
      onStep(done + 1);
    }
    return points;
  } catch (error) {
    tf.dispose(points);
    throw error;
  } finally {
    goal.dispose();
  }
}

/** A step of a length down a slope, for each pair. @param slope [pairs, positions, d_model] */
function step(from: Tensor, slope: Tensor, length: number): Tensor {
  return tf.tidy(() => {
    const squares = tf.sum(tf.square(slope), [1, 2], true);
    const scale = tf.mul(length, tf.rsqrt(tf.add(FLAT, squares)));
    return tf.keep(tf.sub(from, tf.mul(slope, scale)));
  });
}

/** Logits of runs from their embeddings on, at all positions. */
async function logitsOf(model: Model, embed: Tensor, { onLayer, turn }: Interrupts): Promise<Tensor> {
  const input = { resid: embed, startLayer: 0, logitsAt: "all" } as const;
  const { logits, resid } = await forwardInTurns(model, input, { onLayer: () => onLayer() }, turn);
  resid.dispose();
  return logits!;
}
