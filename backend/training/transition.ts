import { parseHeadMetric } from "../common/heads/head-metric.ts";

/** Distance that a watched metric moves before a further checkpoint is saved: a tenth of the range of a share. */
const MOVED = 0.1;

/** Measurement of a seed at a step. */
export interface SeedMeasurement {
  readonly step: number;
  readonly values: Readonly<Record<string, number>>;
}

/** Tells whether a metric says that an ability forms: an accuracy, or a probe's main score of a head. */
export function isWatched(name: string): boolean {
  const head = parseHeadMetric(name);
  return head === undefined ? name.endsWith(".accuracy") : head.probe === head.metric;
}

/**
 * Asks for checkpoints inside a transition: where an accuracy or the best score of a probe has moved by more than a tenth since
 * the last one, a limited number of times. What it asks follows from the measurements and the schedule alone, so that a run that
 * goes on from a checkpoint is saved at the steps of an uninterrupted one.
 */
export class TransitionWatch {
  #left: number;
  #latest = new Map<string, number>();
  #base: ReadonlyMap<string, number> | undefined;

  /** @param most checkpoints beside those of the schedule */
  constructor(most: number) {
    this.#left = most;
  }

  /** Takes the measurements of a step, by seed. */
  measured(seeds: readonly SeedMeasurement["values"][]): void {
    this.#latest = new Map();
    for (const [seed, values] of seeds.entries())
      for (const [name, value] of Object.entries(values)) {
        if (!isWatched(name) || !Number.isFinite(value)) continue;
        const key = `${seed}/${parseHeadMetric(name)?.measure ?? name}`; // of heads the best one
        this.#latest.set(key, Math.max(this.#latest.get(key) ?? Number.NEGATIVE_INFINITY, value));
      }
  }

  /** True when what was measured last asks for a checkpoint. */
  get asks(): boolean {
    if (this.#left === 0 || this.#base === undefined) return false;
    return [...this.#latest].some(([key, value]) => Math.abs(value - (this.#base!.get(key) ?? value)) > MOVED);
  }

  /** Notes a checkpoint. @param scheduled whether it would have been saved in any case */
  saved(scheduled: boolean): void {
    if (!scheduled) this.#left--;
    this.#base = this.#latest;
  }

  /**
   * Goes through what happened until a step once more.
   * @param seeds measurements of each, ascending by step @param scheduled steps that are saved in any case
   */
  replay(seeds: readonly (readonly SeedMeasurement[])[], scheduled: ReadonlySet<number>, until: number): void {
    const bySeed = seeds.map((measured) => new Map(measured.map(({ step, values }) => [step, values])));
    const steps = new Set([...scheduled, ...bySeed.flatMap((each) => [...each.keys()])]);
    for (const step of [...steps].filter((each) => each <= until).sort((a, b) => a - b)) {
      if (bySeed.some((each) => each.has(step))) this.measured(bySeed.map((each) => each.get(step) ?? {}));
      else if (!scheduled.has(step)) continue;
      if (scheduled.has(step)) this.saved(true);
      else if (this.asks) this.saved(false);
    }
  }
}
