import type { z } from "zod";

/**
 * A schema of an object that takes so many keys at most, whatever they are; its JSON Schema says so.
 * @param schema of a record or of an object that lets extra keys pass
 */
export function atMostKeys<S extends z.ZodType>(schema: S, most: number): S {
  const fits = (value: unknown): boolean => Object.keys(value as object).length <= most;
  return schema.refine(fits, `has more than ${most} entries`).meta({ maxProperties: most }) as S;
}

/** A schema of any JSON that takes so many characters of it at most; its JSON Schema says so as `x-maxCharacters`. */
export function atMostCharacters<S extends z.ZodType>(schema: S, most: number): S {
  const fits = (value: unknown): boolean => (JSON.stringify(value)?.length ?? 0) <= most;
  return schema.refine(fits, `has more than ${most} characters`).meta({ "x-maxCharacters": most }) as S;
}
