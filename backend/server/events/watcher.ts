import { problems } from "../../setup/terminal.mjs";
import type { JobEntry, RunRecord, Store } from "../../store/store.ts";
import type { JobRunner } from "../jobs/runner.ts";
import { runSummary } from "../jobs/summaries.ts";
import type { Library } from "../library/library.ts";
import type { EventHub } from "./hub.ts";

/** Milliseconds between looks at what other processes did, while somebody listens. */
const PERIOD = 1_000;
/** Milliseconds for which changes are collected. */
const PAUSE = 150;

/**
 * Tells the event hub what has changed in the data folder since the last look, whoever changed it: this server's jobs, which ask for
 * a look, or a command in a terminal, for which it looks again and again.
 */
export class Watcher {
  readonly #store: Store;
  readonly #library: Library;
  readonly #hub: EventHub;
  readonly #jobs: () => JobRunner;
  /** Jobs as they were told last, as JSON. */
  readonly #toldJobs = new Map<number, string>();
  readonly #toldRuns = new Map<string, { text: string; step: number; checkpoint: number }>();
  readonly #period: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #version = "";
  #toldStart: string | undefined;

  /** @param jobs given late, since the runner needs this one */
  constructor(store: Store, library: Library, hub: EventHub, jobs: () => JobRunner) {
    this.#store = store;
    this.#library = library;
    this.#hub = hub;
    this.#jobs = jobs;
    for (const run of store.runs()) {
      const text = JSON.stringify(runSummary(store, run));
      this.#toldRuns.set(run.id, { text, step: run.step, checkpoint: store.checkpoints(run.id).at(-1)?.step ?? -1 });
    }
    this.#period = setInterval(() => this.#lookAround(false), PERIOD);
    this.#period.unref();
  }

  /** Asks for a look soon. */
  readonly changed = (): void => {
    if (this.#hub.listeners === 0) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#lookAround(true);
    }, PAUSE).unref();
  };

  /** Looks at the store now. */
  look(): void {
    this.#version = this.#store.version();
    const jobs = this.#store.jobs();
    for (const job of jobs) this.#tellJob(job);
    const runs = this.#store.runs();
    for (const run of runs) this.#tellRun(run);
    this.#tellRemoved(new Set(jobs.map(({ id }) => id)), new Set(runs.map(({ id }) => id)));
  }

  /** Looks at the documents and the main job now. */
  async lookAtLibrary(): Promise<void> {
    for (const change of await this.#library.refresh()) this.#hub.emit("library", change);
    const start = await this.#library.start();
    const text = JSON.stringify(start);
    if (start === undefined || text === this.#toldStart) return;
    this.#toldStart = text;
    this.#hub.emit("start", start);
  }

  close(): void {
    clearInterval(this.#period);
    clearTimeout(this.#soon);
  }

  /** @param always also where the store is as it was: how far a job is may be known to this process alone */
  #lookAround(always: boolean): void {
    if (this.#hub.listeners === 0) return;
    try {
      if (always || this.#store.version() !== this.#version) this.look();
    } catch (error) {
      complain(error as Error);
    }
    this.lookAtLibrary().catch(complain);
  }

  /** There is no event for a job or run that is gone: everything is to be read anew. */
  #tellRemoved(jobs: ReadonlySet<number>, runs: ReadonlySet<string>): void {
    const goneJobs = [...this.#toldJobs.keys()].filter((id) => !jobs.has(id));
    const goneRuns = [...this.#toldRuns.keys()].filter((id) => !runs.has(id));
    for (const id of goneJobs) this.#toldJobs.delete(id);
    for (const id of goneRuns) this.#toldRuns.delete(id);
    if (goneJobs.length + goneRuns.length > 0) this.#hub.emit("reset", {});
  }

  #tellJob(job: JobEntry): void {
    const runner = this.#jobs();
    const before = this.#toldJobs.get(job.id);
    const { remaining: _, ...plain } = runner.summary(job);
    const text = JSON.stringify(plain);
    if (text === before) return;
    runner.watch(job);
    this.#toldJobs.set(job.id, text);
    this.#hub.emit("job", runner.summary(job));
  }

  #tellRun(run: RunRecord): void {
    const before = this.#toldRuns.get(run.id);
    const summary = runSummary(this.#store, run);
    const text = JSON.stringify(summary);
    if (before?.text === text) return;
    // A run that goes on from a checkpoint has left what came after it behind.
    const [step, checkpoint] = [Math.min(before?.step ?? -1, run.step), Math.min(before?.checkpoint ?? -1, run.step)];
    const last = this.#tellMetrics(run.id, step);
    const saved = this.#tellCheckpoints(run.id, checkpoint);
    this.#toldRuns.set(run.id, { text, step: last, checkpoint: saved });
    this.#hub.emit("run", summary);
  }

  /** @returns the last step that was told */
  #tellMetrics(id: string, after: number): number {
    const steps = new Map<number, Record<string, number | null>>();
    for (const { name, step, value } of this.#store.metricsAfter(id, after)) {
      const values = steps.get(step) ?? {};
      values[name] = Number.isNaN(value) ? null : value;
      steps.set(step, values);
    }
    for (const [step, values] of steps) this.#hub.emit("metrics", { run: id, step, values });
    return Math.max(after, ...steps.keys());
  }

  /** @returns the last checkpoint's step */
  #tellCheckpoints(id: string, after: number): number {
    const fresh = this.#store.checkpoints(id).filter(({ step }) => step > after);
    for (const { step } of fresh) this.#hub.emit("checkpoint", { run: id, step });
    return fresh.at(-1)?.step ?? after;
  }
}

function complain({ message }: Error): void {
  void problems.line(`headscope: ${message}`);
}
