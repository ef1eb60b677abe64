import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isStale, withLock } from "../../../backend/setup/lock.mjs";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Pid of a process that has ended. */
const deadPid = () => spawnSync(process.execPath, ["-e", ""]).pid;

test("work under one lock never overlaps, in one process", async () => {
  const path = join(folder, "a.lock");
  let inside = 0;
  let most = 0;
  const work = async () => {
    most = Math.max(most, ++inside);
    await new Promise((done) => setTimeout(done, 5));
    inside--;
  };
  await Promise.all(Array.from({ length: 8 }, () => withLock(path, work, { pollMs: 2 })));
  expect(most).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});

test("processes that find the same stale lock still take turns", async () => {
  const path = join(folder, "a.lock");
  const log = join(folder, "log");
  writeFileSync(path, JSON.stringify({ pid: deadPid(), host: hostname(), started: "" }));
  const program = `
    import { appendFileSync } from "node:fs";
    import { setTimeout as sleep } from "node:timers/promises";
    import { withLock } from ${JSON.stringify(resolve("backend/setup/lock.mjs"))};
    await withLock(${JSON.stringify(path)}, async () => {
      appendFileSync(${JSON.stringify(log)}, "in ");
      await sleep(20);
      appendFileSync(${JSON.stringify(log)}, "out ");
    }, { pollMs: 2 });`;
  const codes = await Promise.all(
    Array.from(
      { length: 4 },
      () =>
        new Promise((done) =>
          spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" }).on("close", done),
        ),
    ),
  );
  expect(codes).toEqual([0, 0, 0, 0]);
  const { readFileSync } = await import("node:fs");
  expect(readFileSync(log, "utf8")).toBe("in out ".repeat(4));
  expect(existsSync(path)).toBe(false);
});

test("a lock is stale when its process is gone or its pid was given to another", () => {
  const owner = { pid: process.pid, host: hostname(), started: "" };
  expect(isStale(JSON.stringify(owner))).toBe(false);
  expect(isStale(JSON.stringify({ ...owner, pid: deadPid() }))).toBe(true);
  if (process.platform === "linux") expect(isStale(JSON.stringify({ ...owner, started: "1" }))).toBe(true);
  expect(isStale(JSON.stringify({ ...owner, pid: deadPid(), host: "another-machine" }))).toBe(false);
});

test("who waits is told once, and can be interrupted", async () => {
  const path = join(folder, "a.lock");
  const waits: string[] = [];
  const controller = new AbortController();
  await withLock(path, async () => {
    const waiting = withLock(path, async () => {}, {
      pollMs: 2,
      signal: controller.signal,
      onWait: (owner) => waits.push(owner),
    });
    setTimeout(() => controller.abort(), 20);
    await expect(waiting).rejects.toMatchObject({ kind: "cancelled" });
  });
  expect(waits).toEqual([`process ${process.pid}`]);
});

test("a lock is free again after its work threw", async () => {
  const path = join(folder, "a.lock");
  await expect(withLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await withLock(path, async () => 1)).toBe(1);
});
