import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { launchBrowser, type WatchedPage, watchedPage } from "./browser.ts";
import { buildAll } from "./cli.ts";
import { type Serving, startServing } from "./servers/serving.ts";

/** So wide that the card of a head stands beside the page. */
const WIDE = { width: 1920, height: 1080 };

/** A workbench with an empty data folder of its own, open in a browser. */
export class Workbench {
  /** The data folder. */
  home = "";
  serving!: Serving;
  watched!: WatchedPage;
  #browser?: Browser;

  get page(): Page {
    return this.watched.page;
  }

  /** The card of a title. */
  readonly card = (title: string): Locator => this.page.getByRole("region", { name: title, exact: true });

  async open(): Promise<void> {
    await buildAll();
    this.home = mkdtempSync(join(tmpdir(), "headscope-workbench-"));
    this.serving = await startServing(this.home);
    this.#browser = await launchBrowser();
    this.watched = await watchedPage(this.#browser, { entry: this.serving.entry, ...WIDE });
  }

  /** One more page, in a context of its own that the caller closes. */
  another(options: { theme?: "light" | "dark"; width?: number; height?: number }): Promise<WatchedPage> {
    return watchedPage(this.#browser!, { entry: this.serving.entry, ...options });
  }

  async close(): Promise<void> {
    await this.#browser?.close();
    await this.serving?.stop();
    if (this.home !== "") rmSync(this.home, { recursive: true, force: true });
  }
}

/** The workbench of a `describe`: opened before its tests, closed after them. */
export function useWorkbench(): Workbench {
  const workbench = new Workbench();
  beforeAll(() => workbench.open());
  afterAll(() => workbench.close());
  return workbench;
}
