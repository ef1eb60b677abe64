import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { reproduceAll } from "../../../backend/cli/commands/experiment.run.ts";
import type { Context } from "../../../backend/cli/context.ts";
import { ReportedFailure } from "../../../backend/cli/errors.ts";
import { experiments } from "../../../experiments/index.ts";
import { ownStore } from "../../helpers/training/own-store.ts";

const lab = ownStore();
const names = experiments.list().map(({ name }) => name);

/** A context that keeps what it is told. */
function contextWith(signal: AbortSignal, onProgress = (): void => {}) {
  const [notes, prints] = [[] as string[], [] as { document: unknown; text: string }[]];
  const context: Context = {
    json: false,
    verbose: false,
    signal,
    progress: Object.assign(onProgress, { say: () => {}, end: () => {} }),
    print: async (document, text) => void prints.push({ document, text: text() }),
    show: async () => {},
    note: (line) => void notes.push(line),
  };
  return { context, notes, prints };
}

it("stops at an interruption, says how to go on, and leaves nothing in the queue", async () => {
  const controller = new AbortController();
  const { context, notes, prints } = contextWith(controller.signal, () => controller.abort());
  await expect(reproduceAll(context, { preset: "quick", atOnce: 1 })).rejects.toThrow("aborted");
  expect(prints).toEqual([]);
  expect(notes.at(-1)).toContain("run the same command again");
  const jobs = lab.store.jobs().filter(({ kind }) => kind === "experiment");
  expect(jobs).toHaveLength(names.length);
  expect(jobs.map(({ status }) => status)).toEqual(jobs.map(() => "cancelled"));
});

it("runs every experiment though each one fails, names them, and fails in the end", async () => {
  await rm(join(lab.store.folder, "experiments"), { recursive: true, force: true });
  await writeFile(join(lab.store.folder, "experiments"), "a file where the reports' folder would be");
  const { context, notes, prints } = contextWith(new AbortController().signal);
  await expect(reproduceAll(context, { preset: "quick", atOnce: 2 })).rejects.toBeInstanceOf(ReportedFailure);
  for (const name of names) {
    expect(notes.some((line) => line.includes(`${name}: no report can be written`))).toBe(true);
    expect(prints[0]!.text).toContain(`${name}: failed`);
  }
  expect(prints[0]!.document).toEqual([]);
});
