import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { hostname, networkInterfaces } from "node:os";
import { posix } from "node:path";
import type { Request, RequestHandler, Response } from "express";
import { HeadscopeError } from "../../common/errors.ts";
import type { Limits } from "./limits.ts";
import { limited, notFound, Refusal } from "./problems.ts";
import { checkTokenForm } from "./token.ts";

const LOOPBACK = ["localhost", "127.0.0.1", "::1"];
/** Milliseconds for which a browser stays let in. */
const COOKIE_AGE = 30 * 24 * 3_600_000;

/** Who is let in. */
export interface GuardOptions {
  /** The address that the server listens on. */
  readonly host: string;
  readonly port: number;
  /** Secret that everybody must show; undefined lets every process of this machine in. */
  readonly token: string | undefined;
  readonly limits: Limits;
}

/** The handlers that decide who is let in, for the four places where a request meets them. */
export interface Guard {
  /** For every request: the address must be of some length, the Host this server's, and an Origin its own. */
  readonly everywhere: RequestHandler;
  /** First in the router of the API, so that whatever is routed there has passed it: no page of another site, and the token. */
  readonly api: RequestHandler;
  /** Behind that router: what only looks like one of its addresses is refused as they are, and is not there for who is let in. */
  readonly lookalikes: RequestHandler;
  /** For pages: `?token=…` is answered with the cookie and the same address without it. */
  readonly entry: RequestHandler;
}

/** Says of a host that only this machine reaches it. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.includes(host.replace(/^\[(.*)\]$/, "$1")) || /^127(\.\d{1,3}){3}$/.test(host);
}

/**
 * Refuses a token that is none, and to open a host to others without one of the user's own.
 * @param token false for none at all; undefined where the data folder's serves
 * @throws HeadscopeError `usage` with the remedy
 */
export function checkToken(host: string, token: string | false | undefined): void {
  if (typeof token === "string") checkTokenForm(token);
  if (typeof token === "string" || isLoopback(host)) return;
  const what = token === false ? "no token is asked for" : "HEADSCOPE_TOKEN is not set";
  throw new HeadscopeError("usage", `host ${host} is open to other machines, and ${what}`, {
    remedy: 'set HEADSCOPE_TOKEN to a secret (HEADSCOPE_TOKEN="$(openssl rand -hex 16)"), or leave --host out',
  });
}

/** Guards a server against other sites' pages, names that were pointed at this machine, and whoever has no token. */
export function guard({ host, port, token, limits }: GuardOptions): Guard {
  const hosts = hostsOf(host, port);
  const cookie = `headscope-${port}`;
  const api: RequestHandler = (request, response, next) => {
    checkSite(request);
    const credential = token === undefined ? "none" : credentialOf(request, cookie, token);
    if (credential === undefined)
      throw new Refusal(401, "forbidden", "this server needs its token", {
        remedy: "open the address with ?token= that headscope printed, or send Authorization: Bearer …",
        headers: { "www-authenticate": "Bearer" },
      });
    response.locals[CLIENT] =
      `${request.socket.remoteAddress} ${credential} ${request.headers["sec-fetch-site"] ?? ""}`;
    next();
  };
  return {
    everywhere(request, _, next) {
      if (request.url.length > limits.urlCharacters)
        throw limited(
          414,
          `the address is longer than ${limits.urlCharacters} characters`,
          "send long values in a body",
        );
      checkHost(request, hosts);
      next();
    },
    api,
    lookalikes(request, response, next) {
      if (!looksLikeApi(request.path)) return next();
      api(request, response, () => {
        throw notFound(
          `there is no ${request.path}`,
          "write /api in small letters, with single slashes and none encoded",
        );
      });
    },
    entry(request, response, next) {
      const secret = request.query["token"];
      if (secret === undefined || (request.method !== "GET" && request.method !== "HEAD")) return next();
      if (token !== undefined && typeof secret === "string" && same(secret, token)) {
        const value = cookieValue(request, token);
        // Nothing but the API asks for it.
        response.cookie(cookie, value, { httpOnly: true, sameSite: "strict", path: "/api", maxAge: COOKIE_AGE });
      }
      // A wrong one goes from the address, too: it may be right elsewhere.
      response.set("cache-control", "no-store").redirect(303, withoutToken(request));
    },
  };
}

