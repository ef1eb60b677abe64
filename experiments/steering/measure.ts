import { z } from "zod";
import { evenBatches } from "../../backend/circuits/batches.ts";
import { meanLoss, residLossesInTurns } from "../../backend/circuits/loss.ts";
import { functionVector } from "../../backend/circuits/vectors/function-vector.ts";
import { inContextVectors, vectorAdditions } from "../../backend/circuits/vectors/in-context-vectors.ts";
import { additions } from "../../backend/circuits/vectors/steer.ts";
import { Random } from "../../backend/common/random.ts";
import type { Intervention } from "../../backend/hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../backend/hooks/interventions.ts";
import { forwardInTurns } from "../../backend/models/forward/turns.ts";
import type { Model } from "../../backend/models/model.ts";
import { encodeText } from "../../backend/models/tokens.ts";
import { loopTurn, type Turn } from "../../backend/runtime/turn.ts";
import {
  type DemonstrationPrompt,
  drawOpenings,
  drawPrompts,
  drawTwins,
  type LabelledTexts,
  labelTokens,
  promptTokens,
} from "../../synthetic-tasks/demonstrations/index.ts";
import type { MeasurementMeans } from "../base.ts";
import { PASSAGES } from "../early-exit/passages.ts";
import { wordLogProbs } from "../next-words.ts";

/** Tokens of the neutral texts whose loss is measured. */
const NEUTRAL_TOKENS = 96;

/** The behaviour at every place of a dial, and the loss on neutral text there. */
const dialValues = z.object({
  /** [places][prompts] */
  behaviour: z.array(z.array(z.number())),
  /** Mean over neutral texts, in nats [places]. */
  loss: z.array(z.number()),
});
/** A dial's values. */
export type DialValues = z.output<typeof dialValues>;

/** Schema of what a vector does, beside a random one of the same length. */
export const steeringValues = z.object({
  own: dialValues,
  random: dialValues,
  /** The behaviour with demonstrations in the prompt, by prompt. */
  demonstrations: z.array(z.number()),
});
/** The effects of a vector, beside those of a random one. */
export type SteeringValues = z.output<typeof steeringValues>;

/** The sizes of a measurement. */
export interface SteeringSettings {
  readonly seed: number;
  /** Examples that a vector is made of. */
  readonly examples: number;
  readonly prompts: number;
  /** Places of the dial, ascending, 0 among them. */
  readonly dial: readonly number[];
}

/** A dial to turn: interventions at a place of it, of prompts and of whole texts, and the behaviour that it is about. */
interface Dial {
  readonly places: readonly number[];
  changes(place: number, rows: readonly (readonly number[])[], of: "prompts" | "texts"): readonly Intervention[];
  behaviour(changes: (rows: readonly (readonly number[])[]) => readonly Intervention[]): Promise<number[]>;
}

async function turned(model: Model, { places, changes, behaviour }: Dial, turn: Turn, told: () => void): Promise<DialValues> {
  const values: DialValues = { behaviour: [], loss: [] };
  const texts = PASSAGES.filter(({ kind }) => kind === "prose").map(({ text }) => encodeText(model, text).slice(0, NEUTRAL_TOKENS));
  for (const place of places) {
    values.behaviour.push(await behaviour((rows) => changes(place, rows, "prompts")));
    values.loss.push(await lossOf(model, texts, changes(place, texts, "texts"), turn));
    told();
  }
  return values;
} // biome-ignore format: long lines of one call

/** Mean loss of rows of one length under interventions. */
async function lossOf(
  model: Model,
  rows: readonly (readonly number[])[],
  changes: readonly Intervention[],
  turn: Turn,
): Promise<number> {
  const nll: number[][] = [];
  const positions = rows[0]!.length;
  for (const { first, count } of evenBatches(rows.length, positions)) {
    const tokens = rows.slice(first, first + count);
    const interventions = compileInterventions(model, changes, { rows: count, positions, tokens });
    try {
      const { resid } = await forwardInTurns(model, { tokens, logitsAt: "none" }, { interventions }, turn);
      nll.push(
        ...(await residLossesInTurns(model, resid, tokens, { turn, interventions }).finally(() => resid.dispose())),
      );
    } finally {
      disposeInterventions(interventions);
    }
  }
  return meanLoss(nll);
}

/** A random direction of a vector's length. */
function randomDirection(vector: readonly number[], random: Random): number[] {
  const drawn = vector.map(() => random.normal());
  const factor = Math.hypot(...vector) / Math.hypot(...drawn);
  return drawn.map((x) => factor * x);
}

/** Words of a slot that vectors are made of, and those that they are judged by, by label. */
export function splitWords(texts: LabelledTexts, slot: string): { shown: LabelledTexts; judged: string[][] } {
  const half = (words: readonly string[]) => Math.floor(words.length / 2);
  const slots = texts.slots.map((own) => ({ ...own, [slot]: own[slot]!.slice(half(own[slot]!)) }));
  return { shown: { ...texts, slots }, judged: texts.slots.map((own) => own[slot]!.slice(0, half(own[slot]!))) };
}

/**
 * In-context vectors from texts of the second label to the same of the first, added in all layers; the behaviour is the first label's
 * share of the probability of both labels' words behind beginnings of texts. No example has one of these words.
 */
