import type { z } from "zod";
import { unknownName } from "../errors.ts";
import { type Flag, flagsOf, type JsonSchema, jsonSchema, parseParameters } from "./parameters.ts";

/**
 * The one shape of everything that headscope offers by name: probes, tasks, policies, experiments, exports.
 * A kind adds its own `run` or `write`; CLI flags, API validation and forms come from `parameters`.
 */
export interface Definition<S extends z.ZodObject = z.ZodObject> {
  /** Lower case with hyphens; what a user types. */
  readonly name: string;
  readonly title: string;
  /** One paragraph: what it measures or does, and how to read the result. */
  readonly description: string;
  /** The paper or repository that defines it. */
  readonly source: string;
  /** Every field has a description with its unit, and a default unless it may be absent. */
  readonly parameters: S;
}

/** The parameters of a definition as `run` or `write` receives them, checked and complete. */
export type ParametersOf<D extends Definition> = z.output<D["parameters"]>;

/** The definitions of one kind, found by name. */
export interface Registry<D extends Definition> {
  /** Noun of the definitions, such as "probe"; errors use it. */
  readonly kind: string;
  list(): readonly D[];
  names(): string[];
  /** @throws HeadscopeError `usage` that lists the nearest names */
  get(name: string): D;
  /**
   * Parameters of one definition from text (`--param k=v`) or values, defaults filled in.
   * @throws HeadscopeError `usage` naming the parameter, the value and what is allowed
   */
  parse(name: string, raw?: Readonly<Record<string, unknown>>): ParametersOf<D>;
  /** JSON Schema (draft 2020-12) of each definition's parameters, by name. */
  schemas(): Record<string, JsonSchema>;
  /** A definition's parameters as data for help and forms. */
  flags(name: string): Flag[];
}

/**
 * Collects the definitions of a folder's index.
 * @param kind what they are, in the singular
 */
export function registry<D extends Definition>(kind: string, definitions: readonly D[]): Registry<D> {
  const byName = new Map(definitions.map((definition) => [definition.name, definition]));
  if (byName.size !== definitions.length) throw new Error(`two ${kind} definitions share a name`);

  function get(name: string): D {
    const definition = byName.get(name);
    if (definition === undefined) throw unknownName(kind, name, [...byName.keys()]);
    return definition;
  }
  return {
    kind,
    list: () => definitions,
    names: () => [...byName.keys()],
    get,
    parse: (name, raw = {}) => parseParameters(`${kind} ${name}`, get(name).parameters, raw) as ParametersOf<D>,
    schemas: () =>
      Object.fromEntries(definitions.map((definition) => [definition.name, jsonSchema(definition.parameters)])),
    flags: (name) => flagsOf(get(name).parameters),
  };
}

export type { Flag, JsonSchema } from "./parameters.ts";
export { parseParameters, readPairs } from "./parameters.ts";
