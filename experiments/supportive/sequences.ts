import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import { readRunCheckpoint } from "../../backend/models/sources/run-checkpoint.ts";
import { runCheckpointFile } from "../../backend/models/sources/run-file.ts";
import { gradientCosines } from "../../backend/training/gradients/gradient-cosines.ts";
import type { TrainSpec } from "../../backend/training/spec.ts";
import { sequencesOf } from "../../backend/training/task.ts";
import { type BigramWorld, zipfBigram } from "../../synthetic-tasks/bigrams/zipf-bigram.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import type { MeasurementMeans } from "../base.ts";
import { mean } from "../curves.ts";

/** Stream of a seed from which the sequences come whose loss is to be helped: no run is evaluated on them. */
const TARGET_STREAM = 0xd0000000;
/** Sequences of that loss. */
const TARGET_ROWS = 512;
/** Stream of a seed by which sequences are chosen at random. */
const CHOICE_STREAM = 0xd1000000;

const column = z.array(z.number());
/** Schema of what is measured of a pool of sequences, an entry each. */
export const poolValues = z.object({
  /** Of its gradient with that of the loss in context. */
  cosine: column,
  /** Its loss, nats a token. */
  loss: column,
  /** Share of its words that are of the rarer half of the vocabulary. */
  rare: column,
  /** Share of its words that repeat the word before last, behind a trigger. */
  copies: column,
});
/** All that is measured of a pool of sequences. */
export type PoolValues = z.output<typeof poolValues>;

/**
 * Measures the sequences of a pool at a checkpoint.
 * @param params of the task, complete, with as many sequences as the pool has
 */
export async function measurePool(
  checkpoint: { id: string; step: number },
  params: TrainSpec["params"],
  seed: number,
  { progress, signal }: MeasurementMeans,
): Promise<PoolValues> {
  const { parameters, spec } = await readRunCheckpoint(runCheckpointFile(checkpoint).path);
  const { vocabulary } = zipfBigram.parameters.parse(params);
  const task = tasks.get(zipfBigram.name);
  const world = task.world(params, seed) as BigramWorld;
  const pool = world.pool!;
  const target = task.evaluations["copies"]!.sample(world, params, new Random(seed, TARGET_STREAM), TARGET_ROWS);
  const found = await gradientCosines(task, { ...(spec as TrainSpec), params }, parameters, {
    sequences: pool,
    target,
    onProgress: progress,
    signal,
  });
  const words = sequencesOf(pool);
  const share = (row: readonly number[], is: (word: number, place: number) => boolean) =>
    mean(row.map((word, place) => (is(word, place) ? 1 : 0)));
  return {
    cosine: found.map(({ cosine }) => cosine),
    loss: found.map(({ loss }) => loss),
    rare: words.map((row) => share(row, (word) => word > vocabulary / 2)),
    copies: words.map((row) => share(row, (_, place) => place > 1 && world.chain.isTrigger(row[place - 1]! - 1))),
  };
}

/** Ways of choosing sequences to go on with. */
export const CHOICES = ["top", "bottom", "random"] as const;
export type Choice = (typeof CHOICES)[number];

/** The numbers of the sequences that a way chooses, ascending. @param count of them */
export function chosenSequences(choice: Choice, { cosine }: Pick<PoolValues, "cosine">, count: number, seed: number): number[] {
  const all = [...cosine.keys()];
  const ordered =
    choice === "random"
      ? [...new Random(seed, CHOICE_STREAM).permutation(all.length)]
      : all.sort((a, b) => (choice === "top" ? cosine[b]! - cosine[a]! : cosine[a]! - cosine[b]!));
  return ordered.slice(0, count).sort((a, b) => a - b);
} // biome-ignore format: one line
