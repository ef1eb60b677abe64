import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { build, buildNeeded } from "../../../backend/setup/build.mjs";
import { SetupError } from "../../../backend/setup/failure.mjs";
import { removeLeftovers } from "../../../backend/setup/files.mjs";
import { compareVersions, whyNotNative } from "../../../backend/setup/native/machine.mjs";
import { bindingPath, native } from "../../../backend/setup/native/native.mjs";
import { pipFailure } from "../../../backend/setup/native/pip.mjs";
import { chooseFromWheel, hasLibraries, libraryFolder, TENSORFLOW } from "../../../backend/setup/native/tensorflow.mjs";
import { type Context, runSteps, Screen, type Step, sideBySide } from "../../../backend/setup/runner.mjs";
import { dependenciesNeeded, npmFailure } from "../../../backend/setup/steps/dependencies.mjs";
import { OLDEST } from "../../../backend/setup/steps/node-version.mjs";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-setup-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: string | object): void {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
}

const context = () => ({
  root: folder,
  cache: join(folder, "cache"),
  env: {} as NodeJS.ProcessEnv,
  signal: undefined,
  progress: () => {},
  skip: () => {},
  log: () => {},
});

test("the oldest Node.js is the one that package.json names", () => {
  expect(JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")).engines.node).toBe(
    `>=${OLDEST.replace(/\.0$/, "")}`,
  );
  expect(compareVersions("20.9.0", OLDEST)).toBeLessThan(0);
  expect(compareVersions("20.19.0", OLDEST)).toBe(0);
  expect(compareVersions("24.1.0", OLDEST)).toBeGreaterThan(0);
  expect(compareVersions("2.9", "2.27")).toBeLessThan(0);
});

test("dependencies are needed when npm's own lock is missing, cut off or of other versions", () => {
  const want = { version: "1.0.0", integrity: "sha512-a" };
  write("package-lock.json", {
    packages: { "": {}, "node_modules/a": want, "node_modules/b": { version: "2.0.0", optional: true } },
  });
  expect(dependenciesNeeded(folder)).toBe("not installed");
  write("node_modules/.package-lock.json", '{"packages":');
  expect(dependenciesNeeded(folder)).toBe("not installed whole");
  write("node_modules/.package-lock.json", { packages: { "node_modules/a": { ...want, version: "0.9.0" } } });
  expect(dependenciesNeeded(folder)).toBe("a has another version");
  write("node_modules/.package-lock.json", { packages: { "node_modules/a": want } });
  expect(dependenciesNeeded(folder)).toBe("a is not installed");
  write("node_modules/a/package.json", {});
  expect(dependenciesNeeded(folder)).toBe(false); // b is optional: made for another platform
});

