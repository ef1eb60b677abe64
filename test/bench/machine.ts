import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { loadKernels } from "../../backend/kernels/kernels.ts";
import { initBackend } from "../../backend/runtime/backend.ts";

/** The machine of a run, on which its figures hang. */
export interface Machine {
  processor: string;
  cores: number;
  /** Gigabytes. */
  memory: number;
  /** Instructions of the kernels, or why there are none. */
  kernels: string;
  /** Threads of the kernels. */
  threads: number;
  /** Processes that wanted a processor when the run began, a mean of the minute before. */
  load: number;
  node: string;
}

/** Looks at this machine. */
export async function thisMachine(): Promise<Machine> {
  await initBackend();
  const { why, threads } = loadKernels();
  return {
    processor: processorName(),
    cores: availableParallelism(),
    memory: Math.round(totalmem() / 2 ** 30),
    kernels: why,
    threads,
    load: Number(loadavg()[0]!.toFixed(1)),
    node: process.version,
  };
}

/** Its name, and where Linux says it the family and model: providers hide the rest of the name. */
function processorName(): string {
  const name = cpus()[0]?.model ?? process.arch;
  try {
    const told = readFileSync("/proc/cpuinfo", "utf8");
    const [family, model] = ["cpu family", "model"].map(
      (key) => new RegExp(`^${key}\\s*: (\\d+)$`, "m").exec(told)?.[1],
    );
    return family === undefined ? name : `${name}, family ${family} model ${model}`;
  } catch {
    return name;
  }
}

/** A machine and the rivals' versions, in two lines. */
export function describeMachine(machine: Machine, rivals: Readonly<Record<string, string>> | undefined): string {
  const { processor, cores, memory, kernels, threads, load, node } = machine;
  const versions = Object.entries(rivals ?? {}).map(([name, version]) => `${name} ${version}`);
  return [
    `${processor}; ${cores} cores, ${memory} GB, load ${load}; kernels: ${kernels}, threads: ${threads}; Node.js ${node}`,
    `rivals: ${versions.length > 0 ? versions.join(", ") : "none"}`,
  ].join("\n");
}
