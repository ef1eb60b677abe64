import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { afterAll } from "vitest";
import { ROOT } from "../cli.ts";

/**
 * Bundles one of the scripts beside this so that plain Node runs it; removed after the file's tests.
 * @param name file name without .ts
 * @returns path of the bundle, below dist/ so that it finds the packages
 */
export function bundleScript(name: string): Promise<string> {
  return bundle(name, { entryPoints: [join(ROOT, "test/helpers/processes/scripts", `${name}.ts`)] });
}

/** Bundles code as `bundleScript` does, as the file that its first line names: `// backend/jobs/kinds/mine.ts`. */
export function bundleCode(code: string): Promise<string> {
  const path = /^\/\/ (\S+\.ts)\n/.exec(code)![1]!;
  return bundle(basename(path, ".ts"), {
    stdin: { contents: code, resolveDir: join(ROOT, dirname(path)), loader: "ts" },
  });
}

async function bundle(name: string, source: BuildOptions): Promise<string> {
  const outfile = join(ROOT, "dist", `test-${name}-${process.pid}.mjs`);
  await build({
    ...source,
    ...{ outfile, bundle: true, packages: "external", logLevel: "silent" },
    ...{ platform: "node", format: "esm", target: "node20.19" },
  });
  afterAll(() => rm(outfile, { force: true }));
  return outfile;
}

/** A Node process and what it says. */
export interface Script {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }>;
  /** The first line of standard output. */
  readonly firstLine: Promise<string>;
}

/** Starts a bundled script. */
export function startScript(
  path: string,
  args: readonly string[],
  options: { uid?: number; gid?: number } = {},
): Script {
  const child = spawn(process.execPath, [path, ...args], { stdio: ["ignore", "pipe", "pipe"], ...options });
  let stdout = "";
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const firstLine = new Promise<string>((resolve, reject) => {
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (stdout.includes("\n")) resolve(stdout.split("\n")[0]!);
    });
    child.on("close", () => reject(new Error(`the script ended without a line: ${stderr}`)));
  });
  firstLine.catch(() => {}); // not every test asks for it
  const ended = new Promise<Awaited<Script["ended"]>>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return { child, ended, firstLine };
}
