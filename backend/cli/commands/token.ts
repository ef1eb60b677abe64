import type { Command } from "commander";
import type { Runs } from "../context.ts";

/** `headscope token`: what the workbench of this data folder asks for. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("token")
    .description("print the token that the workbench of this data folder asks for, for its page or a program");
  runs(command, async () => (await import("./token.run.ts")).printToken);
}
