import { expect, test, vi } from "vitest";
import { collectDoctor, type DoctorReport, formatDoctor } from "../../../backend/doctor.ts";

test("the report on this machine names backend, versions, threads, cache and models", async () => {
  const report = await collectDoctor();
  expect(["tensorflow", "wasm"]).toContain(report.backend?.name);
  expect(report.backend?.why).not.toBe("");
  expect(report.threads.used).toBeGreaterThan(0);
  expect(report.models.map(({ name }) => name)).toContain("smollm2-135m");
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  const text = formatDoctor(report);
  for (const word of ["headscope", "backend", "tfjs", "threads", "cache", "models"]) expect(text).toContain(word);
  for (const { what, remedy } of report.problems) expect(text).toContain(`- ${what}\n  ${remedy}`);
});

test("an empty cache is a problem with its remedy", async () => {
  vi.stubEnv("XDG_CACHE_HOME", "/nowhere");
  try {
    const { problems, cache } = await collectDoctor();
    expect(cache).toEqual({ folder: "/nowhere/headscope", bytes: 0, parts: {} });
    expect(problems).toContainEqual({
      what: "the model smollm2-135m is not here",
      remedy: expect.stringContaining("headscope models pull smollm2-135m"),
    });
  } finally {
    vi.unstubAllEnvs();
  }
});

test("the text says what to mend, or that there is nothing", async () => {
  const report: DoctorReport = { ...(await collectDoctor()), problems: [] };
  expect(formatDoctor(report)).toMatch(/Nothing to mend\.$/);
  const { backend: _, ...without } = report;
  expect(formatDoctor({ ...without, problems: [{ what: "no backend", remedy: "npm ci" }] })).toMatch(
    /backend +none[\s\S]*To mend:\n- no backend\n {2}npm ci$/,
  );
});

test("the kernels are a line: their instructions and threads, or why there are none", async () => {
  const report = await collectDoctor();
  expect(report.kernels?.why).not.toBe("");
  const line = (kernels: DoctorReport["kernels"]) =>
    formatDoctor({ ...report, ...(kernels ? { kernels } : {}) })
      .split("\n")
      .find((text) => text.startsWith("kernels"));
  expect(line({ ready: true, why: "AVX2", threads: 1 })).toMatch(/^kernels +AVX2, 1 thread$/);
  expect(line({ ready: false, why: "they are off", threads: 0 })).toMatch(/^kernels +none.*: they are off$/);
});
