import type { Command } from "commander";
import { runs } from "../context.ts";

/** `headscope token`: what the workbench of this data folder asks for. */
export function register(program: Command): void {
  const command = program
    .command("token")
    .description("print the token that the workbench of this data folder asks for, for its page or a program");
  runs(command, async (context) => {
    const [{ serverToken }, { dataDir }] = await Promise.all([
      import("../../server/http/token.ts"),
      import("../../paths.ts"),
    ]);
    const folder = dataDir();
    const token = await serverToken(folder);
    await context.print({ token, folder }, () => token);
  });
}
