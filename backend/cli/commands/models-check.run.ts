import { HeadscopeError } from "../../common/errors.ts";
import { verifyModel } from "../../inference/verify.ts";
import { readOracle } from "../../models/oracle.ts";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { familiesPage, familiesText, familyRows } from "../text/families-table.ts";
import { infoText, modelInfo } from "../text/model-info.ts";
import { verificationText } from "../text/verify.ts";

interface VerifyOptions extends Pick<ModelOptions, "weights"> {
  against: string;
  tolerance: number;
}

interface FamiliesOptions {
  against?: string;
  markdown?: boolean;
}

/** Compares a model with another implementation's results. @throws HeadscopeError `mismatch` beyond the tolerance */
export async function verify(
  context: Context,
  { against, tolerance, ...options }: VerifyOptions,
  ref: string,
): Promise<void> {
  const oracle = await readOracle(against);
  const verification = await withModel(context, { model: ref, ...options }, async (model) => {
    const { signal } = context;
    const { family, digest } = model;
    return {
      model: ref,
      family,
      digest,
      against: oracle.path,
      ...(await verifyModel(model, oracle, { tolerance, signal })),
    };
  });
  await context.print(verification, () => verificationText(verification));
  if (verification.passed) return;
  throw new HeadscopeError("mismatch", `${ref} differs from ${oracle.path} by more than ${tolerance}`, {
    remedy: "do not trust its results; report the checkpoint",
  });
}

/** Prints the families of checkpoints with their measured errors. */
export async function listFamilies(context: Context, { against, markdown }: FamiliesOptions): Promise<void> {
  const rows = await familyRows(context, against);
  await context.print(rows, () => (markdown ? familiesPage(rows) : familiesText(rows)));
}

/** Prints shape, weights and identity of a model, whose weights are not read. */
export async function describe(context: Context, _: object, ref: string): Promise<void> {
  const info = await modelInfo(ref);
  await context.print(info, () => infoText(info));
}
