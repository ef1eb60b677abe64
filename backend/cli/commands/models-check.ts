import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { runs } from "../context.ts";
import { type ModelOptions, real, weightsOption } from "../options.ts";

interface VerifyOptions extends Pick<ModelOptions, "weights"> {
  against: string;
  tolerance: number;
}

interface FamiliesOptions {
  against?: string;
  markdown?: boolean;
}

/** `headscope models verify | families`, below the command `models`. */
export function registerChecks(models: Command): void {
  runs<VerifyOptions>(
    weightsOption(
      models
        .command("verify <ref>")
        .description("compare a model with what another implementation computed of the same checkpoint")
        .requiredOption("--against <dir>", "folder with that implementation's oracle.json (docs/families.md)"),
    ).option("--tolerance <n>", "largest absolute error that passes", real("--tolerance", 0), 2e-4),
    async (context, { against, tolerance, ...options }, ref) => {
      const [{ withModel }, { readOracle }, { verifyModel }, { verificationText }] = await Promise.all([
        import("../model.ts"),
        import("../../models/oracle.ts"),
        import("../../inference/verify.ts"),
        import("../text/verify.ts"),
      ]);
      const oracle = await readOracle(against);
      const found = await withModel(context, { model: ref!, ...options }, async (model) => {
        const { signal } = context;
        const { family, digest } = model;
        return {
          model: ref!,
          family,
          digest,
          against: oracle.path,
          ...(await verifyModel(model, oracle, { tolerance, signal })),
        };
      });
      await context.print(found, () => verificationText(found));
      if (found.passed) return;
      throw new HeadscopeError("mismatch", `${ref} differs from ${oracle.path} by more than ${tolerance}`, {
        remedy: "do not trust its results; report the checkpoint",
      });
    },
  );

  runs<FamiliesOptions>(
    models
      .command("families")
      .description("list the families of checkpoints, with the errors measured on one of each")
      .option("--against <dir>", "folder of checkpoints that each have an oracle.json")
      .option("--markdown", "as the page docs/families.md"),
    async (context, { against, markdown }) => {
      const { familiesPage, familiesText, familyRows } = await import("../text/families-table.ts");
      const rows = await familyRows(context, against);
      await context.print(rows, () => (markdown ? familiesPage(rows) : familiesText(rows)));
    },
  );
}
