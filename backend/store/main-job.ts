import { join } from "node:path";
import { z } from "zod";
import { MAIN_JOB_PARTS, type MainJobPart, type MainJobState, mainJobState } from "../common/api/health.ts";
import type { ENDED } from "../common/words.ts";
import { readJson } from "../json.ts";
import { dataDir, writeFileAtomic } from "../paths.ts";
import { isAlive, type Owner, self } from "./owner.ts";

/** Folder below the data folder in which the main job leaves its results, and where it says how far it is. */
export const MAIN_JOB_FOLDER = "start";
const FILE = "state.json";
/** Milliseconds between two notes of progress. */
const PERIOD = 1_000;

const stateSchema = mainJobState.extend({
  owner: z.object({ host: z.string(), pid: z.int(), start: z.string().optional() }),
});
type State = z.output<typeof stateSchema>;

/** The folder of the main job's results. @param folder data folder, default `dataDir()` */
export function mainJobFolder(folder = dataDir()): string {
  return join(folder, MAIN_JOB_FOLDER);
}

/** Reads how far the main job is; undefined where it never ran. @param folder data folder */
export async function readMainJob(folder: string): Promise<MainJobState | undefined> {
  try {
    const { owner, ...state } = stateSchema.parse(await readJson(join(mainJobFolder(folder), FILE), "state"));
    // The file is written anew every second while it runs, so that only a process of this machine can be asked.
    return state.status === "running" && !isAlive(owner as Owner, Date.now())
      ? { ...state, status: "cancelled" }
      : state;
  } catch {
    return undefined; // none yet, or of another version: the pages do without
  }
}

/** The main job's own record of how far it is, for whoever watches: a file that is always whole. */
export class MainJobRecord {
  #state: State = { owner: self(), status: "running", part: MAIN_JOB_PARTS[0] };
  #last: Promise<void> = Promise.resolve();
  #noted = 0;
  readonly #path: string;

  /** @param folder data folder, default `dataDir()` */
  constructor(folder = dataDir()) {
    this.#path = join(mainJobFolder(folder), FILE);
  }

  /** Notes that a part begins, or what has become known. */
  note(change: { part?: MainJobPart; run?: string; model?: string }): Promise<void> {
    const { progress: _, ...before } = this.#state;
    this.#state = { ...before, ...change };
    return this.#write();
  }

  /** Notes progress within the part, at most once a second. */
  progress(done: number, total: number, label: string): void {
    if (performance.now() - this.#noted < PERIOD) return;
    this.#noted = performance.now();
    this.#state = { ...this.#state, progress: { done, total, label } };
    // How far it is matters less than that it goes on: the end, which is awaited, tells of a disk that is full.
    void this.#write().catch(() => {});
  }

  /** Notes how it ended. */
  end(status: (typeof ENDED)[number], error?: string): Promise<void> {
    const { progress: _, ...before } = this.#state;
    this.#state = { ...before, status, error };
    return this.#write();
  }

  /** Writes the present state, after what is being written. */
  #write(): Promise<void> {
    const turn = this.#last.then(() => writeFileAtomic(this.#path, `${JSON.stringify(this.#state)}\n`));
    this.#last = turn.catch(() => {});
    return turn;
  }
}
