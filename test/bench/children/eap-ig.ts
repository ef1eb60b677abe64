/**
 * Scores all edges by EAP-IG in a process of its own and says what it took, as eap_ig.py does for the EAP-IG package: one JSON
 * line {"ms", "cpuMs", "firstMs", "peakBytes"}. The first run, which captures and compiles, is reported beside the measured one.
 *
 *   node dist/bench-eap-ig.js REF PAIRS.json [--steps 5] [--repeats 1]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { findCircuit } from "../../../backend/circuits/edges/find-circuit.ts";
import type { Pair } from "../../../backend/circuits/pairs.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { peakBytes } from "./peak.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: "string", default: "5" }, repeats: { type: "string", default: "1" } },
});
const [ref, file] = positionals;
const pairs = JSON.parse(readFileSync(file!, "utf8")) as Pair[];
const model = await loadModel(ref!);

async function once(): Promise<{ ms: number; cpuMs: number }> {
  const before = process.cpuUsage();
  const began = performance.now();
  await findCircuit(model, { pairs, method: "eap-ig", params: { steps: Number(values.steps) }, edges: "all" });
  const { user, system } = process.cpuUsage(before);
  return { ms: performance.now() - began, cpuMs: (user + system) / 1000 };
}

const { ms: firstMs } = await once();
const runs = [];
for (let i = 0; i < Number(values.repeats); i++) runs.push(await once());
const [{ ms, cpuMs }] = runs.sort((a, b) => a.ms - b.ms).slice(runs.length >> 1) as [{ ms: number; cpuMs: number }];
process.stdout.write(`${JSON.stringify({ ms, cpuMs, firstMs, peakBytes: peakBytes() })}\n`);
