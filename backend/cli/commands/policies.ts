import type { Command } from "commander";
import type { Runs } from "../context.ts";

/** `headscope policies list` and `headscope policies show NAME`. */
export function register(program: Command, runs: Runs): void {
  const policies = program
    .command("policies")
    .description("list the policies of the cache, or show one with its parameters");
  runs(
    policies.command("list").description("list the policies"),
    async () => (await import("./policies.run.ts")).listPolicies,
  );
  runs(
    policies.command("show <name>").description("show a policy and its parameters"),
    async () => (await import("./policies.run.ts")).showPolicy,
  );
}
