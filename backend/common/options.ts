import { HeadscopeError, unknownName } from "./errors.ts";

/** A rule about the values of an option. */
export interface Rule {
  /** The values that fit, for the remedy: "a whole number from 1". */
  readonly wants: string;
  fits(value: unknown): boolean;
}

/** Any value: whoever reads the option checks it. */
export const ANYTHING: Rule = { wants: "a value", fits: () => true };

/** True or false. */
export const YES_OR_NO: Rule = { wants: "true or false", fits: (value) => typeof value === "boolean" };

/** A function. */
export const FUNCTION: Rule = { wants: "a function", fits: (value) => typeof value === "function" };

/** A whole number. @param least smallest that will do @param most largest, default any */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): Rule {
  return {
    wants: `a whole number from ${least}${most === Number.MAX_SAFE_INTEGER ? "" : ` to ${most}`}`,
    fits: (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
  };
}

/** A number that is finite. @param least smallest that will do @param most largest, default any */
export function real(least: number, most = Number.POSITIVE_INFINITY): Rule {
  return {
    wants: `a number from ${least}${most === Number.POSITIVE_INFINITY ? "" : ` to ${most}`}`,
    fits: (value) => Number.isFinite(value) && (value as number) >= least && (value as number) <= most,
  };
}

/** A number above another that it can't be itself. */
export function above(limit: number): Rule {
  return { wants: `a number above ${limit}`, fits: (value) => Number.isFinite(value) && (value as number) > limit };
}

/** One of a few words. */
export function oneOf(words: readonly string[]): Rule {
  return { wants: `one of ${words.join(", ")}`, fits: (value) => words.includes(value as string) };
}

/** A list whose entries all follow a rule, at least one of them. */
export function listOf(rule: Rule): Rule {
  return {
    wants: `a list, each entry ${rule.wants}`,
    fits: (value) => Array.isArray(value) && value.length > 0 && value.every(rule.fits),
  };
}

/** A rule for every option of a function. */
export type Rules<T> = { readonly [K in keyof Required<T>]: Rule };

/**
 * Insists that options are known and fit their rules; absent ones pass.
 * @param what the function, such as "generate"; errors start with it
 * @param required options that must be there
 * @throws HeadscopeError (usage) for an unknown option, with the nearest there are, a value that does not fit, or a missing one
 */
export function checkOptions<T extends object>(
  what: string,
  options: T,
  rules: Rules<T>,
  required: readonly (keyof T)[] = [],
): void {
  if (options === null || typeof options !== "object" || Array.isArray(options))
    throw new HeadscopeError("usage", `${what}: the options are ${shown(options)}`, { remedy: "give an object" });
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(rules, name)) throw unknownName(`option of ${what}`, name, Object.keys(rules));
    const rule = rules[name as keyof T];
    if (value === undefined || rule.fits(value)) continue;
    throw new HeadscopeError("usage", `${what}: ${name} cannot be ${shown(value)}`, {
      remedy: `give ${rule.wants}`,
      field: name,
    });
  }
  const missing = required.find((name) => options[name] === undefined);
  if (missing !== undefined)
    throw new HeadscopeError("usage", `${what}: ${String(missing)} is missing`, {
      remedy: `give ${rules[missing].wants}`,
      field: String(missing),
    });
}

const SHOWN = 60;

function shown(value: unknown): string {
  if (typeof value === "number" || typeof value === "function" || typeof value === "bigint")
    return typeof value === "function" ? "a function" : String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
