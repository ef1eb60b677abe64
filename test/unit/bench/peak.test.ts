import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { transformSync } from "esbuild";
import { describe, expect, it } from "vitest";

const MB = 1e6;
const HELD = 600 * MB;
const source = new URL("../../bench/children/peak.ts", import.meta.url);
const scripts = new URL("../../bench/python/", import.meta.url);

/** What a small process says that it held at most, started while this one holds much. */
function peakOf(command: string, ...args: string[]): number {
  const much = Buffer.alloc(HELD, 1);
  const { stdout } = spawnSync(command, args, { encoding: "utf8" });
  expect(much.at(-1)).toBe(1);
  return Number(stdout);
}

const python = spawnSync("python3", ["--version"]).status === 0;

describe.runIf(process.platform === "linux")("peak memory of a process that a large one starts", () => {
  it("is its own on our side", () => {
    const { code } = transformSync(readFileSync(source, "utf8"), { loader: "ts" });
    const peak = peakOf(process.execPath, "--input-type=module", "-e", `${code}\nconsole.log(peakBytes());`);
    expect(peak).toBeGreaterThan(10 * MB);
    expect(peak).toBeLessThan(HELD / 2);
  });

  it.runIf(python)("is its own on the rivals' side", () => {
    const say = `import sys; sys.path.insert(0, ${JSON.stringify(scripts.pathname)}); import rivals; print(rivals.peak_bytes())`;
    const peak = peakOf("python3", "-B", "-c", say);
    expect(peak).toBeGreaterThan(2 * MB);
    expect(peak).toBeLessThan(HELD / 2);
  });
});
