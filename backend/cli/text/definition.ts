import type { Definition, Flag, Registry } from "../../common/definitions/definition.ts";
import type { JsonSchema } from "../../common/definitions/parameters.ts";
import { wrapped } from "../../common/text.ts";
import { bold, table } from "./format.ts";

/** A definition as data: what it is and the JSON Schema of its parameters. */
export interface DefinitionSheet {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly source: string;
  readonly parameters: JsonSchema;
  readonly flags: readonly Flag[];
}

/** Describes one definition of a registry. @throws HeadscopeError `usage` for an unknown name */
export function definitionDocument<D extends Definition>(registry: Registry<D>, name: string): DefinitionSheet {
  const { title, description, source } = registry.get(name);
  return { name, title, description, source, parameters: registry.schemas()[name]!, flags: registry.flags(name) };
}

/** A definition for people. */
export function definitionText({ name, title, description, source, flags }: DefinitionSheet): string {
  return [
    `${bold(name)}: ${title}`,
    "",
    wrapped(description.split(/\s+/), 100, ""),
    "",
    `Source: ${source}`,
    ...(flags.length === 0 ? [] : ["", flagsTable(flags)]),
  ].join("\n");
}

/** Parameters as a table. */
export function flagsTable(flags: readonly Flag[]): string {
  const rows = flags.map((flag) => [
    flag.name,
    [flag.type, flag.range].filter((part) => part !== "").join(" "),
    flag.default === undefined ? "" : typeof flag.default === "string" ? flag.default : JSON.stringify(flag.default),
    flag.description,
  ]);
  return table(["parameter", "value", "default", "meaning"], rows);
}
