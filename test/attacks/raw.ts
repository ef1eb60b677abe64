import { request } from "node:http";
import { connect, type Socket } from "node:net";
import type { Problem } from "../../backend/common/api/problem.ts";
import type { RunningServer } from "../../backend/server/server.ts";

/**
 * Requests as no browser and no library sends them, for the tests of what hostile clients may not do. Nothing is added but the
 * Host, which `headers` may replace; no path is normalised.
 */

/** What came back. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The problem document; undefined for any other body. */
  readonly problem: Problem | undefined;
}

/** What is sent besides the path. */
export interface RawOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}

/** One request whose path goes out as it stands. */
export function send(
  { port }: Pick<RunningServer, "port">,
  path: string,
  { method = "GET", headers = {}, body }: RawOptions = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const host = `127.0.0.1:${port}`;
    const sent = request({ host: "127.0.0.1", port, path, method, headers: { host, ...headers } }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      response.on("error", reject).on("end", () => {
        const isProblem = response.headers["content-type"]?.startsWith("application/problem+json") === true;
        const problem = isProblem && text !== "" ? (JSON.parse(text) as Problem) : undefined;
        resolve({ status: response.statusCode!, headers: response.headers, text, problem });
      });
    });
    sent.on("error", reject).end(body);
  });
}

/** Whole bytes on a socket. @returns all that came back until the server closed, or was silent for `silence` milliseconds */
export function sendBytes(
  { port }: Pick<RunningServer, "port">,
  bytes: string,
  { silence = 500 }: { silence?: number } = {},
): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.setTimeout(silence, () => socket.destroy());
    socket.setEncoding("latin1").on("data", (part) => {
      text += part;
    });
    socket.on("error", () => {}).on("close", () => resolve(text));
  });
}

/** The statuses of the answers in what `sendBytes` received. */
export function statusesOf(text: string): number[] {
  return [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
}

/** A connection that is open, with something sent or nothing; the caller destroys it. */
export function hold({ port }: Pick<RunningServer, "port">, bytes = ""): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      if (bytes !== "") socket.write(bytes);
      socket.off("error", reject).on("error", () => {});
      resolve(socket);
    });
    socket.on("error", reject);
  });
}

/** The Authorization that lets a program in. */
export function bearer({ token }: Pick<RunningServer, "token">): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}
