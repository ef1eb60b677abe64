import { CircuitSession } from "../circuits/edges/session.ts";
import type { CircuitWork } from "../circuits/edges/work.ts";
import { tokenPairs } from "../circuits/pairs.ts";
import type { Model } from "../models/model.ts";
import { Recent } from "../runtime/recent.ts";

/** Bytes of runs that are kept. */
const MOST = 512 * 2 ** 20;

/** The whole runs of recent pairs: another set of edges is then one assembled run. Those used least recently are freed. */
export class CircuitRuns {
  /** By model and ids. */
  readonly #sessions: Recent<CircuitSession>;

  constructor(most = MOST) {
    this.#sessions = new Recent({
      bytes: most,
      size: ({ bytes }) => bytes,
      free: (session) => session.dispose(),
    });
  }

  /** Keeps all that is held now until the returned function is called, whatever others ask for meanwhile. */
  hold(): () => void {
    return this.#sessions.hold();
  }

  /**
   * The runs of a model on pairs, from the store or made now. They live at least until the next call.
   * @param work signal and turns are those of making them
   * @throws HeadscopeError for pairs that `tokenPairs` refuses, and what does not fit into memory
   */
  async of(model: Model, work: CircuitWork): Promise<CircuitSession> {
    const pairs = tokenPairs(model, work.pairs, { prependBos: work.prependBos });
    const key = `${model.digest} ${work.metric} ${JSON.stringify(pairs)}`;
    const held = this.#sessions.get(key);
    // A model that was closed and opened again is another one, with weights of its own.
    return held?.model === model ? held : this.#sessions.set(key, await CircuitSession.open(model, work));
  }

  /** Frees them all. */
  dispose(): void {
    this.#sessions.clear();
  }
}
