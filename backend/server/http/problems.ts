import type { Problem } from "../../common/api/problem.ts";
import {
  brief,
  briefField,
  type ErrorKind,
  type ErrorParts,
  HeadscopeError,
  isUnknownName,
} from "../../common/errors.ts";
import { fileError } from "../../store/file-error.ts";

/** Titles by status: what the API answers besides 200, 201, 202, 204 and 304. */
const TITLES: Readonly<Record<number, string>> = {
  400: "Malformed",
  401: "Token needed",
  403: "Refused",
  404: "Not found",
  405: "Method not allowed",
  408: "Too slow",
  409: "Does not fit",
  413: "Too large",
  414: "Address too long",
  415: "Not JSON",
  412: "Not as expected",
  416: "Not in the file",
  422: "Cannot be done",
  429: "Too much at once",
  428: "Asks first",
  431: "Headers too large",
  499: "Given up",
  500: "Defect",
  502: "Not fetched",
  503: "Not now",
};

/** Statuses of the kinds of HeadscopeError: 422 is well-formed JSON whose values headscope refuses. */
const STATUS: Readonly<Record<ErrorKind, number>> = {
  usage: 422,
  input: 422,
  unsupported: 422,
  corrupt: 422,
  missing: 404,
  mismatch: 409,
  busy: 429,
  network: 502,
  crashed: 503,
  cancelled: 499,
};

/** Most characters of a detail or remedy: what they quote is the caller's. */
const DETAIL = 2_000;

/** A refusal that is the server's own: limits, guards, addresses. */
export class Refusal extends Error {
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;

  /** @param kind of the problem: a HeadscopeError's, or "limit", "forbidden", "busy" */
  constructor(
    status: number,
    kind: Problem["kind"],
    detail: string,
    { headers = {}, ...parts }: ProblemParts & { headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(detail);
    this.name = "Refusal";
    this.problem = problem(status, kind, detail, parts);
    this.headers = headers;
  }
}

/** A refusal by a limit. */
export function limited(status: 413 | 414 | 422 | 429 | 503, detail: string, remedy: string): Refusal {
  const headers = status === 429 || status === 503 ? { "retry-after": "1" } : {};
  return new Refusal(status, status === 429 || status === 503 ? "busy" : "limit", detail, { remedy, headers });
}

/** The refusal of what takes longer than the caller said to wait for: asked again without that it is done. */
export function asksFirst({ tokens, seconds }: NonNullable<Problem["estimate"]>): Refusal {
  const detail = `${tokens.toLocaleString("en")} tokens take about ${Math.ceil(seconds)} s here`;
  const refusal = new Refusal(428, "long", detail, { remedy: "ask again without `Prefer: wait`" });
  return Object.assign(refusal, { problem: { ...refusal.problem, estimate: { tokens, seconds } } });
}

/** The refusal of an address that names nothing. */
export function notFound(detail: string, remedy?: string): Refusal {
  return new Refusal(404, "missing", detail, { remedy });
}

/** Answer to an error: a problem and headers beside it; `defect` says that it must be logged. */
export interface ErrorAnswer {
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;
  readonly defect: boolean;
}

/** The answer for anything that was thrown; what headscope did not throw on purpose says nothing of its insides. */
export function answerOf(error: unknown): ErrorAnswer {
  if (error instanceof Refusal) return { problem: error.problem, headers: error.headers, defect: false };
  if (error instanceof HeadscopeError) {
    const status = isUnknownName(error) ? 404 : STATUS[error.kind];
    return {
      problem: problem(status, error.kind, error.message, error),
      headers: status === 429 || status === 503 ? { "retry-after": "1" } : {},
      defect: false,
    };
  }
  const refused = httpProblem(error);
  if (refused !== undefined) return { problem: refused, headers: ownHeaders(error), defect: false };
  const refusal = fileError(error, `${(error as NodeJS.ErrnoException).path ?? "a file"} cannot be used`);
  if (refusal !== error) return answerOf(refusal);
  return {
    problem: problem(500, "defect", "something went wrong inside headscope", {
      remedy: "see what the server printed, and report it",
    }),
    headers: {},
    defect: true,
  };
}

/** Express's refusals of a file that it sends, by their status. */
const SENDING: Readonly<Record<number, readonly [kind: string, detail: string, remedy: string]>> = {
  403: ["forbidden", "this file is not sent", "see /api/openapi.json for what there is"],
  404: ["missing", "there is no such file", "it may have been removed: look again"],
  412: ["mismatch", "the file is not as the request expects it", "leave the condition out, or read it anew"],
  416: ["input", "the range lies outside the file", "ask for bytes that it has, or leave the range out"],
};

/** The problem of a body or an address that its reader refused, by the `type` or status that it gives its errors. */
function httpProblem(error: unknown): Problem | undefined {
  const { type, status, limit } = error as { type?: string; status?: number; limit?: number };
  if (type === "entity.too.large")
    return problem(413, "limit", `the body is larger than ${limit} bytes`, { remedy: "send less at once" });
  if (type === "entity.parse.failed")
    return problem(400, "input", "the body is not JSON", { remedy: "send one JSON document" });
  if (type === "encoding.unsupported" || type === "charset.unsupported")
    return problem(415, "input", "the body's encoding is not known here", { remedy: "send JSON in UTF-8" });
  if (type?.startsWith("request.") || status === 400)
    return problem(400, "input", "the request cannot be read", { remedy: "mend it and send it again" });
  if (status === undefined || !(status in SENDING)) return undefined;
  const [kind, detail, remedy] = SENDING[status]!;
  return problem(status, kind, detail, { remedy });
}

/** Headers that Express would have sent beside it, such as how long the file is. */
function ownHeaders(error: unknown): Record<string, string> {
  const { headers } = error as { headers?: Readonly<Record<string, unknown>> };
  return Object.fromEntries(Object.entries(headers ?? {}).filter(([, value]) => typeof value === "string")) as never;
}

/** Parts of a problem that not every one has. */
type ProblemParts = Pick<ErrorParts, "remedy" | "field">;

function problem(status: number, kind: string, detail: string, { remedy, field }: ProblemParts): Problem {
  return {
    type: `/problems/${kind}`,
    title: TITLES[status] ?? "Failed",
    status,
    detail: brief(detail, DETAIL),
    remedy: remedy && brief(remedy, DETAIL),
    field: briefField(field),
    kind,
  };
}
