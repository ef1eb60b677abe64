import { createHash, timingSafeEqual } from "node:crypto";
import { hostname, networkInterfaces } from "node:os";
import type { Request, RequestHandler } from "express";
import { HeadscopeError } from "../errors.ts";
import type { Limits } from "./limits.ts";
import { limited, Refusal } from "./problems.ts";

const LOOPBACK = ["localhost", "127.0.0.1", "::1"];
const COOKIE = "headscope-token";

/** Who is let in. */
export interface GuardOptions {
  /** The address that the server listens on. */
  readonly host: string;
  readonly port: number;
  /** What everybody must show where the host is not this machine's own. */
  readonly token?: string | undefined;
  readonly limits: Limits;
}

/** Whether only this machine reaches a host. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.includes(host.replace(/^\[(.*)\]$/, "$1")) || /^127(\.\d{1,3}){3}$/.test(host);
}

/**
 * Refuses to open a host to others without a token.
 * @throws HeadscopeError `usage` with the remedy
 */
export function checkToken(host: string, token: string | undefined): void {
  if (isLoopback(host) || (token !== undefined && token.length >= 16)) return;
  const what = token === undefined ? "HEADSCOPE_TOKEN is not set" : "HEADSCOPE_TOKEN has fewer than 16 characters";
  throw new HeadscopeError("usage", `host ${host} is open to other machines, and ${what}`, {
    remedy: 'set it to a secret (HEADSCOPE_TOKEN="$(openssl rand -hex 16)"), or leave --host out',
  });
}

/**
 * Refuses what another site's page, or a name that was pointed at this machine, sends: the Host must be this server's, and
 * an Origin its own. Where there is a token, /api needs it, as a bearer or as the cookie that `/?token=…` sets.
 */
export function guard({ host, port, token, limits }: GuardOptions): RequestHandler {
  const hosts = hostsOf(host, port);
  return (request, response, next) => {
    if (request.url.length > limits.urlCharacters)
      throw limited(414, `the address is longer than ${limits.urlCharacters} characters`, "send long values in a body");
    checkHost(request, hosts);
    if (token === undefined) return next();
    const given = typeof request.query["token"] === "string" ? request.query["token"] : undefined;
    if (request.path === "/" && given !== undefined && same(given, token)) {
      response.cookie(COOKIE, token, { httpOnly: true, sameSite: "strict", path: "/" });
      return response.redirect(303, "/");
    }
    if (!request.path.startsWith("/api") || [bearer(request), cookie(request)].some((each) => same(each, token)))
      return next();
    throw new Refusal(401, "forbidden", "this server needs its token", {
      remedy: "open /?token=… once, or send it as Authorization: Bearer …",
      headers: { "www-authenticate": "Bearer" },
    });
  };
}

function checkHost(request: Request, hosts: ReadonlySet<string>): void {
  const { host, origin } = request.headers;
  if (host === undefined || !hosts.has(host.toLowerCase()))
    throw new Refusal(403, "forbidden", `host ${host ?? "(none)"} is not this server`, {
      remedy: "use the address that headscope printed",
    });
  const site = request.headers["sec-fetch-site"];
  const foreignPage = site !== undefined && site !== "same-origin" && site !== "none";
  if ((origin !== undefined && !hosts.has(hostOfOrigin(origin))) || (foreignPage && request.path.startsWith("/api")))
    throw new Refusal(403, "forbidden", `pages of ${origin ?? "another site"} may not use this server`, {
      remedy: "use headscope's own pages, or a program that is no browser",
    });
}

/** The host of an http origin; nothing that a host can be for any other. */
function hostOfOrigin(origin: string): string {
  return /^http:\/\/([^/]+)$/i.exec(origin)?.[1]?.toLowerCase() ?? "";
}

/** Every name by which this server is meant. */
function hostsOf(host: string, port: number): Set<string> {
  const everywhere = host === "0.0.0.0" || host === "::";
  const addresses = everywhere
    ? [hostname(), ...Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address))]
    : [host.replace(/^\[(.*)\]$/, "$1")];
  const names = [...LOOPBACK, ...addresses].map((name) => (name.includes(":") ? `[${name}]` : name).toLowerCase());
  return new Set(names.flatMap((name) => (port === 80 ? [name, `${name}:80`] : [`${name}:${port}`])));
}

function bearer(request: Request): string {
  return /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "";
}

function cookie(request: Request): string {
  const pairs = (request.headers.cookie ?? "").split(";").map((each) => each.trim());
  const found = pairs.find((each) => each.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1) ?? "";
  try {
    return decodeURIComponent(found);
  } catch {
    return "";
  }
}

/** Compares without telling by the time how much is right. */
function same(given: string, token: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
