import type { Page, Route } from "playwright-core";

/** Holds back the answers to a kind of request until they are let go, one after the other. */
export class Held {
  readonly #routes: Route[] = [];
  readonly #page: Page;
  readonly #path: string;

  constructor(page: Page, path: string) {
    this.#page = page;
    this.#path = path;
  }

  async begin(): Promise<void> {
    await this.#page.route(`**${this.#path}`, (route) => void this.#routes.push(route));
  }

  /** Waits until so many were asked. */
  async asked(count: number): Promise<void> {
    while (this.#routes.length < count) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** Lets one go; one that the page has given up is gone already. */
  async release(at: number): Promise<void> {
    await this.#routes[at]!.continue().catch(() => {});
  }

  async end(): Promise<void> {
    await this.#page.unroute(`**${this.#path}`);
  }
}
