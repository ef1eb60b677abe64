import type { Events } from "../../../backend/common/api/events.ts";
import type { RunCurves, RunDetail } from "../../../backend/common/api/runs.ts";
import type { RunReference } from "../../../backend/common/api/task-samples.ts";
import { get } from "../api/client.ts";
import { Reading } from "../state/answer.svelte.ts";
import { events } from "../state/events.svelte.ts";
import { curvesOf, type Measurement, type MetricCurves, withMeasurements } from "./curves/curves.ts";

/** Measurements of a running run are shown at most this often, in milliseconds: plots of many lines then stay smooth. */
const FLUSH = 400;

/** Reference predictors are asked for one after the other: the server computes each. */
let turn: Promise<unknown> = Promise.resolve();

/** One run: its parameters, checkpoints and curves, which grow while it trains. */
export class RunData {
  readonly id: string;
  readonly detail: Reading<RunDetail>;
  /** The first reading of the curves: whether it is under way, or has failed. */
  readonly reading: Reading<MetricCurves>;
  /** The task's reference predictor on the rows on which the run is evaluated: the same however long it trains. */
  readonly reference: Reading<RunReference>;
  #curves = $state.raw<MetricCurves | undefined>();
  #checkpoints = $state.raw<readonly number[]>([]);
  /** Since the curves were last asked for, or shown. */
  #waiting: Measurement[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(id: string) {
    this.id = id;
    const path = `/api/runs/${encodeURIComponent(id)}`;
    this.detail = new Reading(async (call) => {
      const detail = await get<RunDetail>(path, call);
      this.#checkpoints = detail.checkpoints;
      return detail;
    });
    this.reference = new Reading((call) => get<RunReference>(`${path}/reference`, call));
    this.reading = new Reading(async (call) => {
      const curves = curvesOf(await get<RunCurves>(`${path}/metrics`, call));
      this.#curves = withMeasurements(curves, this.#waiting.splice(0));
      return curves;
    });
  }

  /** Undefined until they are here. */
  get curves(): MetricCurves | undefined {
    return this.#curves;
  }

  /** Steps that can be opened, ascending. */
  get checkpoints(): readonly number[] {
    return this.#checkpoints;
  }

  /** Reads everything anew. */
  open(): void {
    this.#waiting = [];
    void this.detail.read();
    void this.reading.read();
    if (this.reference.value === undefined) turn = turn.then(() => this.reference.read());
  }

  measured(measurement: Measurement): void {
    this.#waiting.push(measurement);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.reading.loading || this.#curves === undefined) return;
      this.#curves = withMeasurements(this.#curves, this.#waiting.splice(0));
    }, FLUSH);
  }

  saved(step: number): void {
    if (!this.#checkpoints.includes(step)) this.#checkpoints = [...this.#checkpoints, step].sort((a, b) => a - b);
  }
}

/** Runs that are looked at or have been; kept true by the server's events. */
class RunsData {
  #all = $state.raw<ReadonlyMap<string, RunData>>(new Map());
  readonly #status = new Map<string, string>();
  #listening = false;

  /** Undefined until `follow` has named it. */
  get(id: string): RunData | undefined {
    return this.#all.get(id);
  }

  /** Reads the runs that were not asked for yet; run in an effect of the page. */
  follow(ids: readonly string[]): void {
    this.#listen();
    const fresh = ids.filter((id) => !this.#all.has(id)).map((id) => new RunData(id));
    if (fresh.length === 0) return;
    this.#all = new Map([...this.#all, ...fresh.map((run) => [run.id, run] as const)]);
    for (const run of fresh) run.open();
  }

  forget(id: string): void {
    this.#all = new Map([...this.#all].filter(([other]) => other !== id));
  }

  #listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    events.on("metrics", ({ run, step, values }) => this.#all.get(run)?.measured({ step, values }));
    events.on("checkpoint", ({ run, step }) => this.#all.get(run)?.saved(step));
    events.on("run", (run) => this.#changed(run));
    events.on("reset", () => {
      for (const run of this.#all.values()) run.open();
    });
  }

  /** A run that goes on loses what it had measured after its last checkpoint; one that ends has its last values. */
  #changed({ id, status }: Events["run"]): void {
    const run = this.#all.get(id);
    const before = this.#status.get(id) ?? run?.detail.value?.status;
    this.#status.set(id, status);
    if (before !== undefined && before !== status) run?.open();
  }
}

export const runsData = new RunsData();
