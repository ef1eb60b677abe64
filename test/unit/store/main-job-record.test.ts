import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hasBrowser } from "../../../backend/cli/start/browser.ts";
import { MainJobRecord, mainJobFolder, readMainJob } from "../../../backend/store/main-job.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-main-job-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const stateFile = () => join(mainJobFolder(folder), "state.json");

test("the record says which part is done, what is known, and how it ended", async () => {
  expect(await readMainJob(folder)).toBeUndefined();
  const record = new MainJobRecord(folder);
  await record.note({});
  expect(await readMainJob(folder)).toEqual({ status: "running", part: "training" });
  await record.note({ run: "induction-1" });
  record.progress(3, 10, "steps");
  await record.note({ part: "scores", model: "toy" });
  expect(await readMainJob(folder)).toEqual({ status: "running", part: "scores", run: "induction-1", model: "toy" });
  await record.end("failed", "no room");
  expect(await readMainJob(folder)).toMatchObject({ status: "failed", part: "scores", error: "no room" });
});

test("progress is written at most once a second, and gone with its part", async () => {
  const record = new MainJobRecord(folder);
  for (let done = 1; done <= 100; done++) record.progress(done, 100, "steps");
  await record.note({ run: "induction-1" });
  expect(await readMainJob(folder)).not.toHaveProperty("progress");
});

test("a running one whose process is gone counts as cancelled, and a damaged file as none", async () => {
  const record = new MainJobRecord(folder);
  await record.note({});
  const state = JSON.parse(readFileSync(stateFile(), "utf8"));
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  writeFileSync(stateFile(), JSON.stringify({ ...state, owner: { ...state.owner, pid } }));
  expect(await readMainJob(folder)).toMatchObject({ status: "cancelled" });
  writeFileSync(stateFile(), "{");
  expect(await readMainJob(folder)).toBeUndefined();
});

test("a browser is opened only where a person sits before one", () => {
  expect(hasBrowser({ DISPLAY: ":0" }, "linux")).toBe(true);
  expect(hasBrowser({ WAYLAND_DISPLAY: "wayland-0" }, "linux")).toBe(true);
  expect(hasBrowser({}, "linux")).toBe(false);
  expect(hasBrowser({}, "darwin")).toBe(true);
  expect(hasBrowser({ CI: "true", DISPLAY: ":0" }, "linux")).toBe(false);
  expect(hasBrowser({ SSH_CONNECTION: "1 2 3 4", DISPLAY: ":0" }, "linux")).toBe(false);
});
