import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../backend/common/errors.ts";
import { readRegular } from "../backend/files.ts";
import { describeModel, loadModel } from "../backend/models/load.ts";
import type { Model } from "../backend/models/model.ts";
import { writeFileAtomic } from "../backend/paths.ts";
import type { ExperimentContext, MeasurementPlan } from "./base.ts";

/** Tag of files of measurements. */
const FORMAT = "headscope.measurement/1";

const document = z.object({ format: z.literal(FORMAT), key: z.string(), values: z.unknown() });

/** Measurements of models by an experiment, kept in measurements/ of the data folder, one file each. */
export class Measurements {
  readonly #experiment: string;
  readonly #folder: string;
  readonly #context: Pick<ExperimentContext, "signal" | "progress">;
  /** The models in use, by reference. */
  readonly #models = new Map<string, Model>();

  /** @param experiment its name @param data the data folder */
  constructor(experiment: string, data: string, context: Pick<ExperimentContext, "signal" | "progress">) {
    this.#experiment = experiment;
    this.#folder = join(data, "measurements");
    this.#context = context;
  }

  /** Measures plans one after the other; see `ExperimentContext.measure`. */
  async measure<V extends z.ZodType>(plans: readonly MeasurementPlan<V>[]): Promise<z.output<V>[]> {
    const { signal, progress } = this.#context;
    const results: z.output<V>[] = [];
    for (const [p, plan] of plans.entries()) {
      signal.throwIfAborted();
      const tell = (done: number, total: number): void => progress(p + done / total, plans.length, plan.label);
      tell(0, 1);
      const key = await this.#key(plan);
      const kept = await this.#find(key, plan.values);
      results.push(kept === undefined ? await this.#take(plan, key, tell) : kept.values);
      tell(1, 1);
    }
    return results;
  }

  /** Frees the models. */
  dispose(): void {
    for (const model of this.#models.values()) model.dispose();
    this.#models.clear();
  }

  /** All that decides about a plan's values, as text. */
  async #key({ name, model, settings }: MeasurementPlan): Promise<string> {
    const { digest } = await describeModel(model);
    return JSON.stringify({ experiment: this.#experiment, name, digest, settings });
  }

  #path(key: string): string {
    const digest = createHash("sha256").update(key).digest("hex").slice(0, 32);
    return join(this.#folder, `${this.#experiment}-${digest}.json`);
  }

  /** The values that are kept; undefined where there are none, or none that this version takes. */
  async #find<V extends z.ZodType>(key: string, schema: V): Promise<{ values: z.output<V> } | undefined> {
    try {
      const kept = document.parse(JSON.parse(String(await readRegular(this.#path(key), { what: "measurement" }))));
      return kept.key === key ? { values: schema.parse(kept.values) } : undefined;
    } catch (error) {
      const unsound = error instanceof SyntaxError || error instanceof z.ZodError;
      if (unsound || (error instanceof HeadscopeError && error.kind === "missing")) return undefined;
      throw error;
    }
  }

  async #take<V extends z.ZodType>(
    plan: MeasurementPlan<V>,
    key: string,
    progress: (done: number, total: number) => void,
  ): Promise<z.output<V>> {
    const { signal } = this.#context;
    const values = plan.values.parse(await plan.measure(await this.#model(plan.model), { progress, signal }));
    signal.throwIfAborted();
    await mkdir(this.#folder, { recursive: true });
    await writeFileAtomic(this.#path(key), `${JSON.stringify({ format: FORMAT, key, values })}\n`);
    return values;
  }

  async #model(ref: string): Promise<Model> {
    const open = this.#models.get(ref) ?? (await loadModel(ref, { signal: this.#context.signal }));
    this.#models.set(ref, open);
    return open;
  }
}
