import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  compilerName,
  KERNEL_SOURCES,
  kernelFolder,
  kernelRecord,
  kernels,
} from "../../../backend/setup/native/kernels.mjs";
import {
  chooseFromWheel,
  chooseHeaders,
  hasKernelHeaders,
  TENSORFLOW,
} from "../../../backend/setup/native/tensorflow.mjs";
import type { Context } from "../../../backend/setup/runner.mjs";

const compiler = await compilerName();
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "headscope-kernels-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(name: string, content: string | object): void {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
}

const HEADERS = [
  "tensorflow/c/experimental/stream_executor/stream_executor.h",
  "tensorflow/core/common_runtime/next_pluggable_device/c/tf_rendezvous_c_api.h",
  "tsl/platform/platform.h",
];

/** A cache that has all that the kernels need, in name. */
function prepare(source: string): { context: Context; skipped: string[]; details: string[] } {
  const library = `cache/tensorflow-${TENSORFLOW.version}`;
  write(`${library}/contents.json`, { wheel: TENSORFLOW.sha256, files: {} });
  for (const header of HEADERS) write(`${library}/include/${header}`, "");
  write(`${KERNEL_SOURCES}/one.cc`, source);
  const [skipped, details]: [string[], string[]] = [[], []];
  const context: Context = {
    root,
    cache: join(root, "cache"),
    env: {},
    signal: undefined,
    progress: (detail) => void details.push(detail),
    skip: (line) => void skipped.push(line),
    log: () => {},
  };
  return { context, skipped, details };
}

test("headers for kernels are taken from the wheel, alone where a cache has the libraries already", () => {
  for (const header of HEADERS) expect(chooseFromWheel(`tensorflow/include/${header}`)).toBe(`include/${header}`);
  expect(chooseHeaders("tensorflow/include/tensorflow/c/kernels.h")).toBe("include/tensorflow/c/kernels.h");
  expect(chooseHeaders("tensorflow/libtensorflow_cc.so.2")).toBeUndefined();
  const { cache } = prepare("").context;
  expect(hasKernelHeaders(cache)).toBe(true);
  expect(hasKernelHeaders(join(cache, "none"))).toBe(false);
});

test("another processor, library folder or source has kernels of its own", () => {
  const { cache } = prepare("int a;").context;
  const folder = kernelFolder(root, cache, "x64 avx2");
  expect(kernelFolder(root, cache, "x64 avx2")).toBe(folder);
  expect(kernelFolder(root, cache, "x64 avx2 avx512f")).not.toBe(folder);
  const last = (path: string) => path.slice(-16);
  expect(last(kernelFolder(root, `${cache}2`, "x64 avx2"))).not.toBe(last(folder));
  write(`${KERNEL_SOURCES}/one.cc`, "int b;");
  expect(kernelFolder(root, cache, "x64 avx2")).not.toBe(folder);
});

describe.skipIf(compiler === undefined)("the step that compiles the kernels", () => {
  test("runs until there is a library of this compiler, or a failure of it", async () => {
    const { context } = prepare("int a;");
    const folder = kernelFolder(root, context.cache);
    const record = (what: object) => {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "record.json"), JSON.stringify(what));
      return kernels.needed(context);
    };
    expect(await kernels.needed(context)).toMatch(/not compiled/);
    expect(await record({ compiler: "g++ 4.8", library: "x" })).toMatch(/another compiler/);
    const built = { compiler, library: "x.node", digest: sha256("a library") };
    expect(await record(built)).toMatch(/missing/);
    writeFileSync(join(folder, "x.node"), "a libr");
    expect(await record(built)).toMatch(/damaged/);
    writeFileSync(join(folder, "x.node"), "a library");
    expect(await record(built)).toBe(false);
    expect(await record({ compiler, failure: "why" })).toBe(false);
    for (const damaged of ["", '{"compiler":', "null", "[]", "{}"]) {
      writeFileSync(join(folder, "record.json"), damaged);
      expect(await kernels.needed(context), damaged).toMatch(/not compiled/);
    }
  });

  test("has nothing to do without the library, with another backend, or where nobody wants kernels", async () => {
    const { context } = prepare("int a;");
    const needed = (env: NodeJS.ProcessEnv) => kernels.needed({ ...context, env });
    expect(await needed({ HEADSCOPE_KERNELS: "off" })).toBe(false);
    expect(await needed({ HEADSCOPE_BACKEND: "wasm" })).toBe(false);
    expect(await needed({ HEADSCOPE_BACKEND: "tensorflow" })).not.toBe(false);
    rmSync(join(context.cache, `tensorflow-${TENSORFLOW.version}`, "contents.json"));
    expect(await needed({})).toBe(false);
  });

  test("goes on where sources do not compile: one line, a record, nothing half-written", async () => {
    const { context, skipped } = prepare("int a = ;");
    await kernels.run(context);
    expect(skipped).toEqual([expect.stringMatching(/^no native kernels: g\+\+ could not compile them: .*error/)]);
    const folder = kernelFolder(root, context.cache);
    expect(kernelRecord(folder)).toEqual({ compiler, failure: expect.stringContaining("could not compile") });
    expect(readdirSync(folder)).toEqual(["record.json"]);
    expect(readdirSync(context.cache).filter((name) => name.endsWith(".part"))).toEqual([]);
    expect(await kernels.needed(context)).toBe(false);
    write(`${KERNEL_SOURCES}/one.cc`, "int a = 1;"); // mended
    expect(await kernels.needed(context)).toMatch(/not compiled/);
  });

  test("compiles once where two want it at the same time", async () => {
    const { context, details, skipped } = prepare("int a = ;");
    await Promise.all([kernels.run(context), kernels.run(context)]);
    expect(details.filter((detail) => detail === "compiling the kernels")).toHaveLength(1);
    expect(details.some((detail) => detail.startsWith("waiting for process"))).toBe(true);
    expect(skipped).toHaveLength(1);
  });

  test("leaves no record and no files when it is interrupted", async () => {
    const { context } = prepare("int a = 1;");
    const controller = new AbortController();
    const progress = (detail: string) => detail === "compiling the kernels" && controller.abort();
    await expect(kernels.run({ ...context, signal: controller.signal, progress })).rejects.toMatchObject({
      kind: "cancelled",
    });
    expect(kernelRecord(kernelFolder(root, context.cache))).toBeUndefined();
    expect(readdirSync(context.cache).filter((name) => name.endsWith(".part"))).toEqual([]);
    expect(existsSync(join(context.cache, "locks", "kernels.lock"))).toBe(false);
  });
});

