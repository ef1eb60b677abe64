import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { buildCli, type CliRun } from "./cli.ts";

/** A folder of a test file's own for what its commands read and write; dist/ is built before the first of them. */
export function commandFolder() {
  let folder = "";
  beforeAll(async () => {
    await buildCli();
    folder = mkdtempSync(join(tmpdir(), "headscope-cli-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  return {
    at,
    /** Writes a text, or a value as JSON. @returns its path */
    file(name: string, content: unknown): string {
      writeFileSync(at(name), typeof content === "string" ? content : JSON.stringify(content));
      return at(name);
    },
  };
}

/** Insists on a success, whose standard error is shown where it is none. */
export function ok(run: CliRun): CliRun {
  expect({ code: run.code, stderr: run.code === 0 ? "" : run.stderr }).toEqual({ code: 0, stderr: "" });
  return run;
}

/** Insists on a failure of one line, without a stack, and nothing on standard output. */
export function expectLine({ code, stdout, stderr }: CliRun, expected: number, line: RegExp): void {
  expect(stderr.trimEnd()).toMatch(line);
  expect(stderr).toMatch(/^headscope: .*; .*\n$/);
  expect({ code, stdout }).toEqual({ code: expected, stdout: "" });
}
