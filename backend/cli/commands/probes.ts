import type { Command } from "commander";
import type { Runs } from "../context.ts";

/** `headscope probes list` and `headscope probes show NAME`. */
export function register(program: Command, runs: Runs): void {
  const probes = program.command("probes").description("list the probes, or show one with its parameters");
  runs(probes.command("list").description("list the probes"), async () => (await import("./probes.run.ts")).listProbes);
  runs(
    probes.command("show <name>").description("show a probe and its parameters"),
    async () => (await import("./probes.run.ts")).showProbe,
  );
}
