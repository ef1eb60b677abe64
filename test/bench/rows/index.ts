import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Bench } from "../measure.ts";
import type { Setting } from "../setting.ts";
import { circuitRows } from "./circuits.ts";
import { costRows } from "./cost.ts";
import { decodeRows } from "./decode.ts";
import { forwardRows } from "./forward.ts";
import { kernelRows } from "./kernels.ts";
import { memoryRows } from "./memory.ts";
import { promptRows } from "./prompts.ts";
import { readRows } from "./reads.ts";
import { sweepRows } from "./sweeps.ts";

/** All figures but those of training. */
export function allRows(setting: Setting): Bench[] {
  const help = { name: "headscope --help", unit: "ms", rival: "300 ms", goal: 1, ours: timeHelp, theirs: () => 300 };
  const groups = [
    forwardRows,
    promptRows,
    decodeRows,
    readRows,
    circuitRows,
    memoryRows,
    kernelRows,
    costRows,
    sweepRows,
  ];
  return [...groups.flatMap((group) => group(setting)), help];
}

function timeHelp(): number {
  const main = fileURLToPath(new URL("./cli/main.js", import.meta.url));
  const began = performance.now();
  spawnSync(process.execPath, [main, "--help"], { stdio: "ignore" });
  return performance.now() - began;
}