describe("a process that loads kernels", () => {
  /** The modules anew, with a cache of their own. */
  async function load(cache: string, env: Record<string, string> = {}) {
    vi.resetModules();
    vi.stubEnv("XDG_CACHE_HOME", cache);
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    const { initBackend } = await import("../../../backend/runtime/backend.ts");
    const { loadKernels } = await import("../../../backend/kernels/kernels.ts");
    return { backend: await initBackend(), loadKernels };
  }
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });
  const own = join(import.meta.dirname, "../../..");

  test("is told in one line why there are none, and goes on", async () => {
    expect((await load(root, { HEADSCOPE_KERNELS: "off" })).loadKernels()).toMatchObject({
      ready: false,
      why: "HEADSCOPE_KERNELS is off",
    });
    const { backend, loadKernels } = await load(root, { HEADSCOPE_KERNELS: "on" });
    expect(loadKernels()).toMatchObject({ ready: false, threads: 0 });
    if (backend.name !== "tensorflow") return;
    expect(loadKernels()).toMatchObject({ why: expect.stringContaining("not compiled"), remedy: expect.any(String) });
    const folder = kernelFolder(own, join(root, "headscope"));
    mkdirSync(folder, { recursive: true });
    const record = (what: object) => writeFileSync(join(folder, "record.json"), JSON.stringify(what));
    record({ compiler: "g++", failure: "the compiler said no" });
    expect((await load(root)).loadKernels().why).toBe("the compiler said no");
    writeFileSync(join(folder, "broken.node"), "no library");
    for (const digest of [undefined, sha256("no library, cut off")]) {
      record({ compiler: "g++", library: "broken.node", digest });
      expect((await load(root)).loadKernels()).toMatchObject({ ready: false, why: expect.stringContaining("damaged") });
    }
    record({ compiler: "g++", library: "broken.node", digest: sha256("no library") });
    const broken = (await load(root)).loadKernels();
    expect(broken).toMatchObject({ ready: false, why: expect.stringMatching(/^they do not load: [^\n]+$/) });
  });

  test("says before it starts a backend whether there will be kernels", async () => {
    vi.resetModules();
    const { expectsKernels, hasKernels } = await import("../../../backend/kernels/kernels.ts");
    const { initBackend } = await import("../../../backend/runtime/backend.ts");
    const expected = expectsKernels();
    await initBackend();
    expect(hasKernels()).toBe(expected);
    for (const [name, value] of [
      ["HEADSCOPE_KERNELS", "off"],
      ["HEADSCOPE_BACKEND", "wasm"],
      ["XDG_CACHE_HOME", "/nowhere"],
    ] as const) {
      vi.resetModules();
      vi.stubEnv(name, value);
      expect((await import("../../../backend/kernels/kernels.ts")).expectsKernels()).toBe(false);
      vi.unstubAllEnvs();
    }
  });

  test("refuses settings that cannot be", async () => {
    const { kernelSettings } = await import("../../../backend/kernels/settings.ts");
    expect(kernelSettings({ HEADSCOPE_THREADS: "5" })).toEqual({ wanted: true, threads: 5 });
    expect(kernelSettings({}).threads).toBeGreaterThan(0);
    expect(kernelSettings({ HEADSCOPE_KERNELS: "off" }).wanted).toBe(false);
    const usage = expect.objectContaining({ name: "HeadscopeError", kind: "usage" });
    for (const text of ["0", "-1", "1.5", "many", "257", "0x2"])
      expect(() => kernelSettings({ HEADSCOPE_THREADS: text })).toThrow(usage);
    expect(() => kernelSettings({ HEADSCOPE_KERNELS: "maybe" })).toThrow(usage);
  });
});
