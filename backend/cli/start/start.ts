import { join } from "node:path";
import { haystackFor } from "../../../probes/haystack.ts";
import { probe, probeMany } from "../../../probes/index.ts";
import { type MaskSearch, searchMask } from "../../../probes/mask-search.ts";
import { answerNeedle, answerTokens } from "../../../probes/needle.ts";
import { ablate } from "../../circuits/ablation/ablate.ts";
import type { TokenLosses } from "../../circuits/loss.ts";
import type { NeedleAnswer } from "../../common/api/jobs.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { Head } from "../../common/heads/head.ts";
import { type HeadMask, maskFromScores } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import { ranking } from "../../common/heads/metric.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { mean } from "../../common/numerics/averages.ts";
import { Random, repeatedRows } from "../../common/random.ts";
import { exportHeads } from "../../exports/index.ts";
import { writeMask, writeScores } from "../../heads/files.ts";
import { generate } from "../../inference/generate.ts";
import { loadModel } from "../../models/load.ts";
import type { Model } from "../../models/model.ts";
import { pulledModel, pullModel } from "../../models/sources/pull.ts";
import { tokenPool } from "../../models/tokens.ts";
import { writeFileAtomic } from "../../paths.ts";
import { initBackend } from "../../runtime/backend.ts";
import { MainJobRecord, mainJobFolder } from "../../store/main-job.ts";
import type { Context } from "../context.ts";
import { lineOf } from "../errors.ts";
import type { Progress } from "../progress.ts";
import {
  type MainJobResult,
  type RepeatedAblation,
  type RepeatedLoss,
  SIZES,
  type Sizes,
  summaryOf,
} from "./result.ts";
import { sections } from "./text.ts";
import { trainToy } from "./training.ts";

const MODEL = "smollm2-135m";
const SUBSTITUTE = "toy-induction";
const ONE_PASS = ["induction", "previous-token", "duplicate-token", "attention-sink"] as const;
const SEED = 0;
const INDUCTION_HEADS = 6;
const DRAWS = 5;
/** Tokens of a row over which a sink is told, as Gu et al. do. */
const SINK_TOKENS = 64;
/** Depth of the needle in the long question: 0 at the start, 1 at the end. */
const DEPTH = 0.35;
const NEW_TOKENS = 24;

/** Options of the main job. */
interface MainJobOptions {
  /** Sentence to be continued. */
  readonly text: string;
  /** Folder of the files; default `start` in the data folder, where the pages look. */
  readonly out?: string | undefined;
}

/**
 * Trains a toy transformer, then fetches the model where it is missing, scores its heads, ablates the induction heads, continues a sentence, answers a
 * question with as few KV heads full as suffice, and writes the files; sections are shown as they are ready.
 */
export async function mainJob(context: Context, options: MainJobOptions): Promise<void> {
  // Results that go elsewhere are not those that the pages show.
  if (options.out !== undefined) return perform(context, { ...options, note: async () => {} });
  const record = new MainJobRecord();
  await record.note({});
  const progress: Progress = Object.assign((done: number, total: number, label: string, note?: string) => {
    context.progress(done, total, label, note);
    record.progress(done, total, label);
  }, context.progress);
  try {
    await perform({ ...context, progress }, { ...options, note: (change) => record.note(change) });
    await record.end("done");
  } catch (error) {
    if (context.signal.aborted) await record.end("cancelled");
    else await record.end("failed", lineOf(error));
    throw error;
  }
}

async function perform(context: Context, options: MainJobOptions & { note: MainJobRecord["note"] }): Promise<void> {
  const { text, out = mainJobFolder(), note } = options;
  const began = performance.now();
  const backend = await initBackend();
  const training = await trainToy(context, backend.name, (run) => note({ run }));
  await context.show(sections.training(training));
  await note({ part: "model" });
  const ref = await available(context);
  const loadBegan = performance.now();
  const model = await loadModel(ref);
  try {
    const sizes = fitting(SIZES[backend.name], model);
    const { n_layers: layers, n_heads: heads, n_key_value_heads: kvHeads } = model.config;
    const loadMs = performance.now() - loadBegan;
    const facts = { ref, digest: model.digest, layers, heads, kvHeads, bytes: model.bytes, loadMs };
    await context.show(sections.head(backend, facts, sizes));

    await note({ part: "scores", model: ref });
    const rows = randomRepeats(model, sizes);
    const { scores, probeMs } = await score(context, model, { tokens: rows, sizes, out });
    await context.show(sections.scores(scores, probeMs, sizes));

    await note({ part: "ablation" });
    const ablation = await ablateInduction(context, model, scores["induction"]!, rows);
    await context.show(sections.ablation(ablation));

    await note({ part: "sentence" });
    const sentence = await continueSentence(context, model, text);
    await context.show(sections.sentence(sentence));

    await note({ part: "needle" });
    const needle = await answerTwice(context, model, scores["retrieval"]!, sizes);
    await context.show(sections.needle(needle));

    await note({ part: "files" });
    const files = await writeFiles(out, { rows, scores, mask: needle.mask }, context.signal);
    const totalMs = performance.now() - began;
    const result: MainJobResult = {
      backend,
      sizes,
      training,
      model: facts,
      scores,
      probeMs,
      ablation,
      sentence,
      needle,
      files: [...files, "summary.json"],
      totalMs,
    };
    const summary = summaryOf(result);
    await writeFileAtomic(join(out, "summary.json"), `${JSON.stringify(summary, null, 2)}\n`);
    await context.print(summary, () => sections.files(out, result));
  } finally {
    model.dispose();
  }
}