/** Layers of encoding through which an address is still read. */
const MOST_LAYERS = 4;
const CLIENT = "client";

/** Tells clients apart as well as a server can: by address, by what let them in, and whether a page asks. */
export function clientOf(response: Response): string {
  return String(response.locals[CLIENT]);
}

function checkHost(request: Request, hosts: ReadonlySet<string>): void {
  const { host, origin } = request.headers;
  // A request line may hold a whole address, whose host then is the one that is meant.
  const named = [host, /^[a-z][a-z\d+.-]*:\/\/([^/?#]*)/i.exec(request.url)?.[1] ?? host];
  const foreign = named.find((each) => each === undefined || !hosts.has(each.toLowerCase()));
  if (host === undefined || foreign !== undefined)
    throw new Refusal(403, "forbidden", `host ${foreign ?? "(none)"} is not this server`, {
      remedy: "use the address that headscope printed",
    });
  if (origin !== undefined && !hosts.has(hostOfOrigin(origin))) throw foreignPage(origin);
}

/**
 * Says that a reader less exact than the router would take a path for one of the API's: in other letters, encoded once or more, with
 * other slashes, by way of dots. A page would be no answer to it.
 */
function looksLikeApi(path: string): boolean {
  let plain = path;
  for (let layer = 0; layer < MOST_LAYERS && plain.includes("%"); layer++)
    plain = plain.replace(/(?:%[\da-f]{2})+/gi, (codes) => Buffer.from(codes.replaceAll("%", ""), "hex").toString());
  const way = posix.normalize(`/${plain.replaceAll("\\", "/")}`);
  return /^\/+\s*api(?![\w.-])/i.test(way);
}

/** Links to pages may be followed from anywhere; the API is for this server's own pages. */
function checkSite(request: Request): void {
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") throw foreignPage("another site");
}

function foreignPage(of: string): Refusal {
  return new Refusal(403, "forbidden", `pages of ${of} may not use this server`, {
    remedy: "use headscope's own pages, or a program that is no browser",
  });
}

/** The credential that lets a request in; undefined for none. */
function credentialOf(request: Request, cookie: string, token: string): "bearer" | "cookie" | undefined {
  const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
  if (bearer !== undefined && same(bearer, token)) return "bearer";
  const value = cookieValue(request, token);
  // Other servers of this machine can set cookies here as well: theirs must not stand in the way.
  return cookiesOf(request, cookie).some((each) => same(each, value)) ? "cookie" : undefined;
}

/**
 * The cookie that lets the browser in which showed the token. It tells nothing of the token and holds for one Host only, port
 * included, since browsers send a cookie to every port of its host.
 */
function cookieValue(request: Request, token: string): string {
  const host = request.headers.host!.toLowerCase();
  return createHmac("sha256", token).update(`headscope cookie\n${host}`).digest("base64url");
}

function cookiesOf(request: Request, name: string): string[] {
  return (request.headers.cookie ?? "")
    .split(";")
    .map((each) => each.trim())
    .filter((each) => each.startsWith(`${name}=`))
    .map((each) => each.slice(name.length + 1));
}

/** The path and query of a request as an address of this server. */
function withoutToken(request: Request): string {
  const query = new URLSearchParams(/\?(.*)$/s.exec(request.originalUrl)?.[1] ?? "");
  query.delete("token");
  const words = query.toString();
  // Two slashes at the beginning would name another host.
  return `/${request.path.replace(/^[/\\]+/, "")}${words === "" ? "" : `?${words}`}`;
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

/** Compares without telling by the time how much is right. */
function same(secret: string, token: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(secret), digest(token));
}
