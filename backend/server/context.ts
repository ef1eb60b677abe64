import type { Queue } from "../jobs/queue.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events/hub.ts";
import type { Watcher } from "./events/watcher.ts";
import type { Limits } from "./http/limits.ts";
import type { Interactive } from "./interactive/interactive.ts";
import type { Prompts } from "./interactive/prompts.ts";
import type { JobRunner } from "./jobs/runner.ts";
import type { Library } from "./library/library.ts";
import type { Models } from "./library/models.ts";
import type { Roots } from "./library/roots.ts";

/** Services that the routes of one server share. */
export interface ServerContext {
  /** The data folder, absolute. */
  readonly folder: string;
  /** Folders that requests may name, it among them. */
  readonly roots: Roots;
  readonly limits: Limits;
  readonly store: Store;
  readonly queue: Queue;
  readonly jobs: JobRunner;
  /** The resident worker. */
  readonly interactive: Interactive;
  readonly models: Models;
  readonly prompts: Prompts;
  /** Score and mask documents. */
  readonly library: Library;
  readonly events: EventHub;
  /** Whoever changes the store or the documents tells it. */
  readonly watcher: Watcher;
}
