import { probeMany } from "../../probes/index.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { Model } from "../models/model.ts";
import { readRunCheckpoint, writeRunCheckpoint } from "../models/sources/run-checkpoint.ts";
import { checkpointFile } from "../paths.ts";
import { initBackend } from "../runtime/backend.ts";
import { headMetricName, parseHeadMetric } from "../training/head-metric.ts";
import { configOf } from "../training/spec.ts";
import { type Metrics, type TrainState, train } from "../training/train.ts";
import type { HandlerContext } from "../workers/handler.ts";
import type { TrainPayload } from "./kinds/train.ts";

/** Trains the runs of a group in a worker and writes their checkpoints; what the store must know it tells. */
export async function trainTogether(
  { spec, runs, resume, from }: TrainPayload,
  { emit, signal }: HandlerContext,
): Promise<{ step: number; status: "done" | "cancelled" }> {
  const task = tasks.get(spec.task);
  await initBackend();
  const config = configOf(spec.model, task.shape(spec.params));
  const bySeed = new Map(runs.map((run) => [run.seed, run]));
  const states = resume
    ? await Promise.all(
        runs.map(async ({ id, folder, history = [] }) => ({
          ...(await readState(checkpointFile(id, from!, folder), config)),
          history,
        })),
      )
    : undefined;
  let latest: Metrics = {};
  const { step, status } = await train(
    task,
    spec,
    runs.map(({ seed }) => seed),
    {
      async onMetrics(step, seed, values) {
        latest = { ...latest, ...values };
        await emit({ event: "metrics", run: bySeed.get(seed)!.id, step, values });
      },
      async onCheckpoint(seed, { step, state }) {
        const { id, folder } = bySeed.get(seed)!;
        const file = checkpointFile(id, step, folder);
        const [parameters, ...vectors] = state as [Float32Array, ...Float32Array[]];
        const written = await writeRunCheckpoint(file, { step, seed, config, spec, parameters, vectors });
        await emit({ event: "checkpoint", run: id, step, file, ...written });
      },
      onProgress(done, total, { loss }) {
        void emit({ event: "progress", done, total, label: "training", values: highlights(loss!, latest) });
      },
      measure: (model) => scores(model, spec.probes),
      signal,
    },
    states,
  );
  for (const { id } of runs) await emit({ event: "status", run: id, status, step });
  return { step, status };
}

async function readState(file: string, config: unknown): Promise<TrainState> {
  const found = await readRunCheckpoint(file);
  if (JSON.stringify(found.config) !== JSON.stringify(config))
    throw new HeadscopeError("mismatch", `${file} is of another model than its run`, { remedy: "train the run anew" });
  return { step: found.step, state: [found.parameters, ...found.vectors] };
}

/** Scores of all heads by probe, metric and head: `induction.induction[1.3]`. */
async function scores(model: Model, probes: readonly string[]): Promise<Metrics> {
  if (probes.length === 0) return {};
  const values: Record<string, number> = {};
  for (const { probe, metrics } of await probeMany(model, probes)) {
    for (const [metric, { values: table }] of Object.entries(metrics)) {
      table.forEach((row, layer) => {
        row.forEach((value, head) => {
          values[headMetricName(probe, metric, layer, head)] = value;
        });
      });
    }
  }
  return values;
}

/** What is told of with the progress: the loss, the accuracies, the best score of each probe. */
function highlights(loss: number, latest: Metrics): Record<string, number> {
  const shown: Record<string, number> = { loss };
  for (const [name, value] of Object.entries(latest)) {
    const measured = parseHeadMetric(name);
    if (measured && measured.probe === measured.metric)
      shown[measured.probe] = Math.max(shown[measured.probe] ?? 0, value);
    else if (name.endsWith(".accuracy")) shown[name.replace(".", " ")] = value;
  }
  return shown;
}
