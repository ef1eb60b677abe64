import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { type Context, runs } from "../context.ts";
import { ChildFailure, lineOf } from "../errors.ts";
import { integer } from "../options.ts";
import { hasBrowser, openWorkbench, removeEntryPage } from "../start/browser.ts";

/** Where the workbench listens. */
export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  readonly root?: readonly string[];
  /** False with --no-token. */
  readonly token: boolean;
}

/** Hosts that stand for every address of this machine. */
const EVERYWHERE = ["0.0.0.0", "::"];

/** What goes on beside serving. */
export interface Serving {
  /** Is given the address, as a document and as a line. */
  announce(document: object, text: string): void | Promise<void>;
  /** Whether the browser is opened, where there is one. */
  readonly open?: boolean | undefined;
  /** Work whose results the pages show as they come; when it fails they stay. @param url without the token */
  meanwhile?(url: string): Promise<void>;
}

/** Adds --host, --port, --root and --no-token. */
export function serveOptions(command: Command): Command {
  return command
    .option(
      "--host <address>",
      "address to listen on; others than this machine's own need HEADSCOPE_TOKEN",
      "127.0.0.1",
    )
    .option("--port <n>", "port to listen on; 0 takes a free one", port, 4747)
    .option("--root <folder...>", "folders besides the data folder whose files the pages may name")
    .option("--no-token", "ask for no token: every user and process of this machine may use it");
}

/** `headscope serve`: the workbench in the browser. */
export function register(program: Command): void {
  const command = program.command("serve").description("open the workbench: pages and API on a port of this machine");
  command.option("--open", "open the browser too");
  runs<ServeOptions & { open?: boolean }>(serveOptions(command), (context, options) =>
    serve(context, options, {
      announce: (document, text) => context.print(document, () => text),
      open: options.open,
    }),
  );
}

/** Serves until Ctrl-C or SIGTERM, then ends connections, workers and jobs. */
export async function serve(
  context: Context,
  { host, port, root, token }: ServeOptions,
  { announce, open, meanwhile }: Serving,
): Promise<void> {
  const { startServer } = await import("../../server/server.ts");
  const options = { host, port, ...(token ? {} : { token: false as const }) };
  const server = await startServer({ ...options, ...(root === undefined ? {} : { roots: root }) });
  try {
    const { url, entry, port: bound, context: own } = server;
    await announce({ url, open: entry, host, port: bound, folder: own.folder }, `headscope is at ${entry}`);
    if (EVERYWHERE.includes(host))
      context.note("  from other machines: the same with this machine's name or address in the place of 127.0.0.1");
    if (!token) context.note("  it asks for no token: every user and process of this machine can use it");
    if (open && hasBrowser()) void openWorkbench(server);
    await meanwhile?.(url).catch((error) => stays(context, error));
    void server.warm();
    await aborted(context.signal);
    context.note("headscope: stopping");
  } finally {
    await server.close();
    await removeEntryPage(server);
  }
}

/** Tells that the work beside failed; a process of its own has said why itself. @throws the error where the user has interrupted */
function stays({ signal, note }: Context, error: unknown): void {
  if (signal.aborted) throw error;
  const why = error instanceof ChildFailure ? "" : `${lineOf(error)}; `;
  note(`headscope: ${why}the job did not come to its end, and the workbench stays open until Ctrl-C`);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function port(text: string): number {
  const value = integer("--port", 0)(text);
  if (value <= 65_535) return value;
  throw new HeadscopeError("usage", `--port cannot be ${value}`, { remedy: "give a number from 0 to 65535" });
}
