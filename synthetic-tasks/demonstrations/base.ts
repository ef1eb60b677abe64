import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { encodeText } from "../../backend/models/tokens.ts";
import { draw } from "../pairs/base.ts";

/** Texts of several labels, made of word lists. */
export interface LabelledTexts {
  readonly name: string;
  /** One sentence: the texts and what their labels say. */
  readonly description: string;
  /** Words that name the labels; each is one token behind a space. */
  readonly labels: readonly string[];
  /** Templates with {slots}, and by label the words of every slot: a word is of its label, or of all. */
  readonly templates: readonly string[];
  readonly slots: readonly Readonly<Record<string, readonly string[]>>[];
}

/** One text with its label. */
export interface LabelledText {
  readonly text: string;
  /** Number of the label, from 0. */
  readonly label: number;
}

/** Demonstrations and a query: 'text: label', each on a line, and a last 'text:'. */
export interface DemonstrationPrompt {
  readonly demonstrations: readonly LabelledText[];
  readonly query: LabelledText;
}

/** A prompt in tokens, with the places of its parts. */
export interface PromptTokens {
  readonly tokens: readonly number[];
  /** By part, demonstrations first and the query last: from and to (exclusive) of its text. */
  readonly texts: readonly (readonly [number, number])[];
  /** By part, the position of its forerunner: the last token before a label. */
  readonly forerunners: readonly number[];
  /** By demonstration, the position of its label. */
  readonly labels: readonly number[];
}

/** Draws for one text before the texts count as exhausted. */
const DRAWS = 500;

/** Draws a text of a label. */
export function drawText({ templates, slots }: LabelledTexts, label: number, random: Random): LabelledText {
  const template = templates[random.integer(0, templates.length)]!;
  const text = template.replace(/\{(\w+)\}/g, (_, slot: string) => {
    const words = slots[label]![slot]!;
    return words[random.integer(0, words.length)]!;
  });
  return { text, label };
}

/**
 * Draws different pairs of texts that differ in their label alone: one template, and of every slot the word at the same place.
 * @param texts with as many words in every label's slots @param labels numbers of the first's and the second's
 * @throws HeadscopeError (usage) for more pairs than there are
 */
export function drawTwins(
  texts: LabelledTexts,
  labels: readonly [number, number],
  count: number,
  random: Random,
): (readonly [string, string])[] {
  const twins = (): [string, string] => {
    const seed = random.uint32();
    return labels.map((label) => drawText(texts, label, new Random(seed)).text) as [string, string];
  };
  return different(count, twins, `${texts.name}: pairs of texts`, "examples");
}

/**
 * Draws different beginnings of texts, up to a slot whose word says the label.
 * @param slot its name @throws HeadscopeError (usage) for more than there are
 */
