import type { Command } from "commander";
import { runs } from "../context.ts";

interface StartOptions {
  text: string;
  out?: string;
  serve: boolean;
}

/** `headscope start`: the main job, from the model to the files that other engines load. */
export function register(program: Command): void {
  const command = program
    .command("start")
    .description(
      "train a toy transformer, then fetch a small model, find its heads, prove them, run it with less memory, and write the files",
    )
    .option("--text <text>", "a sentence to be continued", "The capital of France is")
    .option("--out <folder>", "where to write the files (default: start in the data folder)")
    .option("--no-serve", "end when the job is done (this version starts no server, so it always ends)");
  runs<StartOptions>(command, async (context, { text, out }) => {
    const { mainJob } = await import("../main-job.ts");
    await mainJob(context, { text, ...(out === undefined ? {} : { out }) });
  });
}
