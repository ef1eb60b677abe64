import type { Tensor } from "@tensorflow/tfjs";
import { METRICS } from "../../common/metrics.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { pairMeasure } from "../metrics/measure.ts";
import { type TokenPair, tokenPairs } from "../pairs.ts";
import { circuitsPerBatch, type EdgeSet, type PairRuns, runCircuits } from "./assembled-run.ts";
import { EdgeGraph } from "./graph.ts";
import { checkInsideNodes } from "./layer-stages.ts";
import { checkSources, runSources } from "./source-run.ts";
import type { CircuitWork } from "./work.ts";

/** A value of a pair's two whole runs. */
interface Sides {
  clean: number;
  corrupt: number;
}

/** A pair whose whole runs are held. */
interface HeldPair {
  readonly runs: PairRuns;
  readonly metrics: Sides;
  /** logit(answer) - logit(wrong), whatever is measured. */
  readonly differences: Sides;
  /** Of the clean run [1, 1, outputs]. */
  readonly cleanLogits: Tensor;
}

/** Manners of some of a session's runs; those left out are the session's own. */
export interface RunManner extends Pick<CircuitWork, "signal" | "turn"> {
  /** Called with the number of runs done. */
  onCircuits?: ((done: number) => void) | undefined;
}

/** Pairs whose whole runs are held, so that circuits can be run on them again and again. The caller disposes it. */
export class CircuitSession {
  readonly model: Model;
  readonly graph: EdgeGraph;
  readonly #pairs: HeldPair[] = [];
  readonly #work: CircuitWork;

  private constructor(model: Model, work: CircuitWork) {
    this.model = model;
    this.graph = new EdgeGraph(model.config);
    this.#work = work;
  }

  /** Runs both sides of every pair. @throws HeadscopeError for pairs that `tokenPairs` refuses, and what does not fit into memory */
  static async open(model: Model, work: CircuitWork): Promise<CircuitSession> {
    checkInsideNodes(model);
    const session = new CircuitSession(model, work);
    const pairs = tokenPairs(model, work.pairs, { prependBos: work.prependBos });
    const tokens = pairs.reduce((sum, { clean }) => sum + clean.length, 0);
    checkSources(model, session.graph, tokens);
    try {
      for (const pair of pairs) await session.#hold(pair);
    } catch (error) {
      session.dispose();
      throw error;
    }
    return session;
  }

  /** Metrics of the whole runs, by pair. */
  get whole(): Sides[] {
    return this.#pairs.map(({ metrics }) => metrics);
  }

  /** Logit differences of the whole runs, by pair, for the doubts about them. */
  get differences(): Sides[] {
    return this.#pairs.map(({ differences }) => differences);
  }

  /** Bytes of what is held. */
  get bytes(): number {
    const own = ({ runs, cleanLogits }: HeldPair): number =>
      4 * (runs.cleanEmbed.size + cleanLogits.size) + runs.corrupt.bytes;
    return this.#pairs.reduce((sum, pair) => sum + own(pair), 0);
  }

  /** Metrics of circuits. @returns [circuits][pairs] */
  async run(circuits: readonly EdgeSet[], manner: RunManner = {}): Promise<number[][]> {
    const { signal = this.#work.signal, turn = this.#work.turn, onCircuits } = manner;
    const metrics: number[][] = circuits.map(() => []);
    let done = 0;
    for (const { runs } of this.#pairs) {
      const size = circuitsPerBatch(runs);
      for (let first = 0; first < circuits.length; first += size) {
        const part = circuits.slice(first, first + size);
        const values = await runCircuits(runs, part, { onLayer: () => signal?.throwIfAborted(), turn });
        values.forEach((value, i) => {
          metrics[first + i]!.push(value);
        });
        done += part.length;
        onCircuits?.(done);
        await (turn ?? loopTurn(signal))();
      }
    }
    return metrics;
  }

  dispose(): void {
    for (const { runs, cleanLogits } of this.#pairs.splice(0)) {
      tf.dispose([runs.cleanEmbed, cleanLogits]);
      runs.corrupt.dispose();
    }
  }

  get #interrupts() {
    const { signal, turn } = this.#work;
    return { onLayer: () => signal?.throwIfAborted(), turn };
  }

  async #between(): Promise<void> {
    await (this.#work.turn ?? loopTurn(this.#work.signal))();
  }

  async #hold(pair: TokenPair): Promise<void> {
    const { model, graph } = this;
    const clean = await runSources(model, pair, "clean", this.#interrupts);
    const [cleanEmbed, cleanLogits] = [tf.clone(clean.pre[0]!), tf.clone(clean.logits)];
    clean.dispose();
    try {
      const corrupt = await runSources(model, pair, "corrupt", this.#interrupts);
      const measure = pairMeasure(this.#work.metric ?? METRICS[0], pair, cleanLogits);
      this.#pairs.push({
        runs: { model, graph, pair, cleanEmbed, corrupt, measure },
        metrics: { clean: measure(cleanLogits)[0]!, corrupt: measure(corrupt.logits)[0]! },
        differences: { clean: clean.difference, corrupt: corrupt.difference },
        cleanLogits,
      });
    } catch (error) {
      tf.dispose([cleanEmbed, cleanLogits]);
      throw error;
    }
    await this.#between();
  }
}
