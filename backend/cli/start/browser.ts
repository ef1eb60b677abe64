import { open as openFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { RunningServer } from "../../server/server.ts";

/**
 * Tells whether a person sits before a browser of this machine: not in CI, not at the end of an SSH connection, and on Linux only
 * where a display is named.
 */
export function hasBrowser(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): boolean {
  if (env["CI"] || env["SSH_CONNECTION"]) return false;
  if (platform === "darwin" || platform === "win32") return true;
  return Boolean(env["DISPLAY"] || env["WAYLAND_DISPLAY"]);
}

/** Page that is opened, and the server that it is of. */
type Opened = Pick<RunningServer, "entry" | "token" | "port"> & { readonly context: { readonly folder: string } };

/** The page that leads to the address with the token. */
function entryPage({ port, context }: Opened): string {
  return join(context.folder, `open-${port}.html`);
}

/**
 * Opens the workbench in the person's own browser; where that fails, the address that was printed is still there. The arguments
 * of the program that opens it can be seen by every user of the machine, so that they name a page which only this user can read.
 * @param open opens an address, default the system's way
 */
export async function openWorkbench(server: Opened, open: (url: string) => Promise<unknown> = openUrl): Promise<void> {
  const { entry, token } = server;
  try {
    if (token === undefined) return void (await open(entry));
    const path = entryPage(server);
    await rm(path, { force: true });
    const file = await openFile(path, "wx", 0o600);
    await file.writeFile(
      `<!doctype html><title>headscope</title><meta http-equiv="refresh" content="0; url=${entry}">\n`,
    );
    await file.close();
    await open(pathToFileURL(path).href);
  } catch {
    // no program that opens pages
  }
}

/** Removes the page by which a browser was let in. */
export async function removeEntryPage(server: Opened): Promise<void> {
  await rm(entryPage(server), { force: true }).catch(() => {}); // a folder that is gone needs no tidying
}

async function openUrl(url: string): Promise<void> {
  const { default: open } = await import("open");
  const child = await open(url);
  child.on("error", () => {});
}
