import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { streamLogits } from "../../backend/circuits/loss.ts";
import { Random } from "../../backend/common/random.ts";
import { disposeInterventions } from "../../backend/hooks/interventions.ts";
import { forwardInTurns } from "../../backend/models/forward/turns.ts";
import type { Model } from "../../backend/models/model.ts";
import { gatherRows } from "../../backend/runtime/ops.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { loopTurn, type Turn } from "../../backend/runtime/turn.ts";
import {
  type DemonstrationPrompt,
  drawPrompts,
  type LabelledTexts,
  labelTokens,
  promptTokens,
} from "../../synthetic-tasks/demonstrations/index.ts";
import type { MeasurementMeans } from "../base.ts";
import { cleanRun, type PromptBatch } from "./clean-run.ts";
import { disconnect, type Edge, randomEdges, STEP_NAMES, STEPS, type StepName, siblingEdges } from "./steps.ts";

/** By prompt, 1 where the answer is right: the likeliest token of all, and the likeliest of the labels. */
const answersSchema = z.object({ all: z.array(z.int()), among: z.array(z.int()) });
/** Right answers of prompts in one run. */
export type Answers = z.output<typeof answersSchema>;

const byLayer = z.array(z.number());
const byHead = z.array(byLayer);

/** Schema of all that is measured of one seed and one set of texts. */
export const circuitValues = z.object({
  clean: answersSchema,
  /** The queries without demonstrations. */
  zeroShot: answersSchema,
  /** By step: cut in all layers, then in each span from the first. */
  steps: z.record(z.string(), z.array(answersSchema)),
  /** All steps cut in all layers. */
  together: answersSchema,
  /** By step and draw: as many edges of all layers, from anywhere. */
  random: z.record(z.string(), z.array(answersSchema)),
  /** By draw: as many edges as retrieval has, of the same queries. */
  siblings: z.array(answersSchema),
  measures: z.object({
    alignment: byLayer,
    labelShare: byLayer,
    chance: z.object({ alignment: z.number(), labelShare: z.number() }),
    forerunner: byHead,
    copying: byHead,
    wrong: byHead,
  }),
});
/** All that is measured of one seed and one set of texts. */
export type CircuitValues = z.output<typeof circuitValues>;

/** The sizes of a measurement. */
export interface CircuitSettings {
  readonly seed: number;
  readonly prompts: number;
  readonly shots: number;
  readonly spans: number;
  readonly draws: number;
  readonly multiple: number;
}

/** Prompts are filled up to a multiple of it, so that few shapes are compiled. */
const LENGTHS = 8;

/** Spans of layers that are cut: all of them, then equal ones, from and to (exclusive). */
export function layerSpans(layers: number, spans: number): [number, number][] {
  const edge = (i: number): number => Math.round((i * layers) / spans);
  const parts = Array.from({ length: spans }, (_, i): [number, number] => [edge(i), edge(i + 1)]);
  return spans > 1 ? [[0, layers], ...parts] : [[0, layers]];
}

