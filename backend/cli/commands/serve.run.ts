import { startServer } from "../../server/server.ts";
import type { Context } from "../context.ts";
import { lineOf, ReportedFailure } from "../errors.ts";
import { hasBrowser, openWorkbench, removeEntryPage } from "../start/browser.ts";

/** Address of the workbench, and what it lets in. */
export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  readonly root?: readonly string[];
  /** False with --no-token. */
  readonly token: boolean;
}

/** Hosts that stand for every address of this machine. */
const EVERYWHERE = ["0.0.0.0", "::"];

/** Work beside serving. */
export interface Serving {
  /** Is given the address, as a document and as a line. */
  announce(document: object, text: string): void | Promise<void>;
  /** Opens the browser, where there is one. */
  readonly open?: boolean | undefined;
  /** Work whose results the pages show as they come; when it fails they stay. @param url without the token */
  meanwhile?(url: string): Promise<void>;
}

/** `headscope serve`. */
export async function serveWorkbench(context: Context, options: ServeOptions & { open?: boolean }): Promise<void> {
  return serve(context, options, {
    announce: (document, text) => context.print(document, () => text),
    open: options.open,
  });
}

/** Tells that the work beside failed; a process of its own has said why itself. @throws the error where the user has interrupted */
function stays({ signal, note }: Context, error: unknown): void {
  if (signal.aborted) throw error;
  const why = error instanceof ReportedFailure ? "" : `${lineOf(error)}; `;
  note(`headscope: ${why}the job did not come to its end, and the workbench stays open until Ctrl-C`);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Serves until Ctrl-C or SIGTERM, then ends connections, workers and jobs. */
export async function serve(
  context: Context,
  { host, port, root, token }: ServeOptions,
  { announce, open, meanwhile }: Serving,
): Promise<void> {
  const server = await startServer({ host, port, roots: root, token: token ? undefined : false });
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
