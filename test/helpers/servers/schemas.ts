/** A JSON Schema, as far as bounds go. */
interface Schema {
  readonly type?: string;
  readonly [key: string]: unknown;
}

/** Lists of schemas of which one or all hold. */
const SEVERAL = ["anyOf", "oneOf", "allOf"] as const;

/**
 * The parts of a JSON Schema that take texts, lists or objects of any size, by their path. What an object of bounded keys, or of
 * bounded characters, holds besides its named fields is bounded by the size of a body.
 */
export function unboundedParts(schema: unknown, path: string, root: unknown = schema): string[] {
  if (schema === true || schema === null || typeof schema !== "object") return [];
  const own = schema as Schema;
  if (typeof own["$ref"] === "string") return []; // a schema within itself: its parts are looked at where they stand
  if (own["x-maxCharacters"] !== undefined || own["enum"] !== undefined || own["const"] !== undefined) return [];
  const below = SEVERAL.flatMap((key) => (own[key] as unknown[] | undefined) ?? []);
  const found = below.flatMap((each) => unboundedParts(each, path, root));
  const definitions = Object.entries((own["$defs"] ?? own["definitions"] ?? {}) as Record<string, unknown>);
  found.push(...definitions.flatMap(([name, each]) => unboundedParts(each, `${path}#${name}`, root)));
  if (own.type === "string" && own["maxLength"] === undefined && !hasEnd(own["pattern"])) found.push(path);
  if (own.type === "array") {
    if (own["maxItems"] === undefined && own["prefixItems"] === undefined) found.push(path);
    found.push(...unboundedParts(own["items"], `${path}[]`, root));
  }
  if (own.type === "object") found.push(...unboundedFields(own, path, root));
  const known = own.type !== undefined || below.length > 0;
  return known ? found : [...found, path];
}

function unboundedFields(own: Schema, path: string, root: unknown): string[] {
  const fields = Object.entries((own["properties"] ?? {}) as Record<string, unknown>);
  const found = fields.flatMap(([name, each]) => unboundedParts(each, `${path}.${name}`, root));
  const extra = own["additionalProperties"];
  if (extra === false) return found;
  if (own["maxProperties"] === undefined) return [...found, `${path}.*`];
  const any = extra === undefined || extra === true || Object.keys(extra as object).length === 0;
  return any ? found : [...found, ...unboundedParts(extra, `${path}.*`, root)];
}

/** Tells whether a pattern is anchored and repeats nothing without end. */
function hasEnd(pattern: unknown): boolean {
  if (typeof pattern !== "string" || !pattern.startsWith("^") || !pattern.endsWith("$")) return false;
  return !/[*+]|\{\d+,\}/.test(pattern.replace(/\\.|\[[^\]]*\]/g, "x"));
}
