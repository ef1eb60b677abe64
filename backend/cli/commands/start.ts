import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { serveOptions } from "./serve.ts";

/** `headscope start`: the main job, from the model to the files that other engines load; then the workbench with its results. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("start")
    .description(
      "train a toy transformer, then fetch a small model, find its heads, prove them, run it with less memory, write the files, and show it all in the browser as it comes",
    )
    .option("--text <text>", "a sentence to be continued", "The capital of France is")
    .option("--out <folder>", "where to write the files (default: start in the data folder)")
    .option("--no-serve", "end when the job is done")
    .option("--no-open", "do not open the browser");
  runs(serveOptions(command), async () => (await import("./start.run.ts")).startJob);
}
