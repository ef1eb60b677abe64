import type { Tensor } from "@tensorflow/tfjs";
import { forwardInTurns } from "../../backend/models/forward/turns.ts";
import type { Model } from "../../backend/models/model.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import type { Turn } from "../../backend/runtime/turn.ts";
import type { PromptTokens } from "../../synthetic-tasks/demonstrations/index.ts";
import { mean } from "../curves.ts";
import { evenLabelShare, kernelAlignment, labelShare, nearest } from "./alignment.ts";

/** Prompts of one length after filling up, their labels, and the demonstrations' and queries' numbers of labels. */
export interface PromptBatch {
  readonly prompts: readonly PromptTokens[];
  /** Rows filled up to one length; nothing before the filling sees it. */
  readonly tokens: readonly (readonly number[])[];
  /** By prompt, the numbers of the labels of its demonstrations. */
  readonly shown: readonly (readonly number[])[];
  /** By prompt, the number of the query's label. */
  readonly asked: readonly number[];
  /** Number of labels that there are. */
  readonly labels: number;
}

/** Fraction of the items that are looked at as neighbours, as 64 of 512 in the paper's code. */
const NEIGHBOURS = 1 / 8;

/** Findings in the run as it is. */
export interface CleanMeasures {
  /** Kernel alignment of forerunners with the mean embeddings of their texts, before each layer and after the last. */
  readonly alignment: number[];
  /** Share of forerunners' neighbours with the same label, likewise. */
  readonly labelShare: number[];
  /** Values of both where nothing is shared. */
  readonly chance: { readonly alignment: number; readonly labelShare: number };
  /** By layer and head, the share of prompts in which it counts as a forerunner head. */
  readonly forerunner: number[][];
  /** The same as a label-copy head. */
  readonly copying: number[][];
  /** The same where another label than the right one is taken for it. */
  readonly wrong: number[][];
}

/** A clean run with its measures, and the streams that changed runs start from. */
export interface CleanRun {
  readonly measures: CleanMeasures;
  /** Stream before a layer [rows, positions, d_model]; freed by `dispose`. */
  streamBefore(layer: number): Tensor;
  /** Stream after the last layer [rows, positions, d_model]. */
  readonly resid: Tensor;
  dispose(): void;
}

/**
 * Runs prompts as they are.
 * @param multiple of the even amount of attention, 1 / tokens, above which a head counts
 */
export async function cleanRun(
  model: Model,
  batch: PromptBatch,
  { multiple, turn }: { multiple: number; turn: Turn },
): Promise<CleanRun> {
  const layers = Array.from({ length: model.config.n_layers }, (_, layer) => layer);
  const patterns = layers.map((layer) => blockHook(layer, "attn.hook_pattern"));
  const streams = layers.map((layer) => blockHook(layer, "hook_resid_pre"));
  const names = [...patterns, ...streams];
  const run = await forwardInTurns(model, { tokens: batch.tokens, logitsAt: "none" }, { names }, turn);
  const values = async (name: string): Promise<Float32Array> =>
    (await run.activations.get(name)!.data()) as Float32Array;
  try {
    const heads: HeadShares[] = [];
    for (const name of patterns) {
      heads.push(headShares(await values(name), model.config.n_heads, batch, multiple));
      tf.dispose(run.activations.get(name)!);
    }
    const all: Float32Array[] = [];
    for (const name of streams) all.push(await values(name));
    all.push((await run.resid.data()) as Float32Array);
    return {
      measures: {
        ...summaries(all, model.config.d_model, batch),
        forerunner: heads.map((each) => each.forerunner),
        copying: heads.map((each) => each.copying),
        wrong: heads.map((each) => each.wrong),
      },
      streamBefore: (layer) => run.activations.get(streams[layer]!)!,
      resid: run.resid,
      dispose: () => tf.dispose([run.resid, ...streams.map((name) => run.activations.get(name)!)]),
    };
  } catch (error) {
    run.dispose();
    throw error;
  }
}

/** Shares of the prompts in which each head of a layer counts [heads]. */
interface HeadShares {
  readonly forerunner: number[];
  readonly copying: number[];
  readonly wrong: number[];
}

/**
 * Counts heads as the paper's code does: a forerunner head where labels attend to their forerunners by more than multiple / tokens,
 * mean over the demonstrations; a label-copy head where the query's forerunner attends to the right labels minus the others by
 * more than multiple / tokens / labels, sums over the demonstrations.
 * @param pattern [rows, heads, query, key]
 */
export function headShares(pattern: Float32Array, heads: number, batch: PromptBatch, multiple: number): HeadShares {
  const positions = batch.tokens[0]!.length;
  const attention = (row: number, head: number, [query, key]: readonly [number, number]): number =>
    pattern[((row * heads + head) * positions + query) * positions + key]!;
  const share = (counts: (head: number, row: number) => boolean): number[] =>
    Array.from({ length: heads }, (_, head) => mean(batch.prompts.map((_, row) => (counts(head, row) ? 1 : 0))));
  const copies = (head: number, row: number, right: number): boolean => {
    const { forerunners, labels, tokens } = batch.prompts[row]!;
    const sum = labels.reduce((total, label, i) => {
      const value = attention(row, head, [forerunners.at(-1)!, label]);
      return total + (batch.shown[row]![i] === right ? value : -value);
    }, 0);
    return sum > multiple / tokens.length / batch.labels;
  };
  return {
    forerunner: share((head, row) => {
      const { forerunners, labels, tokens } = batch.prompts[row]!;
      return mean(labels.map((label, i) => attention(row, head, [label, forerunners[i]!]))) > multiple / tokens.length;
    }),
    copying: share((head, row) => copies(head, row, batch.asked[row]!)),
    wrong: share((head, row) => copies(head, row, (batch.asked[row]! + 1) % batch.labels)),
  };
}

/** Alignment of the forerunners' streams with their texts. @param streams by place [rows, positions, d_model], the embeddings first */
function summaries(
  streams: readonly Float32Array[],
  width: number,
  { prompts, tokens, shown, asked }: PromptBatch,
): Pick<CleanMeasures, "alignment" | "labelShare" | "chance"> {
  const positions = tokens[0]!.length;
  const at = (stream: Float32Array, row: number, position: number): Float32Array =>
    stream.subarray((row * positions + position) * width, (row * positions + position + 1) * width);
  const seen = new Set<string>();
  const items = prompts.flatMap((prompt, row) =>
    prompt.texts.flatMap(([from, to], part) => {
      const text = prompt.tokens.slice(from, to).join();
      if (seen.has(text)) return []; // the same text would be its own neighbour
      seen.add(text);
      const label = part < shown[row]!.length ? shown[row]![part]! : asked[row]!;
      return [{ row, from, to, forerunner: prompt.forerunners[part]!, label }];
    }),
  );
  const count = Math.max(1, Math.round(NEIGHBOURS * items.length));
  const bags = items.map(({ row, from, to }) => {
    const sum = new Float64Array(width);
    for (let position = from; position < to; position++)
      at(streams[0]!, row, position).forEach((x, d) => {
        sum[d]! += x;
      });
    return sum;
  });
  const reference = nearest(bags, count);
  const labels = items.map(({ label }) => label);
  const own = streams.map((stream) => nearest(items.map(({ row, forerunner }) => at(stream, row, forerunner)), count)); // biome-ignore format: one line
  return {
    alignment: own.map((neighbours) => kernelAlignment(neighbours, reference)),
    labelShare: own.map((neighbours) => labelShare(neighbours, labels)),
    chance: { alignment: count / (items.length - 1), labelShare: evenLabelShare(labels) },
  };
}
