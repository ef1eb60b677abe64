import express, { type IRouter, type Request, type RequestHandler, type Response } from "express";
import { z } from "zod";
import type { Data } from "../../common/api/fields.ts";
import { fieldPath } from "../../common/errors.ts";
import type { ServerContext } from "../context.ts";
import type { Caller } from "../interactive/interactive.ts";
import type { Limits } from "./limits.ts";
import { limited, Refusal } from "./problems.ts";

/** Answer in JSON. */
export interface JsonAnswer<S extends z.ZodType = z.ZodType> {
  /** Default 200. */
  readonly status?: 200 | 201 | 202;
  readonly description: string;
  readonly schema: S;
  /** Streamed as events instead to one who accepts text/event-stream. */
  readonly events?: true;
  /** Describes the case in which it is 204 instead. */
  readonly empty?: string;
}

/** Answer without a body. */
export interface EmptyAnswer {
  readonly status: 204;
  readonly description: string;
}

/** Answer of another media type, which the handler sends by itself. */
export interface SentAnswer {
  readonly description: string;
  readonly type: string;
}

/** Answer of an operation. */
export type OperationAnswer = JsonAnswer | EmptyAnswer | SentAnswer;

class Sent {
  readonly sent = true;
}
/** Says that a handler has answered by itself. */
export const SENT = new Sent();

/** Answers with a file. @param path of one that may be sent */
export async function sendFile(response: Response, path: string): Promise<Sent> {
  await new Promise<void>((done, fail) =>
    response.sendFile(path, { dotfiles: "allow", cacheControl: false }, (error) => (error ? fail(error) : done())),
  );
  return SENT;
}

/** Values that the handler of an operation gives back: data of its schema, `SENT`, or undefined for 204. */
export type Returned<A extends OperationAnswer> =
  // biome-ignore lint/suspicious/noConfusingVoidType: a handler without an answer has no return
  | (A extends JsonAnswer<infer S> ? Data<S> : A extends EmptyAnswer ? void : Sent)
  | (A extends { readonly events: true } ? Sent : never)
  | (A extends { readonly empty: string } ? undefined : never);

/** A request as its handler has it: its parts checked and complete. */
export interface OperationRequest<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal;
  /** Of the headers `x-request-id` and `Prefer: wait=SECONDS` (RFC 7240). */
  readonly caller: Caller;
  readonly request: Request;
  readonly response: Response;
}

/** One operation of the API: its schemas check what it takes and gives, and make the OpenAPI document. */
export interface Route<
  P extends z.ZodObject = z.ZodObject,
  Q extends z.ZodObject = z.ZodObject,
  B extends z.ZodType = z.ZodType,
  A extends OperationAnswer = OperationAnswer,
> {
  readonly method: "get" | "post" | "delete";
  /** Below /api, as Express writes it: "/models/:ref", "/scores/*id" for the rest of the path. */
  readonly path: string;
  readonly summary: string;
  readonly params?: P;
  readonly query?: Q;
  /** Given the server's limits, so that the document names them. */
  readonly body?: (limits: Limits) => B;
  /** Most bytes of the body, default `bodyBytes`. */
  readonly size?: "bodyBytes" | "documentBytes";
  readonly answer: A;
  handle(
    call: OperationRequest<z.output<P>, z.output<Q>, z.output<B>>,
    context: ServerContext,
  ): Returned<A> | Promise<Returned<A>>;
}

/** Media type of a stream of events. */
export const EVENT_STREAM = "text/event-stream";

/** Keeps the types of a route's parts together: a handler that gives what its answer's schema does not say is no route. */
export function route<
  P extends z.ZodObject,
  Q extends z.ZodObject,
  B extends z.ZodType,
  const A extends OperationAnswer,
>(definition: Route<P, Q, B, A>): Route {
  return definition;
}

/** Puts routes on a router; other methods of their paths are refused with 405. */
export function mount(router: IRouter, routes: readonly Route[], context: ServerContext): void {
  const methods = new Map<string, string[]>();
  for (const definition of routes) {
    methods.set(definition.path, [...(methods.get(definition.path) ?? []), definition.method.toUpperCase()]);
    router[definition.method](definition.path, ...bodyReader(definition, context.limits), handler(definition, context));
  }
  for (const [path, allowed] of methods) router.all(path, refuseMethod(allowed));
}

function refuseMethod(allowed: readonly string[]): RequestHandler {
  const allow = [...allowed, ...(allowed.includes("GET") ? ["HEAD"] : [])].join(", ");
  return ({ method, path }) => {
    throw new Refusal(405, "usage", `${path} has no ${method}`, { remedy: `use ${allow}`, headers: { allow } });
  };
}

