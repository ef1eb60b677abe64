import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { numberParser, weightsOption } from "../options.ts";

/** `headscope models verify | families`, below the command `models`. */
export function registerChecks(models: Command, runs: Runs): void {
  runs(
    weightsOption(
      models
        .command("verify <ref>")
        .description("compare a model with what another implementation computed of the same checkpoint")
        .requiredOption("--against <dir>", "folder with that implementation's oracle.json (docs/families.md)"),
    ).option("--tolerance <n>", "largest absolute error that passes", numberParser("--tolerance", 0), 2e-4),
    async () => (await import("./models-check.run.ts")).verify,
  );

  runs(
    models
      .command("families")
      .description("list the families of checkpoints, with the errors measured on one of each")
      .option("--against <dir>", "folder of checkpoints that each have an oracle.json")
      .option("--markdown", "as the page docs/families.md"),
    async () => (await import("./models-check.run.ts")).listFamilies,
  );
}
