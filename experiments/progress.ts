import type { ExperimentStage, TrainingPlan } from "./base.ts";

/** The stage in which a plan is trained once for each seed. */
export function trainingStage({ label, params }: TrainingPlan, seeds: readonly number[]): ExperimentStage {
  return { label, work: Number(params["steps"]) * Number(params["n_layers"]) * seeds.length };
}

/** The progress of an experiment as one whole over its stages, in the order in which they are done; it never goes back. */
export class WholeProgress {
  readonly #stages: readonly ExperimentStage[];
  readonly #total: number;
  readonly #tell: (done: number, total: number, label: string) => void;
  #done = 0;

  constructor(stages: readonly ExperimentStage[], tell: (done: number, total: number, label: string) => void) {
    this.#stages = stages;
    this.#total = sum(stages);
    this.#tell = tell;
  }

  /** Takes how far the stage of this label is; the stages before it are done. */
  readonly report = (done: number, total: number, label: string): void => {
    const place = this.#stages.findIndex((stage) => stage.label === label);
    if (place < 0) throw new Error(`"${label}" is no stage of this experiment`);
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const whole = sum(this.#stages.slice(0, place)) + this.#stages[place]!.work * share;
    this.#done = Math.max(this.#done, whole);
    this.#tell(Math.round(this.#done), this.#total, `${label} (${place + 1} of ${this.#stages.length})`);
  };
}

function sum(stages: readonly ExperimentStage[]): number {
  return stages.reduce((total, { work }) => total + work, 0);
}