function handler(definition: Route, context: ServerContext): RequestHandler {
  const { answer } = definition;
  const bodySchema = definition.body?.(context.limits);
  return async (request, response) => {
    const params = check(definition.params, joined(request.params), "the address");
    const query = check(definition.query ?? z.strictObject({}), request.query, "the query");
    const body = bodySchema === undefined ? undefined : check(bodySchema, request.body, "the body");
    // HEAD is told what GET would answer: of a stream that is the type, and nothing is begun.
    if (request.method === "HEAD" && "type" in answer && answer.type === EVENT_STREAM)
      return void response.type(EVENT_STREAM).end();
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const call = { params, query, body, signal: gone.signal, caller: callerOf(request), request, response };
    const value = await definition.handle(call as Parameters<Route["handle"]>[0], context);
    if (value === SENT || gone.signal.aborted) return;
    if (value === undefined) response.status(204).end();
    else response.status("status" in answer ? (answer.status ?? 200) : 200).json(value);
  };
}

function callerOf({ headers }: Request): Caller {
  const id = headers["x-request-id"];
  const wait = /(?:^|[,;\s])wait=(\d{1,6})(?=$|[,;\s])/.exec(String(headers["prefer"] ?? ""))?.[1];
  return {
    id: typeof id === "string" && /^[\w.-]{1,64}$/.test(id) ? id : undefined,
    wait: wait === undefined ? undefined : Number(wait),
  };
}

/** Wildcards come in parts. */
function joined(params: Readonly<Record<string, string | string[]>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [name, Array.isArray(value) ? value.join("/") : value]),
  );
}

function check(schema: z.ZodType | undefined, value: unknown, what: string): unknown {
  if (schema === undefined) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = deepest(result.error.issues);
  const field = fieldPath(path);
  throw new Refusal(422, "usage", `${what} cannot be used: ${field && `${field} `}${lower(message)}`, {
    remedy: "see /api/openapi.json for what is taken",
    field: field || undefined,
  });
}

/** The issue that says most: of a union, that of the alternative which got furthest. */
function deepest(issues: readonly z.core.$ZodIssue[]): { path: readonly PropertyKey[]; message: string } {
  const [first] = issues as [z.core.$ZodIssue];
  if (first.code !== "invalid_union" || first.errors.length === 0) return first;
  const inner = first.errors.filter((issues) => issues.length > 0).map(deepest);
  const best = inner.sort((a, b) => b.path.length - a.path.length)[0];
  return best === undefined ? first : { path: [...first.path, ...best.path], message: best.message };
}

function lower(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

/** Reads a JSON body within the limits. */
function bodyReader({ method, body, size = "bodyBytes" }: Route, limits: Limits): RequestHandler[] {
  if (method !== "post" || body === undefined) return [];
  const requireJson: RequestHandler = (request, _, next) => {
    if (request.is("application/json") === false || request.headers["content-type"] === undefined)
      throw notJson("the body is not declared as JSON", "send content-type: application/json");
    next();
  };
  const verify = (_: unknown, __: unknown, bytes: Buffer, encoding: string): void => {
    // The bytes are looked at as what the parser will decode.
    if (encoding !== "utf-8") throw notJson(`the body is in ${encoding}`, "send JSON in UTF-8");
    checkJson(bytes, limits);
  };
  return [requireJson, express.json({ limit: limits[size], strict: true, verify })];
}

function notJson(detail: string, remedy: string): Refusal {
  return new Refusal(415, "input", detail, { remedy });
}

/** Bounds of the parts of a JSON body. */
export type BodyLimits = Pick<Limits, "jsonDepth" | "jsonValues" | "jsonKeys">;

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const OPENING = [0x5b, 0x7b];
const CLOSING = [0x5d, 0x7d];

/**
 * Looks at the bytes of JSON in UTF-8 before they are parsed: what follows costs time by values and keys, not by bytes, and holds
 * everybody's requests meanwhile.
 * @throws Refusal 422 for arrays and objects nested too deep, for too many values or too many keys
 */
export function checkJson(bytes: Uint8Array, { jsonDepth, jsonValues, jsonKeys }: BodyLimits): void {
  let [depth, values, keys] = [0, 1, 0];
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (inString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === COMMA) values++;
    else if (byte === COLON) keys++;
    else if (OPENING.includes(byte)) {
      values++;
      if (++depth > jsonDepth) throw limited(422, `the body nests deeper than ${jsonDepth}`, "send plainer JSON");
    } else if (CLOSING.includes(byte)) depth--;
  }
  if (values > jsonValues) throw limited(422, `the body has more than ${jsonValues} values`, "send less at once");
  if (keys > jsonKeys) throw limited(422, `the body has more than ${jsonKeys} keys`, "send less at once");
}
