import type { JobProgress } from "../store/store.ts";

/** Tells how long work will take yet from how fast its present stage went so far. */
export class Remaining {
  #label: string | undefined;
  #began = { time: 0, done: 0 };
  #latest: JobProgress | undefined;
  #time = 0;

  /** @param now milliseconds of any clock */
  push(progress: JobProgress, now: number): void {
    if (progress.label !== this.#label || progress.done < this.#began.done) {
      this.#label = progress.label;
      this.#began = { time: now, done: progress.done };
    }
    this.#latest = progress;
    this.#time = now;
  }

  /** Milliseconds; undefined before it can be told: a second in, with something done. */
  milliseconds(now: number): number | undefined {
    if (this.#latest === undefined) return undefined;
    const { done, total } = this.#latest;
    const progressed = done - this.#began.done;
    const took = this.#time - this.#began.time;
    if (progressed <= 0 || took < 1_000) return undefined;
    return Math.max(0, Math.round((took / progressed) * (total - done) - (now - this.#time)));
  }
}
