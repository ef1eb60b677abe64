/**
 * Whether a person sits before a browser of this machine: not in CI, not at the end of an SSH connection, and on Linux only
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

/** Opens an address in the person's own browser; where that fails, the address that was printed is still there. */
export async function openBrowser(url: string): Promise<void> {
  const { default: open } = await import("open");
  try {
    const child = await open(url);
    child.on("error", () => {});
  } catch {
    // no program that opens pages
  }
}
