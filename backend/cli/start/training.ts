import { tasks } from "../../../synthetic-tasks/index.ts";
import { ablateSweep } from "../../circuits/ablation/ablate.ts";
import type { Head } from "../../common/heads/head.ts";
import { parseHeadMetric } from "../../common/heads/head-metric.ts";
import { mean } from "../../common/numerics/averages.ts";
import { Random, repeatedRows } from "../../common/random.ts";
import { halfOfRise } from "../../common/rise.ts";
import { runsFor } from "../../jobs/reuse.ts";
import { trainRuns } from "../../jobs/train-runs.ts";
import { loadModel } from "../../models/load.ts";
import type { BackendChoice } from "../../runtime/backend.ts";
import { openStore, type RunRecord } from "../../store/store.ts";
import type { Curves, MetricPoint } from "../../training/record/curves.ts";
import { makeSpec } from "../../training/spec.ts";
import type { Context } from "../context.ts";
import { valuesText } from "../text/train.ts";

const TASK = "induction";
/** Differences from the task's defaults: on wasm, where nothing compiles, a smaller model on shorter sequences. */
const SIZES = {
  tensorflow: {},
  wasm: {
    n_heads: 2,
    d_model: 32,
    vocabulary: 32,
    context: 40,
    segment_min: 6,
    segment_max: 12,
    gap_max: 8,
    learning_rate: 0.005,
    steps: 500,
    points: 20,
  },
} as const satisfies Record<BackendChoice["name"], object>;
/** Score from which a head counts as one of its kind. */
const FORMED = 0.5;
/** Rows BOS r r that the ablations are measured on, and most tokens of r. */
const ROWS = { count: 8, length: 24 };

/** The toy transformer that was trained. Losses in nats a token, on the second copy of repeated tokens. */
export interface ToyTraining {
  readonly run: string;
  readonly layers: number;
  readonly heads: number;
  readonly width: number;
  readonly context: number;
  readonly steps: number;
  /** Milliseconds of training; absent where the run was there already. */
  readonly trainMs: number | undefined;
  /** By name, the curve of a metric; of probes the best head's. */
  readonly curves: Readonly<Record<string, readonly MetricPoint[]>>;
  /** Step at which the in-context accuracy has made half of its rise; absent where it hardly rose. */
  readonly halfway: number | undefined;
  /** Heads whose score says that they formed, by probe, best first. */
  readonly formed: Readonly<Record<string, readonly (Head & { readonly score: number })[]>>;
  /** First of all heads, then without some. */
  readonly ablations: readonly AblatedToy[];
}

/** The loss without some heads; `without` says which, and is empty for none. */
export interface AblatedToy {
  readonly without: string;
  readonly heads: readonly Head[];
  readonly loss: number;
}

/**
 * Trains the induction model in a worker, live, or takes the finished run of an earlier call, and ablates the heads that formed.
 * @param onRun is told the run's id before it is trained
 */
export async function trainToy(
  context: Context,
  backend: BackendChoice["name"],
  onRun: (id: string) => Promise<void>,
): Promise<ToyTraining> {
  const task = tasks.get(TASK);
  const spec = makeSpec(task, SIZES[backend], { probes: task.defaults?.probes ?? [] });
  const store = openStore();
  try {
    const [before] = runsFor(store, [spec], [0])[0] as [RunRecord];
    await onRun(before.id);
    const began = performance.now();
    const [run] = await trainRuns(store, [before], {
      signal: context.signal,
      whenBusy: "wait",
      onProgress: ({ done, total, values }) =>
        context.progress(done, total, "training a toy transformer", valuesText(values)),
    });
    context.signal.throwIfAborted();
    const trainMs = performance.now() - began;
    const { curves, formed } = readCurves(store.metrics(run!.id));
    const accuracy = curves["in-context accuracy"]!;
    const halfway = halfOfRise({ steps: accuracy.map(({ step }) => step), values: accuracy.map(({ value }) => value) });
    return {
      run: run!.id,
      layers: spec.model.n_layers,
      heads: spec.model.n_heads,
      width: spec.model.d_model,
      context: spec.params["context"] as number,
      steps: run!.step,
      trainMs: before.status === "done" ? undefined : trainMs,
      curves,
      halfway,
      formed,
      ablations: await ablateFormed(run!.id, formed, spec.params["vocabulary"] as number),
    };
  } finally {
    store.close();
  }
}

function readCurves(metrics: Curves): Pick<ToyTraining, "curves" | "formed"> {
  const curves: Record<string, readonly MetricPoint[]> = { "in-context accuracy": metrics.get("in-context.accuracy")! };
  const formed: Record<string, (Head & { score: number })[]> = {};
  for (const [name, points] of metrics) {
    const measured = parseHeadMetric(name);
    if (!measured || measured.probe !== measured.metric) continue;
    const { probe, layer, head } = measured;
    const score = points.at(-1)!.value;
    const best = curves[probe]?.at(-1)?.value ?? Number.NEGATIVE_INFINITY;
    if (score > best) curves[probe] = points;
    formed[probe] ??= [];
    if (score >= FORMED) formed[probe].push({ layer, head, score });
  }
  for (const heads of Object.values(formed)) heads.sort((a, b) => b.score - a.score);
  return { curves, formed };
}

/** The loss on the second copy without the heads of each kind, and without all others. */
async function ablateFormed(
  run: string,
  formed: ToyTraining["formed"],
  vocabulary: number,
): Promise<ToyTraining["ablations"]> {
  const model = await loadModel(`run:${run}`);
  try {
    const { n_layers, n_heads, n_ctx } = model.config;
    const length = Math.min(ROWS.length, Math.floor((n_ctx - 1) / 2));
    const random = new Random(0, 1);
    const draw = (): number => random.integer(1, vocabulary);
    const tokens = repeatedRows(0, ROWS.count, () => Array.from({ length }, draw));
    const heads = Object.values(formed).flat();
    const others = Array.from({ length: n_layers * n_heads }, (_, i) => ({
      layer: Math.floor(i / n_heads),
      head: i % n_heads,
    })).filter(({ layer, head }) => !heads.some((k) => k.layer === layer && k.head === head));
    const sets = [
      { without: "", heads: [] as readonly Head[] },
      ...Object.entries(formed).map(([probe, heads]) => ({ without: `${probe} heads`, heads })),
      { without: "all other heads", heads: others },
    ].filter(({ without, heads }) => without === "" || heads.length > 0);
    const losses = await ablateSweep(model, { tokens, method: "zero", sets: sets.map(({ heads }) => heads) });
    return sets.map(({ without, heads }, i) => {
      const second = losses[i]!.nll.flatMap((row) => row.slice(1 - length));
      return {
        without,
        heads: heads.map(({ layer, head }) => ({ layer, head })),
        loss: mean(second),
      };
    });
  } finally {
    model.dispose();
  }
}