/** The real model, fetched where it is missing; where it can't be had a model built in memory stands in. */
async function available(context: Context): Promise<string> {
  if (pulledModel(MODEL)) return MODEL;
  try {
    await pullModel(MODEL, {
      signal: context.signal,
      onProgress: ({ stage, done, total }) =>
        context.progress(Math.round((done ?? 0) / 1e6), Math.round((total ?? 0) / 1e6), `${MODEL}: ${stage}`),
    });
    return MODEL;
  } catch (error) {
    if (!(error instanceof HeadscopeError) || error.kind === "cancelled") throw error;
    context.note(
      `headscope: ${MODEL} can't be had (${error.line}); going on with ${SUBSTITUTE}, a model built in memory`,
    );
    return SUBSTITUTE;
  }
}

/** Sizes that the model's context allows: half of it for the long prompt, so that windows matter. */
function fitting(sizes: Sizes, { config }: Model): Sizes {
  const most = config.n_ctx - NEW_TOKENS;
  return {
    ...sizes,
    length: Math.min(sizes.length, Math.floor((config.n_ctx - 1) / 2)),
    haystack: Math.min(sizes.haystack, most),
    needle: Math.min(sizes.needle, most),
    search: Math.min(sizes.search, most),
  };
}

/** Scores the heads by every probe; the files of scores are written as soon as they can be, since somebody may be watching. */
async function score(
  context: Context,
  model: Model,
  { tokens, sizes, out }: { tokens: number[][]; sizes: Sizes; out: string },
) {
  const common = { seed: SEED, signal: context.signal, progress: context.progress };
  const began = performance.now();
  const onePass = await probeMany(
    model,
    ONE_PASS.map((name) => ({
      name,
      params:
        name === "attention-sink" ? { tokens: Math.min(SINK_TOKENS, tokens[0]!.length) } : { length: sizes.length },
    })),
    { ...common, tokens },
  );
  const middle = performance.now();
  await writeAll(out, onePass);
  const retrieval = await probe(
    model,
    "retrieval",
    { lengths: [sizes.haystack], depths: sizes.depths, needles: sizes.needles },
    common,
  );
  await writeAll(out, [retrieval]);
  const scores = Object.fromEntries([...onePass, retrieval].map((each) => [each.probe, each]));
  return { scores, probeMs: { onePass: middle - began, retrieval: performance.now() - middle } };
}

async function writeAll(out: string, scores: readonly HeadScores[]): Promise<void> {
  for (const each of scores) await writeScores(join(out, `${each.probe}.json`), each);
}

/** Rows BOS r r of ids out of the whole vocabulary; without a BOS token the first id stands in its place. */
function randomRepeats(model: Model, { rows, length }: Sizes): number[][] {
  const random = new Random(SEED);
  const draw = (): number => random.integer(0, model.config.d_vocab);
  return repeatedRows(tokenPool(model).first, rows, () => Array.from({ length }, draw));
}

async function ablateInduction(
  context: Context,
  model: Model,
  scores: HeadScores,
  tokens: number[][],
): Promise<RepeatedAblation> {
  const heads = bestHeads(scores, INDUCTION_HEADS);
  const { clean, ablated, control } = await ablate(model, {
    tokens,
    heads,
    method: "zero",
    controls: DRAWS,
    seed: SEED,
    signal: context.signal,
    progress: context.progress,
  });
  const draws = (control?.draws ?? []).map(repeatedLoss);
  const second = draws.map((loss) => loss.secondCopy);
  return {
    heads,
    clean: repeatedLoss(clean),
    ablated: repeatedLoss(ablated),
    control: {
      mean: { all: mean(draws.map((loss) => loss.all)), secondCopy: mean(second) },
      range: [Math.min(...second), Math.max(...second)],
      draws: draws.length,
    },
  };
}

/** Of rows BOS r r, the tokens of the second copy are predicted at the last positions but one of its length. */
function repeatedLoss({ loss, nll }: TokenLosses): RepeatedLoss {
  return { all: loss, secondCopy: mean(nll.flatMap((row) => row.slice(-Math.floor(row.length / 2)))) };
}

