import { counted } from "../../common/text.ts";
import type { CostRow, Costs } from "../../inference/cost/costs.ts";
import type { Device } from "../../inference/cost/devices.ts";
import { bold, bytes, count, dim, duration, right, table } from "./format.ts";

/** Costs for people: a table for each device. */
export function costsText({ model, parameters, devices, rows }: Costs): string {
  const parts = devices.map((device) =>
    deviceText(
      device,
      rows.filter((row) => row.device === device.name),
    ),
  );
  return [`${bold(model)}, ${count(parameters)} parameters`, ...parts].join("\n\n");
}

function deviceText(device: Device, rows: readonly CostRow[]): string {
  const { weights, cache, weightBytes, newTokens } = rows[0]!;
  const head = `${bold(device.name)}: ${device.title}, ${bytes(device.memory)}; ${weights} weights ${bytes(weightBytes)}, ${cache} keys and values; ${counted(newTokens, "new token")}`;
  const names = [
    "tokens",
    "keys, values",
    "at most",
    "requests",
    "prompt",
    "a token",
    "tokens/s together",
    "switch",
    "a token, offloaded",
  ];
  const columns = ["policies", ...names.map(right)];
  const cells = rows.map((row) => [
    row.policies.map(({ name }) => name).join("+") || "full attention",
    String(row.tokens),
    bytes(row.cacheBytes),
    bytes(row.peakBytes),
    String(row.concurrency),
    duration(1000 * row.prefill.seconds),
    duration(1000 * row.decode.seconds),
    row.throughput.toFixed(row.throughput < 100 ? 1 : 0),
    duration(1000 * row.contextSwitch.seconds),
    duration(1000 * row.offload.seconds),
  ]);
  const undecided = [...new Set(rows.flatMap(({ held }) => held.undecided))];
  const notes = undecided.map((name) => dim(`${name} decides as it runs: it counts as full attention here.`));
  return [
    head,
    table(columns, cells),
    ...notes,
    dim(`Slow memory: ${device.slow.name}. Source: ${device.source}.`),
  ].join("\n");
}
