import type { Queue } from "../jobs/queue.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./event-hub.ts";
import type { Interactive } from "./interactive.ts";
import type { JobRunner } from "./job-runner.ts";
import type { Library } from "./library.ts";
import type { Limits } from "./limits.ts";
import type { Models } from "./models.ts";
import type { Prompts } from "./prompts.ts";
import type { Roots } from "./roots.ts";
import type { Watcher } from "./watcher.ts";

/** What the routes of one server share. */
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
