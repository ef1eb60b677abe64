import { experimentParameters, experiments } from "../../../experiments/index.ts";
import type { Preset } from "../../common/words.ts";
import type { Store } from "../../store/store.ts";
import { Queue } from "../queue.ts";
import type { WorkerOptions } from "../worker-process.ts";
import { experiment } from "./experiment.ts";

/** An experiment to be run. */
export interface ExperimentRequest {
  readonly name: string;
  readonly preset: Preset;
  /** Parameters that differ from the preset's. */
  readonly params?: Readonly<Record<string, unknown>>;
}

/** An experiment that has ended. */
export interface EndedExperiment {
  readonly name: string;
  /** The id of its report; absent where it failed. */
  readonly report?: string;
  /** Of one that failed. */
  readonly error?: unknown;
}

/** Options of experiments that are run together. */
export interface RunExperimentsOptions {
  /** Experiments at a time, each in a process of its own with its share of the cores, default 1. */
  readonly atOnce?: number | undefined;
  /** Stops them; what they have trained and measured is kept. */
  readonly signal?: AbortSignal | undefined;
  /** Told how many have ended, parts of those under way included, and the names of these. */
  readonly onProgress?: (done: number, total: number, underWay: readonly string[]) => void;
  /** Called as each ends. */
  readonly onEnd?: (ended: EndedExperiment) => void;
  readonly worker?: WorkerOptions | undefined;
}

/**
 * Runs experiments as jobs of the queue, begun in their order. One that fails does not stop the others; what two of them train is trained once.
 * @returns in the order in which they ended
 * @throws HeadscopeError `usage` for an unknown experiment, parameter or value, before anything is run
 * @throws what the signal was aborted with
 */
export async function runExperiments(
  store: Store,
  requests: readonly ExperimentRequest[],
  { atOnce = 1, signal, onProgress, onEnd, worker }: RunExperimentsOptions = {},
): Promise<EndedExperiment[]> {
  for (const { name, preset, params } of requests) experimentParameters(experiments, name, preset, params);
  const queue = new Queue(store, { kinds: [experiment], worker });
  const jobOf = (request: ExperimentRequest): number =>
    queue.add(experiment.name, { kind: experiment.name, ...request }, { keep: true }).id;
  const names = new Map(requests.map((request) => [jobOf(request), request.name]));
  const underWay = new Map<number, number>();
  const ended: EndedExperiment[] = [];
  const tell = (): void => {
    const parts = [...underWay.values()].reduce((sum, part) => sum + part, 0);
    onProgress?.(ended.length + parts, requests.length, [...underWay.keys()].map((id) => names.get(id)!)); // biome-ignore format: one line
  };
  try {
    await queue.work({
      ...{ concurrency: Math.min(atOnce, requests.length), only: [...names.keys()], signal },
      onProgress({ id }, { done, total }) {
        underWay.set(id, total > 0 ? done / total : 0);
        tell();
      },
      onEnd({ id, status, result }, error) {
        underWay.delete(id);
        if (status === "queued" || status === "cancelled") return; // tried once more after a crash, or stopped
        const name = names.get(id)!;
        ended.push(status === "done" ? { name, report: experiment.result.parse(result).report } : { name, error });
        onEnd?.(ended.at(-1)!);
        tell();
      },
    });
    signal?.throwIfAborted();
    return ended;
  } finally {
    for (const id of names.keys()) if (store.job(id).status === "queued") queue.cancel(id);
  }
}