test("the build makes bundles that run, and is needed again after a change", async () => {
  write("package.json", { type: "module" });
  write("package-lock.json", {});
  write("backend/shared.ts", "export const answer: number = 41;");
  write("backend/a.ts", 'import { answer } from "./shared.ts"; console.log(answer + 1);');
  write("backend/b.ts", 'export { answer } from "./shared.ts";');
  expect(buildNeeded(folder)).toBe("not built");
  await build(folder, { a: "backend/a.ts", "sub/b": "backend/b.ts" });
  expect(buildNeeded(folder)).toBe(false);
  expect(spawnSync(process.execPath, [join(folder, "dist/a.js")], { encoding: "utf8" }).stdout).toBe("42\n");
  write("backend/shared.ts", "export const answer: number = 40;");
  expect(buildNeeded(folder)).toBe("sources changed");
  write("backend/shared.ts", "export const answer: number = ;");
  await expect(build(folder, { a: "backend/a.ts" })).rejects.toMatchObject({
    kind: "input",
    message: /backend\/shared\.ts:1/,
  });
  expect(readdirSync(join(folder, "dist")).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("only the two libraries and the C headers are taken from the wheel", () => {
  const taken = ["tensorflow/libtensorflow_cc.so.2", "tensorflow/include/tensorflow/c/eager/c_api.h"];
  expect(taken.map(chooseFromWheel)).toEqual(["libtensorflow_cc.so.2", "include/tensorflow/c/eager/c_api.h"]);
  for (const name of [
    "tensorflow/python/a.py",
    "tensorflow/libtensorflow_cc.so.2.old",
    "tensorflow/include/tensorflow/cc/ops.h",
    "x/tensorflow/libtensorflow_cc.so.2",
  ])
    expect(chooseFromWheel(name)).toBeUndefined();
});

test("libraries count only whole: the record's hash and sizes", () => {
  const cache = join(folder, "cache");
  expect(hasLibraries(cache)).toBe(false);
  const at = `cache/tensorflow-${TENSORFLOW.version}`;
  write(`${at}/a.so`, "12345");
  write(`${at}/contents.json`, { wheel: TENSORFLOW.sha256, files: { "a.so": 5 } });
  expect(hasLibraries(cache)).toBe(true);
  write(`${at}/a.so`, "123");
  expect(hasLibraries(cache)).toBe(false);
  write(`${at}/a.so`, "12345");
  write(`${at}/contents.json`, { wheel: "another", files: { "a.so": 5 } });
  expect(hasLibraries(cache)).toBe(false);
});

test("the native step runs until the cached binding is the installed one", async () => {
  const { cache } = context();
  expect(await native.needed(context())).toBe("not in the cache");
  expect(await native.needed({ ...context(), env: { HEADSCOPE_BACKEND: "wasm" } })).toBe(false);
  write(`cache/tensorflow-${TENSORFLOW.version}/contents.json`, { wheel: TENSORFLOW.sha256, files: {} });
  expect(await native.needed(context())).toBe("not compiled for this version");
  const binding = bindingPath(folder, cache);
  mkdirSync(dirname(binding), { recursive: true });
  writeFileSync(binding, "binding");
  expect(await native.needed(context())).toBe("not in node_modules");
  write("node_modules/@tensorflow/tfjs-node-gpu/lib/napi-v8/tfjs_binding.node", "binding");
  expect(await native.needed(context())).toBe(false);
  write("node_modules/@tensorflow/tfjs-node-gpu/binding/x.cc", "int x;"); // other sources: another binding
  expect(await native.needed(context())).toBe("not compiled for this version");
});

test("the binding's place depends on the folder of the libraries, which it remembers", () => {
  const [a, b] = [bindingPath(folder, "/a"), bindingPath(folder, "/b")];
  expect(a.replace(libraryFolder("/a"), "")).not.toBe(b.replace(libraryFolder("/b"), ""));
});

test("a machine without pip, compiler or Linux is told in one line", async () => {
  const machine = { platform: "linux", arch: "x64", glibc: "2.36", there: async () => true, pip: async () => ["pip"] };
  const why = (change: object, compiled = false) => whyNotNative(folder, compiled, { ...machine, ...change });
  expect(await why({})).toBeUndefined();
  expect(await why({ there: async () => false })).toMatch(/no C\+\+ compiler .*apt-get install g\+\+/);
  expect(await why({ there: async () => false }, true)).toBeUndefined(); // compiled before
  expect(await why({ pip: async () => undefined })).toMatch(/no pip: .*python3-pip/);
  expect(await why({ there: async () => false, pip: async () => undefined })).toMatch(
    /no C\+\+ compiler .*, and there is no pip/,
  );
  expect(await why({ platform: "darwin", arch: "arm64" })).toMatch(/darwin on arm64/);
  expect(await why({ glibc: "2.17" })).toMatch(/glibc 2\.27/);
  expect(await why({ glibc: undefined })).toMatch(/this system has none/);
});

test("what pip and npm say is sorted by what a person can do", () => {
  const pip = (text: string) => pipFailure(text, TENSORFLOW).kind;
  expect(
    pip(
      "WARNING: Retrying ... NewConnectionError('Failed to establish a new connection')\nERROR: No matching distribution",
    ),
  ).toBe("network");
  expect(pip("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.")).toBe("mismatch");
  expect(pip("ERROR: No matching distribution found for x")).toBe("missing");
  expect(pipFailure("OSError: [Errno 28] No space left on device", TENSORFLOW).remedy).toMatch(/XDG_CACHE_HOME/);
  expect(npmFailure("npm error code ECONNREFUSED").kind).toBe("network");
  expect(npmFailure("npm error code EUSAGE\nnpm error `npm ci` can only install when ...").message).toMatch(
    /can only install/,
  );
});

test("a failed step is named, what comes after it does not run, and a step with nothing to do is silent", async () => {
  const ran: string[] = [];
  const step = (name: string, needed: string | false, fails = false) => ({
    name,
    needed: () => needed,
    run: async () => {
      ran.push(name);
      if (fails) throw new SetupError("network", "no route", { remedy: "plug it in" });
    },
  });
  let shown = "";
  const screen = new Screen({ write: (text) => (shown += text) });
  const steps = [step("a", "missing"), step("b", false), step("c", "missing", true), step("d", "missing")];
  await expect(runSteps(steps, context(), screen)).rejects.toMatchObject({
    message: "c: no route",
    remedy: "plug it in",
  });
  expect(ran).toEqual(["a", "c"]);
  expect(shown).toMatch(/^ {2}a: missing\n {2}a: ready \(\d+\.\d s; was missing\)\n {2}c: missing\n$/);
});

test("off a terminal a step says that it begins, what it does as it lasts, and that it ended", async () => {
  let shown = "";
  const screen = new Screen({ write: (text) => (shown += text) }, 5);
  const slow = {
    name: "a",
    needed: () => "missing",
    run: async (c: { progress(detail: string): void }) => {
      c.progress("half of it");
      while (!shown.includes("half of it")) await new Promise((resolve) => setTimeout(resolve, 1));
    },
  };
  await runSteps([slow], context(), screen);
  expect(shown).toMatch(/^ {2}a: missing\n( {2}a: half of it \(\d+\.\d s\)\n)+ {2}a: ready \(/);
});

test("a step that is left out says so as it ends", async () => {
  let shown = "";
  const screen = new Screen({ write: (text) => (shown += text) });
  const skipping = {
    name: "a",
    needed: () => "missing",
    run: async (c: { skip(line: string): void }) => c.skip("no a"),
  };
  await runSteps([skipping], context(), screen);
  expect(shown).toBe("  a: missing\n  no a\n");
});

test("leftovers of ended processes go, work of running ones stays", async () => {
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  write(`x.${dead}.part/file`, "");
  write(`y.${dead}.ab12.part`, "");
  write(`z.${process.pid}.part`, "");
  write("kept", "");
  await removeLeftovers(folder);
  expect(readdirSync(folder)).toEqual(["kept", `z.${process.pid}.part`]);
  await removeLeftovers(join(folder, "not there"));
  expect(existsSync(join(folder, "not there"))).toBe(false);
});

test("steps side by side show their progress together, and the first that fails stops the others", async () => {
  const details: string[] = [];
  const lines: string[] = [];
  const own: Context = {
    ...context(),
    progress: (detail) => void details.push(detail),
    skip: (line) => void lines.push(line),
  };
  const step = (name: string, run: Step["run"]): Step => ({ name, needed: () => "not there", run });
  const saying = (text: string) =>
    step(text, async ({ progress, skip }) => {
      progress(`${text} 1`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      skip(`no ${text}`);
    });
  const both = sideBySide([saying("a"), saying("b")]);
  expect(both.name).toBe("a, b");
  expect(await both.needed(own)).toBe("not there");
  await both.run(own);
  expect(details).toContain("a 1; b 1");
  expect(lines.at(-1)).toBe("no a\n  no b");

  const idle: Step = {
    name: "idle",
    needed: () => false,
    run: () => Promise.reject(new Error("it had nothing to do")),
  };
  const one = sideBySide([idle, step("busy", async () => {})]);
  expect(await one.needed(own)).toBe("not there");
  expect(one.name).toBe("busy");
  await one.run(own);
  expect(await sideBySide([idle]).needed(own)).toBe(false);

  const waits = step("waits", ({ signal }) => {
    const stopped = new SetupError("cancelled", "stopped");
    return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(stopped)));
  });
  const fails = step("fails", () => Promise.reject(new SetupError("network", "no network")));
  await expect(sideBySide([waits, fails]).run(own)).rejects.toMatchObject({ kind: "network" });
});
