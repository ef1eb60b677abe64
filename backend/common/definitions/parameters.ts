import { z } from "zod";
import { HeadscopeError, nearestNames } from "../errors.ts";

/** Schema of one parameter, as the CLI's help and a form show it. */
export const flagSchema = z.object({
  name: z.string(),
  type: z.string().describe('how a value looks: "integer", "number", "true or false", "text", or choices "a | b"'),
  default: z.unknown().optional().describe("absent when the parameter may be left out without a value standing in"),
  description: z.string().describe("what it means, with its unit"),
  range: z
    .string()
    .describe('allowed values in words, such as "from 1 to 4096"; empty when any value of the type will do'),
  file: z
    .string()
    .optional()
    .describe("kind of the file that it names, such as mask; over HTTP those of the data folder, by their ids"),
});
/** One parameter as data. */
export type Flag = Readonly<z.output<typeof flagSchema>>;

/** The part of JSON Schema (draft 2020-12) that parameters use. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  /** Of `fileParameter`. */
  readonly file?: string;
  /** Of a policy's parameter that counts what a model has (`inUnit`). */
  readonly unit?: string;
}

/**
 * A parameter that names a file.
 * @param kind of the file: mask, scores, or a word for what only the command line takes
 */
export function fileParameter(kind: string, description: string): z.ZodString {
  return z.string().min(1).meta({ file: kind, description });
}

const schemas = new WeakMap<z.ZodObject, JsonSchema>();

/** JSON Schema of what a caller may give (defaults may be left out). Made once for each schema. */
export function jsonSchema(parameters: z.ZodObject): JsonSchema {
  let schema = schemas.get(parameters);
  if (schema === undefined) {
    schema = z.toJSONSchema(parameters, { io: "input" }) as JsonSchema;
    schemas.set(parameters, schema);
  }
  return schema;
}

/** Parameters as data for help and forms, in the order of the schema. */
export function flagsOf(parameters: z.ZodObject): Flag[] {
  return Object.entries(jsonSchema(parameters).properties ?? {}).map(([name, field]) => ({
    name,
    type: typeWords(field),
    ...("default" in field ? { default: field.default } : {}),
    description: field.description ?? "",
    range: rangeWords(field),
    ...(field.file === undefined ? {} : { file: field.file }),
  }));
}

/**
 * Reads "k=v" arguments of the command line.
 * @throws HeadscopeError `usage` for an argument without "=", or a name given twice
 */
export function readPairs(pairs: readonly string[]): Record<string, string> {
  const values = new Map<string, string>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 1) throw new HeadscopeError("usage", `"${pair}" is not a parameter`, { remedy: "write it as name=value" });
    const name = pair.slice(0, at);
    if (values.has(name))
      throw new HeadscopeError("usage", `parameter ${name} is given twice`, { remedy: "give it once", field: name });
    values.set(name, pair.slice(at + 1));
  }
  return Object.fromEntries(values);
}

/**
 * Checks parameters at the edge: text becomes numbers, booleans and lists as the schema asks, defaults are filled in.
 * @param owner whose parameters they are, such as "probe induction"; errors name it
 * @param raw values by name; text from a command line or values from JSON; undefined counts as left out
 * @throws HeadscopeError `usage` for an unknown name (nearest names listed) or a value outside its range
 */
export function parseParameters<S extends z.ZodObject>(
  owner: string,
  parameters: S,
  raw: Readonly<Record<string, unknown>>,
): z.output<S> {
  const properties = jsonSchema(parameters).properties ?? {};
  const given: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(raw)) {
    if (value === undefined) continue;
    const field = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (field === undefined) throw unknownParameter(owner, name, Object.keys(properties));
    given[name] = typeof value === "string" ? coerce(value, field) : value;
  }
  const result = parameters.safeParse(given);
  if (result.success) return result.data as z.output<S>;
  throw badValue(owner, result.error.issues[0]!, properties, raw);
}

function unknownParameter(owner: string, name: string, names: readonly string[]): HeadscopeError {
  const remedy =
    names.length > 0 ? `did you mean ${nearestNames(name, names).join(", ")}?` : "it takes none: leave it out";
  return new HeadscopeError("usage", `unknown parameter "${name}" of ${owner}`, { remedy, field: name });
}

