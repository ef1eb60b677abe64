import { collectDoctor, formatDoctor } from "../../doctor.ts";
import type { Context } from "../context.ts";
import { ReportedFailure } from "../errors.ts";

/** Prints what this machine has, and what to mend. @throws ReportedFailure where no command would work, with the exit code of these */
export async function examineMachine(context: Context): Promise<void> {
  const report = await collectDoctor();
  await context.print(report, () => formatDoctor(report));
  const code = report.problems.find(({ exitCode }) => exitCode !== undefined)?.exitCode;
  if (code !== undefined) throw new ReportedFailure(code);
}