/**
 * The best heads of which each layer keeps at least as many others, so that a control can be drawn.
 * A small model gives fewer: one of eight.
 */
function bestHeads(scores: HeadScores, most: number): Head[] {
  const { layers, heads } = scores.model;
  const count = Math.min(most, Math.ceil((layers * heads) / 8));
  const taken = new Map<number, number>();
  return ranking(scores)
    .filter(({ layer }) => {
      const before = taken.get(layer) ?? 0;
      if (before + 1 > heads / 2) return false;
      taken.set(layer, before + 1);
      return true;
    })
    .slice(0, count)
    .map(({ layer, head }) => ({ layer, head }));
}

async function continueSentence(context: Context, model: Model, prompt: string): Promise<MainJobResult["sentence"]> {
  if (model.tokenizer) {
    const { text } = await generate(model, { text: prompt, maxTokens: NEW_TOKENS, signal: context.signal });
    return { prompt, continuation: text!, words: true };
  }
  const ids = [3, 1, 4, 1, 5, 9, 2, 6, 3, 1, 4].map((id) => id % model.config.d_vocab);
  const { ids: more } = await generate(model, { tokens: ids, maxTokens: 8, stop: [], signal: context.signal });
  return { prompt: ids.join(" "), continuation: more.join(" "), words: false };
}

/** Answers a long question with all heads full, then with the smallest mask that answers it and the short questions. */
async function answerTwice(
  context: Context,
  model: Model,
  scores: HeadScores,
  sizes: Sizes,
): Promise<MainJobResult["needle"]> {
  const { searched, grown } = await proposed(context, model, scores, sizes);
  const question = haystackFor(model, { tokens: sizes.needle, depth: DEPTH, seed: SEED });
  const most = answerTokens(model, question);
  const answer = (mask?: HeadMask): Promise<NeedleAnswer> => {
    const label = `needle question, ${mask ? meaningOf(mask).full.length : "all"} KV heads full`;
    let done = 0;
    context.progress(0, most, label);
    return answerNeedle(model, question, {
      mask,
      signal: context.signal,
      onToken: () => context.progress(++done, most, label),
    });
  };
  const full = await answer();
  let mask = grown[0]!;
  let masked = await answer(mask);
  for (const larger of full.right ? grown.slice(1) : []) {
    if (masked.right) break;
    mask = larger;
    masked = await answer(mask);
  }
  return { question, mask, search: searched, full, masked };
}

/**
 * The smallest mask that loses no short question, with the curve by which it was found, and larger ones for a question that it
 * does not answer: each keeps an eighth of the KV heads more.
 */
async function proposed(
  { signal, progress }: Context,
  model: Model,
  scores: HeadScores,
  { search: length, depths, sink, recent }: Sizes,
): Promise<{ searched?: MaskSearch; grown: readonly HeadMask[] }> {
  const { layers, kvHeads } = scores.model;
  const total = layers * kvHeads;
  const common = { sink, recent, scoresFile: "retrieval.json" };
  const maskOf = (top: number) => maskFromScores(scores, { top, ...common });
  const larger = (from: number) =>
    Array.from({ length: 8 }, (_, i) => Math.round(((i + 1) * total) / 8))
      .filter((top) => top > from)
      .map(maskOf);
  const quarter = { grown: [maskOf(Math.round(total / 4))] }; // as DuoAttention keeps of grouped heads
  if (length <= sink + recent) return quarter; // a short context: nothing would be dropped
  try {
    const searched = await searchMask(model, scores, {
      ...common,
      lengths: [length],
      depths,
      stop: true,
      signal,
      progress,
    });
    // Whichever is taken in the end, the curve goes with it.
    const { search } = searched.mask.source as { search: unknown };
    const grown = larger(meaningOf(searched.mask).full.length).map((mask) => ({
      ...mask,
      source: { ...(mask.source as object), search },
    }));
    return { searched, grown: [searched.mask, ...grown] };
  } catch (error) {
    // A model that answers nothing has no smallest mask.
    if (!(error instanceof HeadscopeError) || error.kind !== "input") throw error;
    return quarter;
  }
}

async function writeFiles(
  out: string,
  { rows, scores, mask }: { rows: number[][]; scores: MainJobResult["scores"]; mask: HeadMask },
  signal: AbortSignal,
): Promise<string[]> {
  const names = Object.keys(scores).map((name) => `${name}.json`);
  await writeMask(join(out, "mask.json"), mask);
  await writeFileAtomic(join(out, "repeated-tokens.json"), `${JSON.stringify(rows)}\n`);
  await exportHeads("duo-attention", { mask }, join(out, "duo-attention"), {}, { force: true, signal });
  await exportHeads(
    "retrieval-head",
    { scores: scores["retrieval"]! },
    join(out, "retrieval-head.json"),
    {},
    { signal },
  );
  return [...names, "mask.json", "repeated-tokens.json", "duo-attention/", "retrieval-head.json"];
}
