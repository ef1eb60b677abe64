import { z } from "zod";
import packageJson from "../../../package.json" with { type: "json" };
import type { Limits } from "./limits.ts";
import type { Route } from "./route.ts";

type Schema = Record<string, unknown>;

const PROBLEM: Schema = {
  type: "object",
  description: "RFC 9457: what every response with a status from 400 on holds.",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    remedy: { type: "string" },
    field: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
    kind: { type: "string" },
    estimate: { type: "object", properties: { tokens: { type: "integer" }, seconds: { type: "number" } } },
  },
  required: ["type", "title", "status", "detail", "kind"],
};

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
    components: { schemas: { Problem: PROBLEM }, securitySchemes: { token: TOKEN } },
    security: [{ token: [] }],
  };
}

function operation(route: Route, limits: Limits): Schema {
  const { summary, answer, body } = route;
  const { status = route.answer.type === undefined && /^Nothing/.test(answer.description) ? 204 : 200 } = answer;
  const content = answer.schema === undefined ? {} : { schema: schemaOf(answer.schema, "output") };
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
      [status]: {
        description: answer.description,
        ...(status === 204 ? {} : { content: { [answer.type ?? "application/json"]: content } }),
      },
      default: {
        description: "A problem.",
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
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
