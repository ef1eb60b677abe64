import { existsSync } from "node:fs";
import { readdir, rmdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { EvaluationEntry, PolicyEvaluation } from "../../common/api/evaluations.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { isActive } from "../../common/words.ts";
import { EVALUATIONS } from "../../evaluation/files/folders.ts";
import { JOURNAL, readJournalHead } from "../../evaluation/files/journal.ts";
import { EVALUATION_FILES, readEvaluation } from "../../evaluation/files/write.ts";
import { isLink } from "../../files.ts";
import { evaluates } from "../../jobs/kinds/evaluate.ts";
import type { JobStore } from "../../store/jobs.ts";
import { notFound, Refusal } from "../http/problems.ts";
import { existingFile, pathOfId } from "./files.ts";

/** The evaluations in a data folder, newest first; folders without a sound journal are left out. */
export async function listEvaluations(folder: string): Promise<EvaluationEntry[]> {
  const entries = await readdir(join(folder, EVALUATIONS), { withFileTypes: true }).catch(() => []);
  const all = await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map(({ name }) => entryOf(folder, name)),
  );
  return all.filter((entry) => entry !== undefined).sort((a, b) => b.changed.localeCompare(a.changed));
}

/** An evaluation. @throws Refusal 404; HeadscopeError (input) for a file that is none of this version */
export async function findEvaluation(folder: string, id: string): Promise<PolicyEvaluation> {
  await evaluationFile(folder, id, EVALUATION_FILES.json);
  return readEvaluation(folderOf(folder, id));
}

/** Path of a file of an evaluation. @throws Refusal 403, 404 */
export async function evaluationFile(folder: string, id: string, name: string): Promise<string> {
  const path = join(folderOf(folder, id), name);
  if (!existsSync(path)) throw notFound(`evaluation ${id} has no ${name}`, "see /api/evaluations; an evaluation that was stopped has no results yet"); // biome-ignore format: one line
  return existingFile([folder], path);
}

/**
 * Removes an evaluation's own files, and its folder where nothing else lies in it.
 * @param jobs those of the data folder
 * @throws Refusal 404; 409 while a job of it waits or is at work
 */
export async function removeEvaluation(
  folder: string,
  id: string,
  jobs: Pick<JobStore, "jobs" | "job">,
): Promise<void> {
  const path = folderOf(folder, id);
  const { model, settings } = await readJournalHead(await evaluationFile(folder, id, JOURNAL));
  for (const { id: number, kind, status } of jobs.jobs())
    if (kind === "evaluate" && isActive(status) && (await evaluates(jobs.job(number).spec, model, settings)))
      throw new Refusal(409, "busy", `job ${number} is writing evaluation ${id}`, {
        remedy: `cancel job ${number} first, or wait for its end`,
      });
  for (const name of [...Object.values(EVALUATION_FILES), JOURNAL])
    await unlink(join(path, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  await rmdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY") throw error;
  });
}

async function entryOf(folder: string, id: string): Promise<EvaluationEntry | undefined> {
  try {
    const journal = await evaluationFile(folder, id, JOURNAL);
    const { model, settings } = await readJournalHead(journal);
    const finished = await stat(join(folderOf(folder, id), EVALUATION_FILES.json)).then(
      (stats) => stats.isFile(),
      () => false,
    );
    return { id, model, settings, finished, changed: (await stat(journal)).mtime.toISOString() };
  } catch (error) {
    if (error instanceof HeadscopeError || error instanceof Refusal) return undefined;
    throw error;
  }
}

function folderOf(folder: string, id: string): string {
  const path = id.includes("/") ? undefined : pathOfId(join(folder, EVALUATIONS), id);
  if (path === undefined || isLink(path)) throw notFound(`there is no evaluation ${id}`, "see /api/evaluations");
  return path;
}