export function drawOpenings(texts: LabelledTexts, slot: string, count: number, random: Random): string[] {
  const heads = texts.templates.flatMap((template) => {
    const place = template.indexOf(` {${slot}}`);
    const head = template.slice(0, Math.max(0, place));
    const named = [...head.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
    const common = named.every((name) => texts.slots.every((words) => words[name] === texts.slots[0]![name]));
    return place > 0 && common ? [head] : [];
  });
  const opening = (): string => drawText({ ...texts, templates: heads }, 0, random).text;
  return different(count, opening, `${texts.name}: beginnings of texts`, "prompts");
}

/** Draws until there are as many different things. @param what they are, in the plural @param field that asks for them */
function different<T>(count: number, next: () => T, what: string, field: string): T[] {
  const seen = new Map<string, T>();
  for (let misses = 0; seen.size < count && misses < DRAWS; misses++) {
    const drawn = next();
    if (seen.has(String(drawn))) continue;
    seen.set(String(drawn), drawn);
    misses = 0;
  }
  if (seen.size === count) return [...seen.values()];
  throw new HeadscopeError("usage", `${what}: only ${seen.size} different ones in ${DRAWS} draws`, {
    remedy: "ask for fewer",
    field,
  });
}

/**
 * Draws prompts: demonstrations with all labels equally often, in a random order, and queries with all labels equally often.
 * No text stands twice in a prompt, and no query in two.
 * @param shape.count prompts @param shape.shots demonstrations of each, a multiple of the labels
 * @throws HeadscopeError (usage) for demonstrations that the labels can't share evenly, and more prompts than there are texts
 */
export function drawPrompts(
  texts: LabelledTexts,
  { count, shots }: { count: number; shots: number },
  random: Random,
): DemonstrationPrompt[] {
  const labels = texts.labels.length;
  checkShots(texts, shots);
  const queries = new Set<string>();
  const distinct = (label: number, seen: Set<string>): LabelledText => {
    for (let attempt = 0; attempt < DRAWS; attempt++) {
      const drawn = drawText(texts, label, random);
      if (!seen.has(drawn.text)) {
        seen.add(drawn.text);
        return drawn;
      }
    }
    throw new HeadscopeError("usage", `${texts.name}: no further text of "${texts.labels[label]}" in ${DRAWS} draws`, {
      remedy: "ask for fewer prompts",
      field: "prompts",
    });
  };
  const order = Array.from({ length: count }, (_, i) => i % labels);
  return draw(random, order, count).map((label) => {
    const query = distinct(label, queries);
    const seen = new Set([query.text]);
    const chosen = Array.from({ length: shots }, (_, i) => distinct(i % labels, seen));
    return { demonstrations: draw(random, chosen, shots), query };
  });
}

/** @throws HeadscopeError (usage) for demonstrations that the labels can't share evenly */
export function checkShots({ name, labels }: LabelledTexts, shots: number): void {
  if (shots % labels.length !== 0)
    throw new HeadscopeError("usage", `${shots} demonstrations can't be shared evenly by the ${labels.length} labels of ${name}`, {
      remedy: `give a multiple of ${labels.length}`,
      field: "shots",
    }); // biome-ignore format: one line
}

/**
 * Ids of the label words, as they follow a forerunner.
 * @throws HeadscopeError (unsupported) for a tokenizer that cuts one
 */
export function labelTokens(model: Model, { name, labels }: Pick<LabelledTexts, "name" | "labels">): number[] {
  return labels.map((word) => {
    const ids = encodeText(model, ` ${word}`, false, { label: `${name}: ` });
    if (ids.length === 1) return ids[0]!;
    throw new HeadscopeError("unsupported", `${name}: the label "${word}" is ${ids.length} tokens of ${model.ref}`, {
      remedy: "choose another model",
    });
  });
}

/**
 * A prompt in a model's tokens.
 * @throws HeadscopeError (unsupported) for a tokenizer that joins what the prompt keeps apart
 */
export function promptTokens(model: Model, texts: LabelledTexts, prompt: DemonstrationPrompt): PromptTokens {
  const label = `${texts.name}: `;
  const encode = (text: string, first: boolean) => encodeText(model, text, first ? undefined : false, { label });
  const tokens: number[] = [];
  const parts = [...prompt.demonstrations, prompt.query];
  const [spans, forerunners, labels]: [[number, number][], number[], number[]] = [[], [], []];
  let whole = "";
  for (const [i, part] of parts.entries()) {
    const start = tokens.length;
    tokens.push(...encode(part.text, i === 0));
    spans.push([start, tokens.length]);
    forerunners.push(tokens.length);
    tokens.push(...encode(":", false));
    whole += `${part.text}:`;
    if (i === parts.length - 1) break;
    const word = texts.labels[part.label]!;
    labels.push(tokens.length);
    tokens.push(...encode(` ${word}`, false), ...encode("\n", false));
    whole += ` ${word}\n`;
  }
  if (tokens.join() !== encode(whole, true).join())
    throw new HeadscopeError("unsupported", `${texts.name}: the tokenizer of ${model.ref} joins texts and labels`, {
      remedy: "choose another model",
    });
  return { tokens, texts: spans, forerunners, labels };
}
