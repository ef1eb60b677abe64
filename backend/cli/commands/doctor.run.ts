import { collectDoctor, formatDoctor } from "../../doctor.ts";
import type { Context } from "../context.ts";

export async function examineMachine(context: Context): Promise<void> {
  const report = await collectDoctor();
  await context.print(report, () => formatDoctor(report));
}
