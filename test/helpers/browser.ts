import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { patiently } from "./runner/patience.ts";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Presses "Go on" where a page asks whether to wait: whether it asks depends on how busy the machine is. */
const GO_ON = {
  content: `new MutationObserver(() => document.querySelector(".long[role=status] button")?.click())
    .observe(document, { childList: true, subtree: true });`,
};

/** The Chromium of this machine (HEADSCOPE_CHROMIUM names another); undefined where there is none. */
export const chromiumPath: string | undefined = [process.env["HEADSCOPE_CHROMIUM"] ?? "", ...PLACES].find(
  (path) => path !== "" && existsSync(path),
);

/** Starts a headless Chromium, which the caller closes. */
export function launchBrowser(): Promise<Browser> {
  if (chromiumPath === undefined) throw new Error("there is no Chromium on this machine");
  return chromium.launch({ executablePath: chromiumPath, headless: true, args: FLAGS });
}

/** A page and what went wrong in it: console errors, exceptions, requests that the server answered with 500 or more. */
export interface WatchedPage {
  readonly page: Page;
  readonly complaints: string[];
}

/** Opens a page in a context of its own, with the given theme. @param entry the address with which a server lets it in */
export async function watchedPage(
  browser: Browser,
  {
    entry,
    theme = "light",
    width = 1280,
    height = 900,
  }: { entry: string; theme?: "light" | "dark"; width?: number; height?: number },
): Promise<WatchedPage> {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    reducedMotion: "reduce",
    acceptDownloads: true,
  });
  await context.request.get(entry);
  const page = await context.newPage();
  await page.addInitScript(GO_ON);
  page.setDefaultTimeout(patiently(60_000));
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
  page.on("response", (response) => {
    if (response.status() >= 500) complaints.push(`${response.status()} ${response.url()}`);
  });
  return { page, complaints };
}
