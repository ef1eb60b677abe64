import type { Tensor } from "@tensorflow/tfjs";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { circuitsPerBatch, type EdgeSet, runCircuits } from "../edges/assembled-run.ts";
import { EdgeGraph } from "../edges/graph.ts";
import { checkRoom } from "../edges/room.ts";
import type { CircuitWork } from "../edges/run-circuit.ts";
import { runSources, type SourceRun } from "../edges/source-run.ts";
import { type TokenPair, tokenPairs } from "../pairs.ts";

/** A pair whose whole runs are held. */
interface HeldPair {
  readonly pair: TokenPair;
  readonly clean: number;
  readonly cleanEmbed: Tensor;
  readonly corrupt: SourceRun;
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
    const session = new CircuitSession(model, work);
    const pairs = tokenPairs(model, work.pairs, { prependBos: work.prependBos });
    const tokens = pairs.reduce((sum, { clean }) => sum + clean.length, 0);
    checkRoom(model, session.graph, tokens);
    try {
      for (const pair of pairs) await session.#hold(pair);
    } catch (error) {
      session.dispose();
      throw error;
    }
    return session;
  }

  /** Metrics of the whole runs, by pair. */
  get whole(): { clean: number; corrupt: number }[] {
    return this.#pairs.map(({ clean, corrupt }) => ({ clean, corrupt: corrupt.metric }));
  }

  /** Bytes of what is held. */
  get bytes(): number {
    return this.#pairs.reduce((sum, { cleanEmbed, corrupt }) => sum + 4 * cleanEmbed.size + corrupt.bytes, 0);
  }

  /** Metrics of circuits. @returns [circuits][pairs] */
  async run(circuits: readonly EdgeSet[], manner: RunManner = {}): Promise<number[][]> {
    const { model, graph } = this;
    const { signal = this.#work.signal, turn = this.#work.turn, onCircuits } = manner;
    const metrics: number[][] = circuits.map(() => []);
    let done = 0;
    for (const { pair, cleanEmbed, corrupt } of this.#pairs) {
      const runs = { model, graph, pair, cleanEmbed, corrupt };
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
    for (const { cleanEmbed, corrupt } of this.#pairs.splice(0)) {
      cleanEmbed.dispose();
      corrupt.dispose();
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
    const clean = await runSources(this.model, pair, "clean", this.#interrupts);
    const cleanEmbed = tf.clone(clean.pre[0]!);
    clean.dispose();
    try {
      const corrupt = await runSources(this.model, pair, "corrupt", this.#interrupts);
      this.#pairs.push({ pair, clean: clean.metric, cleanEmbed, corrupt });
    } catch (error) {
      cleanEmbed.dispose();
      throw error;
    }
    await this.#between();
  }
}
