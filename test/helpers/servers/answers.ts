import { z } from "zod";
import { LIMITS } from "../../../backend/server/http/limits.ts";
import { openApi } from "../../../backend/server/http/openapi.ts";
import { routes } from "../../../backend/server/routes/index.ts";

/** An operation of the OpenAPI document, as far as its answers go. */
export interface Operation {
  readonly operationId: string;
  readonly parameters: readonly { name: string; in: string; required: boolean; schema: object }[];
  readonly requestBody?: { readonly content: { readonly "application/json": { readonly schema: object } } };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, { schema?: object }>> }>>;
}

/** The OpenAPI document of the whole API. */
export const document = openApi(routes, LIMITS) as {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: { Problem: object } };
};

/** Every operation, with its path and method. */
export const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

const patterns = Object.keys(document.paths).map((path) => ({
  path,
  // Ids of documents and names of files may have slashes; the order of the routes decides between several that fit.
  pattern: new RegExp(`^${path.replace(/\{(id|name)\}$/, "(.+)").replace(/\{\w+\}/g, "([^/]+)")}$`),
}));
const schemas = new Map<string, z.ZodType>();

/** The operation that a request goes to; undefined where there is none. @param url path, perhaps with a query */
export function operationOf(method: string, url: string): string | undefined {
  const path = new URL(url, "http://localhost").pathname;
  const found = patterns.filter(({ pattern }) => pattern.test(path)).map((each) => each.path);
  const best = found.sort((a, b) => a.split("{").length - b.split("{").length || b.length - a.length)[0];
  const own = best === undefined ? undefined : document.paths[best]![method === "HEAD" ? "get" : method.toLowerCase()];
  return own === undefined ? undefined : `${method.toLowerCase()} ${best}`;
}

/**
 * Compares an answer in JSON with the schema that the OpenAPI document has for it.
 * @throws Error naming the field that is not as the schema says
 */
export function checkAnswer(method: string, url: string, status: number, json: unknown): void {
  const name = operationOf(method, url);
  const key = status >= 400 ? "problem" : `${name} ${status}`;
  if (name === undefined && status < 400) return;
  if (!schemas.has(key)) schemas.set(key, z.fromJSONSchema(schemaFor(name, status) as never));
  const result = schemas.get(key)!.safeParse(json);
  if (!result.success)
    throw new Error(`${method} ${url} (${status}) is not as its schema says: ${z.prettifyError(result.error)}`);
}

function schemaFor(name: string | undefined, status: number): object {
  if (status >= 400) return document.components.schemas.Problem;
  const [method, path] = name!.split(" ") as [string, string];
  const schema = document.paths[path]![method]!.responses[status]?.content?.["application/json"]?.schema;
  if (schema === undefined) throw new Error(`${name} has no schema of its answer ${status}`);
  return schema;
}