/** Runs prompts of a set of texts, whole and with steps of the circuit disconnected. */
export async function measureCircuit(
  model: Model,
  texts: LabelledTexts,
  settings: CircuitSettings,
  { progress, signal }: MeasurementMeans,
): Promise<CircuitValues> {
  const { seed, prompts: count, shots, spans, draws, multiple } = settings;
  const turn = loopTurn(signal);
  const drawn = drawPrompts(texts, { count, shots }, new Random(seed));
  const answers = { labels: labelTokens(model, texts), turn };
  const batch = batchOf(model, texts, drawn);
  const all = layerSpans(model.config.n_layers, spans);
  const runs = 2 + STEP_NAMES.length * (all.length + draws) + draws + 1;
  let done = 0;
  const told = (): void => progress(++done, runs);

  const bare = batchOf(model, texts, drawn.map(({ query }) => ({ demonstrations: [], query }))); // biome-ignore format: one line
  const resid = (await forwardInTurns(model, { tokens: bare.tokens, logitsAt: "none" }, {}, turn)).resid;
  const zeroShot = await answersOf(model, resid, bare, answers).finally(() => resid.dispose());
  told();
  const clean = await cleanRun(model, batch, { multiple, turn });
  told();
  try {
    const cut = async (
      span: readonly [number, number],
      edgesOf: (prompt: number, layer: number) => readonly Edge[],
    ): Promise<Answers> => {
      signal.throwIfAborted();
      const positions = batch.tokens[0]!.length;
      const changes = disconnect(span, edgesOf, { rows: count, positions });
      const input = { resid: clean.streamBefore(span[0]), startLayer: span[0], logitsAt: "none" as const };
      try {
        const run = await forwardInTurns(model, input, { interventions: changes }, turn);
        return await answersOf(model, run.resid, batch, answers).finally(() => run.resid.dispose());
      } finally {
        disposeInterventions(changes);
        told();
      }
    };
    const edges = (step: StepName): Edge[][] => batch.prompts.map((prompt) => STEPS[step].edges(prompt));
    const whole = all[0]!;
    const steps: Record<string, Answers[]> = {};
    const random: Record<string, Answers[]> = {};
    for (const [s, step] of STEP_NAMES.entries()) {
      const own = edges(step);
      steps[step] = [];
      for (const span of all) steps[step]!.push(await cut(span, (row) => own[row]!));
      random[step] = [];
      for (let draw = 0; draw < draws; draw++) {
        const source = new Random(seed, 1 + s * draws + draw);
        random[step]!.push(
          await cut(whole, (row) => randomEdges(own[row]!.length, batch.prompts[row]!.tokens.length, source)),
        );
      }
    }
    const retrieval = edges("retrieval");
    const siblings: Answers[] = [];
    for (let draw = 0; draw < draws; draw++) {
      const source = new Random(seed, 1 + STEP_NAMES.length * draws + draw);
      siblings.push(await cut(whole, (row) => siblingEdges(retrieval[row]!, source)));
    }
    const union = STEP_NAMES.map(edges);
    const together = await cut(whole, (row) => union.flatMap((own) => own[row]!));
    const own = await answersOf(model, clean.resid, batch, answers);
    return { clean: own, zeroShot, steps, together, random, siblings, measures: clean.measures };
  } finally {
    clean.dispose();
  }
}

function batchOf(model: Model, texts: LabelledTexts, drawn: readonly DemonstrationPrompt[]): PromptBatch {
  const prompts = drawn.map((prompt) => promptTokens(model, texts, prompt));
  const length = LENGTHS * Math.ceil(Math.max(...prompts.map(({ tokens }) => tokens.length)) / LENGTHS);
  return {
    prompts,
    tokens: prompts.map(({ tokens }) => [...tokens, ...Array(length - tokens.length).fill(tokens.at(-1)!)]),
    shown: drawn.map(({ demonstrations }) => demonstrations.map(({ label }) => label)),
    asked: drawn.map(({ query }) => query.label),
    labels: texts.labels.length,
  };
}

/** The answers behind the queries' forerunners. @param resid after the last layer [rows, positions, d_model] */
async function answersOf(
  model: Model,
  resid: Tensor,
  { prompts, asked }: PromptBatch,
  { labels, turn }: { labels: readonly number[]; turn: Turn },
): Promise<Answers> {
  const [, positions, width] = resid.shape as [number, number, number];
  const logits = tf.tidy(() => {
    const index = prompts.map(({ forerunners }, row) => row * positions + forerunners.at(-1)!);
    const ends = gatherRows(tf.reshape(resid, [-1, width]), tf.tensor1d(index, "int32"));
    return streamLogits(model, ends); // [rows, d_vocab]
  });
  const [, vocabulary] = logits.shape as [number, number];
  const values = (await logits.data()) as Float32Array;
  logits.dispose();
  await turn();
  const right = (chosen: (row: Float32Array) => number): number[] =>
    asked.map((label, row) => {
      const own = values.subarray(row * vocabulary, (row + 1) * vocabulary);
      return chosen(own) === labels[label] ? 1 : 0;
    });
  const largest = (row: Float32Array, ids: readonly number[]): number =>
    ids.reduce((best, id) => (row[id]! > row[best]! ? id : best));
  return {
    all: right((row) => row.reduce((best, logit, id) => (logit > row[best]! ? id : best), 0)),
    among: right((row) => largest(row, labels)),
  };
}
