import { collectDoctor, formatDoctor } from "../../doctor.ts";
import type { Context } from "../context.ts";

/** Prints what this machine has, and what to mend. */
export async function examineMachine(context: Context): Promise<void> {
  const report = await collectDoctor();
  await context.print(report, () => formatDoctor(report));
}
