import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import type { Runs } from "../context.ts";
import { integerParser } from "../options.ts";

function port(text: string): number {
  const value = integerParser("--port", 0)(text);
  if (value <= 65_535) return value;
  throw new HeadscopeError("usage", `--port cannot be ${value}`, { remedy: "give a number from 0 to 65535" });
}

/** Adds --host, --port, --root and --no-token. */
export function serveOptions(command: Command): Command {
  return command
    .option(
      "--host <address>",
      "address to listen on; others than this machine's own need HEADSCOPE_TOKEN",
      "127.0.0.1",
    )
    .option("--port <n>", "port to listen on; 0 takes a free one", port, 4747)
    .option("--root <folder...>", "folders besides the data folder whose files the pages may name")
    .option("--no-token", "ask for no token: every user and process of this machine may use it");
}

/** `headscope serve`: the workbench in the browser. */
export function register(program: Command, runs: Runs): void {
  const command = program.command("serve").description("open the workbench: pages and API on a port of this machine");
  command.option("--open", "open the browser too");
  runs(serveOptions(command), async () => (await import("./serve.run.ts")).serveWorkbench);
}
