import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { reproduceAll } from "../../../backend/cli/commands/experiment.run.ts";
import type { Context } from "../../../backend/cli/context.ts";
import { ReportedFailure } from "../../../backend/cli/errors.ts";
import { experiments } from "../../../experiments/index.ts";

const home = mkdtempSync(join(tmpdir(), "headscope-all-"));
process.env["HEADSCOPE_HOME"] = home;
afterAll(() => {
  delete process.env["HEADSCOPE_HOME"];
  rmSync(home, { recursive: true, force: true });
});

const names = experiments.list().map(({ name }) => name);

/** A context that keeps what it is told. */
function contextWith(signal: AbortSignal) {
  const [notes, prints] = [[] as string[], [] as { document: unknown; text: string }[]];
  const context: Context = {
    json: false,
    verbose: false,
    signal,
    progress: Object.assign(() => {}, { say: () => {}, end: () => {} }),
    print: async (document, text) => void prints.push({ document, text: text() }),
    show: async () => {},
    note: (line) => void notes.push(line),
  };
  return { context, notes, prints };
}

/** Gives every experiment a run of its own for a test. */
function runBy(run: () => Promise<never>) {
  const spies = experiments.list().map((each) => vi.spyOn(each, "run").mockImplementation(run));
  return () => {
    for (const spy of spies) spy.mockRestore();
  };
}

it("runs every experiment though each one fails, names them, and fails in the end", async () => {
  const restore = runBy(async () => {
    throw new Error("no such luck");
  });
  try {
    const { context, notes, prints } = contextWith(new AbortController().signal);
    await expect(reproduceAll(context, { preset: "quick" })).rejects.toBeInstanceOf(ReportedFailure);
    for (const name of names) {
      expect(notes.some((line) => line.includes(`${name}: no such luck`))).toBe(true);
      expect(prints[0]!.text).toContain(`${name}: failed`);
    }
    expect(prints[0]!.document).toEqual([]);
  } finally {
    restore();
  }
});

it("stops at an interruption, and says how to go on", async () => {
  const controller = new AbortController();
  const begun = vi.fn();
  const restore = runBy(async () => {
    begun();
    controller.abort();
    throw controller.signal.reason;
  });
  try {
    const { context, notes, prints } = contextWith(controller.signal);
    await expect(reproduceAll(context, { preset: "quick" })).rejects.toThrow("aborted");
    expect(begun).toHaveBeenCalledTimes(1);
    expect(prints).toEqual([]);
    expect(notes.at(-1)).toContain("run the same command again");
  } finally {
    restore();
  }
});
