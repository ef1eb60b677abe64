import type { Status } from "../common/words.ts";
import type { RunRecord, Store } from "../store/store.ts";
import type { TrainSpec } from "../training/spec.ts";

/** Order of preference among runs of one specification and seed: a finished one, one that is under way, one to come. */
const PREFERENCE: readonly Status[] = ["done", "running", "cancelled", "queued", "failed"];

/**
 * The runs of each specification, one a seed: those that the store has (same task, parameters, probes and seed), and new ones,
 * queued, in one group, where it has none.
 * @returns by specification, in the order of the seeds
 */
export function runsFor(store: Store, specs: readonly TrainSpec[], seeds: readonly number[]): RunRecord[][] {
  // Looked for and made under one lock: another process that asks for the same would make it a second time.
  return store.transaction(() => {
    const runByKey = bestRuns(store, specs);
    return specs.map((spec) => {
      const missing = seeds.filter((seed) => !runByKey.has(keyOf(spec, seed)));
      if (missing.length > 0)
        for (const run of store.createRuns(spec, missing)) runByKey.set(keyOf(spec, run.seed), run);
      return seeds.map((seed) => runByKey.get(keyOf(spec, seed))!);
    });
  });
}

/** The runs of each specification that the store has, in the order of the seeds. */
export function runsThere(store: Store, specs: readonly TrainSpec[], seeds: readonly number[]): RunRecord[][] {
  const runByKey = bestRuns(store, specs);
  return specs.map((spec) => seeds.flatMap((seed) => runByKey.get(keyOf(spec, seed)) ?? []));
}

/** The preferred run of each specification and seed of some tasks. */
function bestRuns(store: Store, specs: readonly TrainSpec[]): Map<string, RunRecord> {
  const runByKey = new Map<string, RunRecord>();
  const rank = (record: RunRecord): number => PREFERENCE.indexOf(record.status);
  for (const task of new Set(specs.map((spec) => spec.task))) {
    for (const run of store.runs({ task })) {
      const key = keyOf(run.spec, run.seed);
      const before = runByKey.get(key);
      if (before === undefined || rank(run) < rank(before)) runByKey.set(key, run);
    }
  }
  return runByKey;
}

/** The same text for the same training, whatever the order of its fields. */
function keyOf(spec: TrainSpec, seed: number): string {
  return JSON.stringify([seed, sorted(JSON.parse(JSON.stringify(spec)))]);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, inner]) => [name, sorted(inner)]));
}
