import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { lstat, readdir, realpath, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MASK_FORMAT, SCORES_FORMAT } from "../../common/api/documents.ts";
import type { MaskEntry, ScoresEntry } from "../../common/api/heads.ts";
import type { StartState } from "../../common/api/health.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { type HeadMask, parseMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import { type HeadScores, parseScores } from "../../common/heads/scores.ts";
import { isInside, leadsInside, readRegular, writablePath } from "../../files.ts";
import { writeMask, writeScores } from "../../heads/files.ts";
import { parseJson } from "../../json.ts";
import { slug } from "../../paths.ts";
import { MAIN_JOB_FOLDER, readMainJob } from "../../store/main-job.ts";
import { notFound, type Refusal } from "../http/problems.ts";
import { pathOfId } from "./files.ts";

/** Folders of the data folder in which documents lie, with how deep to look. */
const FOLDERS: ReadonlyMap<string, number> = new Map([
  [MAIN_JOB_FOLDER, 0],
  ["scores", 1],
  ["masks", 0],
]);

/** A document that was read, and the file as it was then. */
interface Entry {
  readonly stamp: string;
  readonly scores?: ScoresEntry;
  readonly mask?: MaskEntry;
}

/** Document that has changed since the library was last looked at. */
export interface LibraryChange {
  readonly scores?: string;
  readonly mask?: string;
}

