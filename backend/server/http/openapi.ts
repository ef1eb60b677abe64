import { z } from "zod";
import packageJson from "../../../package.json" with { type: "json" };
import { problemSchema } from "../../common/api/problem.ts";
import type { Limits } from "./limits.ts";
import { EVENT_STREAM, type OperationAnswer, type Route } from "./route.ts";

type Schema = Record<string, unknown>;

const TOKEN: Schema = {
  type: "http",
  scheme: "bearer",
  description: "The data folder's token, which headscope token prints. Browsers have a cookie instead.",
};

/** The OpenAPI 3.1 document of some routes, from the schemas by which they check what they are given. */
export function openApi(routes: readonly Route[], limits: Limits): Schema {
  const paths: Record<string, Schema> = {};
  for (const route of routes) {
    const path = `/api${route.path.replace(/[:*](\w+)/g, "{$1}")}`;
    paths[path] = { ...paths[path], [route.method]: operation(route, limits) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "headscope",
      version: packageJson.version,
      description: "Heads are written LAYER.HEAD, 0-based; times are milliseconds, losses nats a token, sizes bytes.",
    },
    paths,
    components: { schemas: { Problem: schemaOf(problemSchema, "output") }, securitySchemes: { token: TOKEN } },
    security: [{ token: [] }],
  };
}

function operation(route: Route, limits: Limits): Schema {
  const { summary, answer, body } = route;
  return {
    summary,
    operationId: operationId(route),
    parameters: [...parameters(route, "path"), ...parameters(route, "query")],
    ...(body === undefined
      ? {}
      : {
          requestBody: { required: true, content: { "application/json": { schema: schemaOf(body(limits), "input") } } },
        }),
    responses: {
      ...successes(answer),
      default: {
        description: "A problem.",
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
}

/** The responses of an operation that has done what it was asked for, by status. */
function successes(answer: OperationAnswer): Schema {
  const { description } = answer;
  if ("type" in answer) return { 200: { description, content: { [answer.type]: {} } } };
  if (!("schema" in answer)) return { [answer.status]: { description } };
  const { schema, status = 200, events, empty } = answer;
  const content = { "application/json": { schema: schemaOf(schema, "output") }, ...(events && { [EVENT_STREAM]: {} }) };
  return { [status]: { description, content }, ...(empty === undefined ? {} : { 204: { description: empty } }) };
}

/** "getModelsRef". */
function operationId({ method, path }: Route): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== "");
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}

function parameters(route: Route, place: "path" | "query"): Schema[] {
  const schema = place === "path" ? route.params : route.query;
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(schema, "input") as {
    properties?: Record<string, Schema>;
    required?: readonly string[];
  };
  return Object.entries(properties).map(([name, { description, ...own }]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: own,
  }));
}

function schemaOf(schema: z.ZodType, io: "input" | "output"): Schema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" }) as Schema;
  return rest;
}
