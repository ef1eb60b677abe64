import { createHash } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** The commit that a hostile hub gives for every revision. */
export const COMMIT = "c".repeat(40);

/** Deeds of a hostile hub. */
export interface HostileHub {
  /** Entries of every listing. */
  readonly entries?: unknown;
  /** Value that it gives as the commit. */
  readonly sha?: unknown;
  /** Content of every file. */
  readonly content?: Uint8Array;
  /** Answers listings itself, instead of the entries. */
  readonly tree?: (url: URL, response: ServerResponse) => void;
}

/** A hub that lies, on this machine. */
export interface Hostile {
  readonly endpoint: string;
  /** Path and query of each request. */
  readonly requests: string[];
  close(): Promise<void>;
}

/** Starts a hub that says what it is told to, whatever it is asked. */
export async function startHostileHub({ entries = [], sha = COMMIT, content, tree }: HostileHub): Promise<Hostile> {
  const requests: string[] = [];
  const json = (response: ServerResponse, body: unknown) =>
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  const server = createServer((request, response) => {
    const url = new URL(request.url!, "http://hub");
    requests.push(request.url!);
    if (url.pathname.includes("/revision/")) json(response, { _id: "1", id: "a/b", sha, lastModified: 0 });
    else if (!url.pathname.includes("/tree/")) response.writeHead(200).end(content);
    else if (tree) tree(url, response);
    else json(response, entries);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The entry of a listing for a large file with this content. */
export function listed(path: unknown, content: Uint8Array): object {
  const oid = createHash("sha256").update(content).digest("hex");
  return { type: "file", path, oid: "0".repeat(40), size: content.length, lfs: { oid, size: content.length } };
}
