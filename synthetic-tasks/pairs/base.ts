import { z } from "zod";
import type { Pair } from "../../backend/circuits/pairs.ts";
import type { Definition } from "../../backend/common/definitions/definition.ts";
import type { Random, TokenPool } from "../../backend/common/random.ts";

/** Words of a list, and ids, that suit a model's tokenizer. */
export interface WordPool {
  /**
   * The words that are one token behind a space.
   * @param noun what they are, for the error @param least fewest that the task can do with, default 4
   * @throws HeadscopeError (unsupported) where too few are
   */
  single(words: readonly string[], noun: string, least?: number): readonly string[];
  /** Ids for prompts without meaning. */
  readonly ids: TokenPool;
}

/**
 * One way in which a task's pairs are made. Its prompts are texts or ids; the answers of texts are what follows them, with the
 * space in front. What makes the answer right in the clean prompt makes the wrong one right in the corrupt one.
 */
export interface PairKind {
  /** Such as "ABBA, template 2". */
  readonly name: string;
  draw(random: Random): Pair;
}

/** A task of minimal pairs: prompts that differ only in what decides between two answers. */
export interface PairTask<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /** True where prompts are ids, so that models without a tokenizer can do it. */
  readonly wordless?: boolean;
  /**
   * The kinds of its pairs; each occurs equally often.
   * @throws HeadscopeError (unsupported) for a tokenizer that cuts too many of its words
   */
  kinds(params: z.output<S>, vocabulary: WordPool): readonly PairKind[];
}

/** A task of minimal pairs as it is written: its parameters' types are inferred. */
export function pairTask<S extends z.ZodObject>(definition: PairTask<S>): PairTask<S> {
  return definition;
}

/** A parameter that holds a task to one of its templates. @param templates how many there are */
export function templateParameter(templates: number) {
  return z
    .int()
    .min(0)
    .max(templates - 1)
    .optional()
    .describe("one template alone, from 0; default all, equally often");
}

/** The templates that a parameter chooses, with their numbers. */
export function chosen<T>(templates: readonly T[], template: number | undefined): (readonly [number, T])[] {
  return [...templates.entries()].filter(([i]) => template === undefined || i === template);
}

/** Puts words for the {names} of a template. */
export function fill(template: string, words: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => words[name]!);
}

/** Draws different words of a list. */
export function draw<T>(random: Random, list: readonly T[], count: number): T[] {
  return random
    .permutation(list.length)
    .slice(0, count)
    .map((i) => list[i]!);
}

/** Draws a word of a list. */
export function one<T>(random: Random, list: readonly T[]): T {
  return list[random.integer(0, list.length)]!;
}

/** First names that English texts give to women. */
export const WOMEN: readonly string[] = [
  "Mary", "Alice", "Sarah", "Anna", "Emma", "Laura", "Julia", "Lisa", "Kate", "Jane", "Helen", "Susan", "Karen", "Linda", "Rachel",
  "Amy", "Emily", "Jessica", "Elizabeth", "Maria",
]; // biome-ignore format: a table
/** First names that English texts give to men. */
export const MEN: readonly string[] = [
  "John", "Tom", "James", "Paul", "Mark", "David", "Peter", "Robert", "Michael", "Kevin", "Brian", "Daniel", "George", "Simon",
  "Andrew", "Richard", "Steven", "William", "Thomas", "Martin",
]; // biome-ignore format: a table
