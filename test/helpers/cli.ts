import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect } from "vitest";
import { build, buildNeeded } from "../../backend/setup/build.mjs";
import { buildWeb, webNeeded } from "../../backend/setup/web.mjs";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CLI = join(ROOT, "dist/cli/main.js");

/** Output of a run of the command line. */
export interface CliRun {
  code: number | null;
  stdout: string;
  stderr: string;
  /** The JSON document on standard output; throws when it is anything else. */
  json<T = Record<string, unknown>>(): T;
}

/** Makes dist/ what the sources say. */
export async function buildCli(): Promise<void> {
  if (buildNeeded(ROOT)) await build(ROOT);
}

/** Makes dist/ what the sources say, with the pages that a browser is served. */
export async function buildAll(): Promise<void> {
  await buildCli();
  if (webNeeded(ROOT)) await buildWeb(ROOT);
}

/** Surroundings of a command line: working folder (the repository by default) and changes of this process's environment. */
export interface CliOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

/** Runs the built `headscope` with these arguments in a process of its own. @param onSpawn called with the child, to signal it */
export function spawnHeadscope(
  args: readonly string[],
  { cwd = ROOT, env = {}, onSpawn }: CliOptions & { onSpawn?: (child: ReturnType<typeof spawn>) => void } = {},
): Promise<CliRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], { cwd, env: { ...process.env, ...env } });
    const out = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text) => {
      out.stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      out.stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...out, json: () => JSON.parse(out.stdout) }));
    onSpawn?.(child);
  });
}

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