export async function measureInContextVectors(
  model: Model,
  { texts, slot }: { texts: LabelledTexts; slot: string },
  { seed, examples: count, prompts, dial }: SteeringSettings,
  { progress, signal }: MeasurementMeans,
): Promise<SteeringValues> {
  const turn = loopTurn(signal);
  const random = new Random(seed);
  const { shown, judged } = splitWords(texts, slot);
  const twins = drawTwins(shown, [1, 0], count, random);
  const openings = drawOpenings(texts, slot, prompts, random);
  const examples = twins.map(([source, target]) => ({ source: encodeText(model, source), target: encodeText(model, target) })); // biome-ignore format: one line
  const vectors = await inContextVectors(model, { examples, signal, turn });
  const others = vectors.map((own) => ({ ...own, vector: randomDirection(own.vector, random) }));
  const words = judged.flatMap((labels) => labelTokens(model, { name: texts.name, labels }));
  const share = async (heads: readonly string[], changes: Parameters<Dial["behaviour"]>[0]): Promise<number[]> => {
    const asked = heads.map((head) => ({ tokens: encodeText(model, head), words }));
    const found = await wordLogProbs(model, asked, { turn, changes });
    return found.map((logProbs) => {
      const [all, own] = [logProbs, logProbs.slice(0, judged[0]!.length)].map((some) => some.reduce((sum, value) => sum + Math.exp(value), 0)); // biome-ignore format: one line
      return own! / all!;
    });
  };
  const steps = 2 * dial.length + 1;
  let done = 0;
  const told = (): void => progress(++done, steps);
  const dialOf = (of: typeof vectors): Dial => ({
    places: dial,
    changes: (place) => (place === 0 ? [] : vectorAdditions(of, place)),
    behaviour: (changes) => share(openings, changes),
  });
  const own = await turned(model, dialOf(vectors), turn, told);
  const control = await turned(model, dialOf(others), turn, told);
  const before = twins.map(([, target]) => `${target}\n`).join("");
  const demonstrations = await share(openings.map((head) => before + head), () => []); // biome-ignore format: one line
  told();
  return { own, random: control, demonstrations };
}

/** Demonstrations of a prompt from which function vectors are made. */
const SHOTS = 4;

/**
 * A function vector of labelling texts, added behind a layer at the end of prompts without demonstrations (of neutral texts: at all
 * positions); the behaviour is the right label's probability.
 */
export async function measureFunctionVector(
  model: Model,
  texts: LabelledTexts,
  { seed, examples: count, prompts, dial }: SteeringSettings,
  { progress, signal }: MeasurementMeans,
): Promise<SteeringValues> {
  const turn = loopTurn(signal);
  const random = new Random(seed);
  const drawn = drawPrompts(texts, { count: count + prompts, shots: SHOTS }, random);
  const labels = labelTokens(model, texts);
  const bare = ({ query }: DemonstrationPrompt) => promptTokens(model, texts, { demonstrations: [], query }).tokens;
  const cases = drawn.slice(0, count).map((prompt) => ({
    clean: promptTokens(model, texts, prompt).tokens,
    shuffled: promptTokens(model, texts, withLabelsShuffled(prompt, random)).tokens,
    zero: bare(prompt),
    answer: labels[prompt.query.label]!,
  }));
  const layer = Math.floor(model.config.n_layers / 3);
  const steps = 4 * count + 2 * dial.length + 1;
  const { vector } = await functionVector(model, {
    cases,
    layers: [layer],
    signal,
    turn,
    progress: (done, total) => progress((4 * count * done) / total, steps),
  });
  let done = 4 * count;
  const told = (): void => progress(++done, steps);
  const queries = drawn.slice(count);
  const right = async (rows: readonly (readonly number[])[], changes: Parameters<Dial["behaviour"]>[0]): Promise<number[]> => {
    const asked = rows.map((tokens, i) => ({ tokens, words: [labels[queries[i]!.query.label]!] }));
    return (await wordLogProbs(model, asked, { turn, changes })).map(([value]) => Math.exp(value!));
  }; // biome-ignore format: one line
  const dialOf = (direction: readonly number[]): Dial => ({
    places: dial,
    changes: (scale, tokens, of) =>
      scale === 0 ? [] : additions({ tokens, vector: direction, layer, scale, positions: of === "texts" ? "all" : "last" }),
    behaviour: (changes) => right(queries.map(bare), changes),
  }); // biome-ignore format: one line
  const own = await turned(model, dialOf(vector), turn, told);
  const control = await turned(model, dialOf(randomDirection(vector, random)), turn, told);
  const demonstrations = await right(queries.map((prompt) => promptTokens(model, texts, prompt).tokens), () => []); // biome-ignore format: one line
  told();
  return { own, random: control, demonstrations };
}

/** A prompt with the labels of its demonstrations in another order, at least one of them wrong. */
function withLabelsShuffled({ demonstrations, query }: DemonstrationPrompt, random: Random): DemonstrationPrompt {
  for (;;) {
    const order = random.permutation(demonstrations.length);
    const shuffled = demonstrations.map(({ text }, i) => ({ text, label: demonstrations[order[i]!]!.label }));
    if (shuffled.some(({ label }, i) => label !== demonstrations[i]!.label)) return { demonstrations: shuffled, query };
  }
}