/** The score and mask documents below the data folder; an id is the path below it. */
export class Library {
  readonly #folder: string;
  #entries = new Map<string, Entry>();
  #reading: Promise<LibraryChange[]> | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Every score document, by id. */
  async scores(): Promise<ScoresEntry[]> {
    await this.refresh();
    return [...this.#entries.values()].flatMap(({ scores }) => (scores === undefined ? [] : [scores]));
  }

  /** Every mask, by id. */
  async masks(): Promise<MaskEntry[]> {
    await this.refresh();
    return [...this.#entries.values()].flatMap(({ mask }) => (mask === undefined ? [] : [mask]));
  }

  /** State of the main job, and the documents that it has left; undefined where it never ran. */
  async start(): Promise<StartState | undefined> {
    const state = await readMainJob(this.#folder);
    if (state === undefined) return undefined;
    await this.refresh();
    const left = [...this.#entries].filter(([id]) => dirname(id) === MAIN_JOB_FOLDER);
    const scores = left.filter(([, entry]) => entry.scores !== undefined).map(([id]) => id);
    const mask = left.find(([, entry]) => entry.mask !== undefined)?.[0];
    return { ...state, scores, mask };
  }

  /** @throws Refusal 404; HeadscopeError `input` for what is no such document */
  async readScores(id: string): Promise<HeadScores> {
    return parseScores(await this.#read(id, "scores"), id);
  }

  /** @throws Refusal 404; HeadscopeError `input` for what is no such document */
  async readMask(id: string): Promise<HeadMask> {
    return parseMask(await this.#read(id, "mask"), id);
  }

  async writeScores(id: string, scores: HeadScores): Promise<ScoresEntry> {
    await writeScores(await writablePath(this.#folder, id), scores);
    return scoresEntry(id, scores);
  }

  async writeMask(id: string, mask: HeadMask): Promise<void> {
    await writeMask(await writablePath(this.#folder, id), mask);
  }

  /** Removes a document. @throws Refusal 404 */
  async remove(id: string, kind: "scores" | "mask"): Promise<void> {
    if (kind === "scores") await this.readScores(id);
    else await this.readMask(id);
    await unlink(join(this.#folder, id)).catch((error: NodeJS.ErrnoException) => {
      throw error.code === "ENOENT" ? notThere(id, kind) : error; // somebody else was first
    });
  }

  /** Looks at the folders again; files that are as they were are not read again. @returns what has changed */
  refresh(): Promise<LibraryChange[]> {
    this.#reading ??= this.#look().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #look(): Promise<LibraryChange[]> {
    const before = this.#entries;
    const ids: [string, Stats][] = [];
    for (const [folder, depth] of FOLDERS)
      if (await leadsInside(this.#folder, join(this.#folder, folder))) ids.push(...(await this.#list(folder, depth)));
    const entries = await Promise.all(
      ids.map(async ([id, { mtimeMs, size, ino }]): Promise<[string, Entry]> => {
        const stamp = `${mtimeMs} ${size} ${ino}`;
        const old = before.get(id);
        return [id, old?.stamp === stamp ? old : { stamp, ...(await this.#describe(id)) }];
      }),
    );
    this.#entries = new Map(entries);
    const all = new Set([...before.keys(), ...this.#entries.keys()]);
    return [...all].flatMap((id) => {
      const [old, now] = [before.get(id), this.#entries.get(id)];
      if (old === now) return [];
      return [
        ...(old?.scores || now?.scores ? [{ scores: id }] : []),
        ...(old?.mask || now?.mask ? [{ mask: id }] : []),
      ];
    });
  }

  /** Plain JSON files, links left out. */
  async #list(folder: string, depth: number): Promise<[string, Stats][]> {
    const entries = await readdir(join(this.#folder, folder), { withFileTypes: true }).catch(() => []);
    const lists = await Promise.all(
      entries
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(async (entry): Promise<[string, Stats][]> => {
          const id = `${folder}/${entry.name}`;
          if (entry.isDirectory()) return depth > 0 ? this.#list(id, depth - 1) : [];
          if (!entry.isFile() || !entry.name.endsWith(".json")) return [];
          const stats = await lstat(join(this.#folder, id)).catch(() => undefined);
          return stats === undefined ? [] : [[id, stats]];
        }),
    );
    return lists.flat();
  }

  /** Entry of a file; nothing where it is no document of headscope. */
  async #describe(id: string): Promise<Omit<Entry, "stamp">> {
    try {
      const value = parseJson(await this.#text(id), id) as { format?: unknown };
      if (value.format === SCORES_FORMAT) return { scores: scoresEntry(id, parseScores(value, id)) };
      if (value.format === MASK_FORMAT) return { mask: maskEntry(id, parseMask(value, id)) };
    } catch {
      // Half a file of another program, or a document of another version: it is not listed.
    }
    return {};
  }

  async #read(id: string, kind: "scores" | "mask"): Promise<unknown> {
    const allowed = FOLDERS.has(id.split("/")[0]!) && id.endsWith(".json");
    const path = allowed ? pathOfId(this.#folder, id) : undefined;
    const real = path === undefined ? undefined : await realpath(path).catch(() => undefined);
    const inside = real !== undefined && isInside(await realpath(this.#folder), real);
    if (path === undefined || !inside || !(await isFile(path))) throw notThere(id, kind);
    try {
      return parseJson(await this.#text(id), id);
    } catch (error) {
      throw error instanceof HeadscopeError && error.kind === "missing" ? notThere(id, kind) : error;
    }
  }

  async #text(id: string): Promise<string> {
    return (await readRegular(join(this.#folder, id), { what: "document", links: false })).toString("utf8");
  }
}

function isFile(path: string): Promise<boolean> {
  return lstat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}

function notThere(id: string, kind: "scores" | "mask"): Refusal {
  return notFound(`there are no ${kind === "mask" ? "masks" : kind} ${id}`);
}

/** A score document without its numbers. */
export function scoresEntry(id: string, { model, probe, metrics, created }: HeadScores): ScoresEntry {
  return {
    id,
    model,
    probe,
    metrics: Object.entries(metrics).map(([name, { axis }]) => ({ name, axis })),
    created,
  };
}

/** A mask without its tables. */
export function maskEntry(id: string, mask: HeadMask): MaskEntry {
  const { model, sink, recent, source } = mask;
  const { full, ablated } = meaningOf(mask);
  return {
    id,
    model,
    full: mask.kvHeads && ([full.length, model.layers * model.kvHeads] as const),
    ablated: ablated.length,
    sink,
    recent,
    source,
  };
}

/** The id under which a score document is kept: by model and probe, the same document in the same place. */
export function scoresId({ model, probe, ...rest }: HeadScores): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([model, probe, rest]))
    .digest("hex");
  return `scores/${slug(model.ref)}/${slug(probe)}-${hash.slice(0, 12)}.json`;
}
