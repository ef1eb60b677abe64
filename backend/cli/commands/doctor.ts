import type { Command } from "commander";
import { runs } from "../context.ts";

/** `headscope doctor`: what this machine has, and what to mend. */
export function register(program: Command): void {
  const command = program
    .command("doctor")
    .description("report backend, versions, threads, cache and models, and what to mend");
  runs(command, async (context) => {
    const { collectDoctor, formatDoctor } = await import("../../doctor.ts");
    const report = await collectDoctor();
    await context.print(report, () => formatDoctor(report));
  });
}