function badValue(
  owner: string,
  issue: z.core.$ZodIssue,
  properties: Readonly<Record<string, JsonSchema>>,
  raw: Readonly<Record<string, unknown>>,
): HeadscopeError {
  const name = issue.path[0] === undefined ? undefined : String(issue.path[0]);
  const field = name === undefined ? undefined : properties[name];
  if (name === undefined || field === undefined)
    return new HeadscopeError("usage", `parameters of ${owner}: ${issue.message}`, { remedy: "change them" });
  const value = raw[name];
  if (value === undefined)
    return new HeadscopeError("usage", `${owner} needs parameter ${name}`, {
      remedy: `give ${allowed(field)}`,
      field: name,
    });
  const remedy = issue.code === "custom" ? issue.message : `give ${allowed(field)}`;
  const text = typeof value === "number" ? String(value) : JSON.stringify(value); // JSON would show NaN as null
  return new HeadscopeError("usage", `parameter ${name} of ${owner} cannot be ${text}`, { remedy, field: name });
}

function allowed(field: JsonSchema): string {
  const words = [typeWords(field), rangeWords(field)].filter((part) => part !== "").join(" ");
  return field.description === undefined ? words : `${words} (${field.description})`;
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const BOOLEANS: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  "1": true,
  false: false,
  no: false,
  off: false,
  "0": false,
};

/** Text as the value that the schema asks for; the text itself where it does not fit, so that the schema refuses it. */
function coerce(text: string, field: JsonSchema): unknown {
  if (field.anyOf !== undefined) {
    const values = field.anyOf.map((option) => coerce(text, option));
    return values.find((value) => typeof value !== "string") ?? text;
  }
  if (field.const !== undefined || field.enum !== undefined) {
    const choices = field.enum ?? [field.const];
    return choices.find((choice) => String(choice) === text) ?? text;
  }
  switch (field.type) {
    case "number":
    case "integer":
      return NUMBER.test(text.trim()) ? Number(text) : text;
    case "boolean":
      return BOOLEANS[text.trim().toLowerCase()] ?? text;
    case "null":
      return text === "null" ? null : text;
    case "array":
      return coerceList(text, field.items ?? {});
    case "object":
      return jsonOr(text);
    default:
      return text;
  }
}

/** "[1,2]" or "1,2". */
function coerceList(text: string, items: JsonSchema): unknown {
  if (text.trim() === "") return [];
  if (text.trim().startsWith("[")) return jsonOr(text);
  return text.split(",").map((part) => coerce(part.trim(), items));
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the schema then refuses the text by the parameter's name
  }
}

function typeWords(field: JsonSchema): string {
  if (field.anyOf !== undefined) return field.anyOf.map(typeWords).join(" or ");
  if (field.enum !== undefined) return field.enum.map(String).join(" | ");
  if (field.const !== undefined) return String(field.const);
  switch (field.type) {
    case "boolean":
      return "true or false";
    case "string":
      return field.file === undefined ? "text" : "file";
    case "array":
      return `list of ${/^(integer|number)$/.test(typeWords(field.items ?? {})) ? `${typeWords(field.items ?? {})}s` : typeWords(field.items ?? {})}`;
    case "object":
      return "JSON object";
    case undefined:
      return "any value";
    default:
      return String(field.type);
  }
}

/** Numbers that zod writes for every integer, not limits that anybody chose. */
const UNBOUNDED = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];

function rangeWords(field: JsonSchema): string {
  if (field.type === "array") {
    const inner = rangeWords(field.items ?? {});
    const count =
      field.minItems !== undefined || field.maxItems !== undefined
        ? `${limits(field.minItems, field.maxItems)} of them`.replace(/^from /, "")
        : "";
    return [inner, count].filter((part) => part !== "").join(", ");
  }
  const kept = (limit: number | undefined) => (UNBOUNDED.includes(limit as number) ? undefined : limit);
  const exclusive = [
    field.exclusiveMinimum === undefined ? "" : `above ${field.exclusiveMinimum}`,
    field.exclusiveMaximum === undefined ? "" : `below ${field.exclusiveMaximum}`,
  ];
  return [limits(kept(field.minimum), kept(field.maximum)), ...exclusive].filter((part) => part !== "").join(", ");
}

function limits(low: number | undefined, high: number | undefined): string {
  if (low !== undefined && high !== undefined) return `from ${low} to ${high}`;
  if (low !== undefined) return `at least ${low}`;
  return high === undefined ? "" : `at most ${high}`;
}
