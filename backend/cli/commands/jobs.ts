import type { Command } from "commander";
import type { Runs } from "../context.ts";

/** `headscope jobs list | cancel | resume | rm`. */
export function register(program: Command, runs: Runs): void {
  const command = program.command("jobs").description("list, cancel, resume and remove long work");

  runs(command.command("list").description("list the jobs"), async () => (await import("./jobs.run.ts")).listJobs);

  runs(
    command.command("cancel <id>").description("stop a job; it can be resumed"),
    async () => (await import("./jobs.run.ts")).cancelJob,
  );

  runs(
    command.command("resume <id>").description("go on with a job that failed, was cancelled or interrupted"),
    async () => (await import("./jobs.run.ts")).resumeJob,
  );

  runs(
    command.command("rm <id>").description("remove a job that has ended from the list; what it made stays"),
    async () => (await import("./jobs.run.ts")).removeJob,
  );
}
