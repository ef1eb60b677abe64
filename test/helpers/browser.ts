import { existsSync } from "node:fs";
import { type Browser, chromium, type Page, type Request } from "playwright-core";
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
  /** Waits until the page has what it asks for, its drawing behind pauses included. */
  loaded(): Promise<void>;
}

/** Milliseconds without news after which a page asks for nothing more: longer than any pause before a question. */
const QUIET = 400;

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
  return { page, complaints, loaded: loadingOf(page) };
}

/** Follows what a page asks for. The stream of events never ends, so that the network as a whole is never idle. */
function loadingOf(page: Page): () => Promise<void> {
  const open = new Set<Request>();
  let changed = Date.now();
  const news = (request: Request, begins: boolean): void => {
    if (request.url().endsWith("/api/events")) return;
    if (begins) open.add(request);
    else open.delete(request);
    changed = Date.now();
  };
  page.on("request", (request) => news(request, true));
  page.on("requestfinished", (request) => news(request, false));
  page.on("requestfailed", (request) => news(request, false));
  return async () => {
    const end = Date.now() + patiently(60_000);
    while (open.size > 0 || Date.now() - changed < QUIET || (await page.locator('[aria-busy="true"]').count()) > 0) {
      if (Date.now() > end) throw new Error(`${page.url()} still waits for ${[...open].map((each) => each.url())}`);
      await page.waitForTimeout(50);
    }
  };
}
