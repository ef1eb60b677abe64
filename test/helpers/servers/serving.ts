import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../../..");

/** A headscope server in a process of its own. */
export interface Serving {
  /** "http://127.0.0.1:PORT", without a slash at the end. */
  readonly url: string;
  /** The address that it prints: `url` with its token, which lets a browser in. */
  readonly entry: string;
  /** Headers by which a program is let in. */
  readonly credentials: Record<string, string>;
  readonly process: ChildProcess;
  /** Everything that it has said. */
  output(): string;
  /** Ends it as Ctrl-C does. @returns its exit code */
  stop(): Promise<number | null>;
}

/** Starts `headscope serve` on a free port, as a user does. @param home data folder @param args of serve besides the port */
export async function startServing(home: string, args: readonly string[] = []): Promise<Serving> {
  const child = spawn(process.execPath, [join(ROOT, "dist/cli/main.js"), "serve", "--port", "0", ...args], {
    cwd: ROOT,
    env: { ...process.env, HEADSCOPE_HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const entry = await new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        const found = /(http:\/\/127\.0\.0\.1:\d+\/\S*)\s/.exec(said);
        if (found) resolve(found[1]!);
      });
    ended.then((code) => reject(new Error(`the server ended with ${code}: ${said}`)));
  });
  const { origin, searchParams } = new URL(entry);
  const token = searchParams.get("token");
  return {
    url: origin,
    entry,
    credentials: token === null ? {} : { authorization: `Bearer ${token}` },
    process: child,
    output: () => said,
    stop: () => {
      child.kill("SIGINT");
      return ended;
    },
  };
}
