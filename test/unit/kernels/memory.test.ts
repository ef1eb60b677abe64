import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { giveBackMemory } from "../../../backend/kernels/kernels.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";

const MB = 2 ** 20;

/** Bytes of this process that are in memory. */
function resident(): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

let ready = false;
beforeAll(async () => {
  ready = (await kernelsHere()).ready;
});

describe.runIf(process.platform === "linux")("memory that was freed", () => {
  it("goes back to the system where blocks in use lie behind it", ({ skip }) => {
    if (!ready) skip();
    const first = Page.make("f32", 64, 128);
    const pages = Array.from({ length: 100 * (MB / first.bytes) }, () => first.copy());
    const last = first.copy();
    const before = resident();
    for (const page of pages) page.release();
    giveBackMemory();
    expect(before - resident()).toBeGreaterThan(50 * MB);
    for (const page of [first, last]) page.release();
  });
});
