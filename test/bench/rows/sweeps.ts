import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bench } from "../measure.ts";

/** Steps of a point, as one tries which values are worth a whole training. */
const STEPS = 200;

const RATES = [0.0003, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01];

/** A whole sweep over points of one shape against that of one point. */
export function sweepRows(): Bench[] {
  return [
    {
      name: `8 points of a sweep, induction, ${STEPS} steps, start to end`, unit: "s", rival: "one point", goal: 5, once: true,
      ours: () => sweepTime(RATES), theirs: () => sweepTime([0.001]),
    },
  ]; // biome-ignore format: a table
}

/** Seconds of `headscope sweep` in an empty data folder, from its start to its end. */
function sweepTime(rates: readonly number[]): number {
  const home = mkdtempSync(join(tmpdir(), "headscope-bench-"));
  const main = fileURLToPath(new URL("./cli/main.js", import.meta.url));
  const own = ["sweep", "induction", "--over", `learning_rate=${rates.join(",")}`, "--param", `steps=${STEPS}`];
  try {
    const began = performance.now();
    const env = { ...process.env, HEADSCOPE_HOME: home };
    const { status, stderr } = spawnSync(process.execPath, [main, ...own], { env, encoding: "utf8" });
    if (status !== 0) throw new Error(`the sweep ended with ${status}: ${stderr}`);
    return (performance.now() - began) / 1000;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
