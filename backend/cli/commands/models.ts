import { type Command, Option } from "commander";
import type { PullProgress } from "../../models/sources/pull.ts";
import { problems } from "../../setup/terminal.mjs";
import { type Context, runs } from "../context.ts";
import { registerChecks } from "./models-check.ts";

interface ModelExportOptions {
  out: string;
  force?: boolean;
  format: string;
}

/** `headscope models list | pull | info | verify | families | export | rm`. */
export function register(program: Command): void {
  const models = program.command("models").description("list, fetch, describe, export and remove models");

  runs(
    models.command("list").description("list the models that have a name, and those in the Hugging Face cache"),
    async (context) => {
      const [{ listHubModels, listModels }, { bytes, table }] = await Promise.all([
        import("../../models/sources/pull.ts"),
        import("../text/format.ts"),
      ]);
      const found = [...listModels(), ...(await listHubModels())];
      await context.print(found, () =>
        table(
          [
            { head: "model" },
            { head: "size", align: "right" },
            { head: "state" },
            { head: "licence" },
            { head: "what it is" },
          ],
          found.map(({ name, bytes: size, ready, kind, licence, title }) => [
            name,
            size === undefined ? "" : bytes(size),
            kind === "constructed" ? "built in" : ready ? "here" : "not pulled",
            licence ?? "",
            title,
          ]),
        ),
      );
    },
  );

  const pull = models
    .command("pull <ref>")
    .description("fetch a model of the list, or hf:org/name[@revision]")
    .option("--accept-licence", "accept the terms that the model comes under, where it has some");
  runs<{ acceptLicence?: boolean }>(pull, async (context, { acceptLicence = false }, ref) => {
    const [{ pullModel }, { parseReference }, { bytes }] = await Promise.all([
      import("../../models/sources/pull.ts"),
      import("../../models/sources/reference.ts"),
      import("../text/format.ts"),
    ]);
    if (parseReference(ref!, "none").kind === "hub") return pullFromHub(context, ref!);
    const { path, manifest } = await pullModel(ref!, {
      acceptLicence,
      signal: context.signal,
      onOutput: (text) => {
        if (context.verbose) void problems.write(text);
      },
      onProgress: showPull(context),
    });
    await context.print(
      { ...manifest, path },
      () => `${ref} is here: ${path} (${bytes(manifest.bytes)}, ${manifest.licence}).`,
    );
  });

  runs(
    models.command("info <ref>").description("describe a model: its shape, weights and identity"),
    async (context, _, ref) => {
      const { infoText, modelInfo } = await import("../text/model-info.ts");
      const info = await modelInfo(ref!);
      await context.print(info, () => infoText(info));
    },
  );

  registerChecks(models);

  runs<ModelExportOptions>(
    models
      .command("export <ref>")
      .description("write a model for TransformerLens or as a Hugging Face folder: model.safetensors and config.json")
      .requiredOption("--out <dir>", "folder to write")
      .addOption(
        new Option("--format <name>", "who reads it").choices(["transformer-lens", "hf"]).default("transformer-lens"),
      )
      .option("--force", "replace a folder that an earlier export wrote"),
    async (context, { out, force, format }, ref) => {
      if (format === "hf") return exportHuggingFace(context, ref!, out, force);
      const [{ withModel }, { transformerLensLimits, writeTransformerLens }] = await Promise.all([
        import("../model.ts"),
        import("../../exports/checkpoints/transformer-lens.ts"),
      ]);
      await withModel(context, { model: ref! }, async (model) => {
        const { path, files } = await writeTransformerLens(model, out, { force, signal: context.signal });
        const limits = transformerLensLimits(model.config);
        await context.print({ model: ref, digest: model.digest, path, files, limits }, () =>
          [
            `${ref} is written to ${path}: ${files.join(", ")}.`,
            ...(limits.length === 0
              ? ["HookedTransformerConfig.from_dict takes config.json; load_state_dict(..., strict=False) the weights."]
              : ["TransformerLens cannot run it, for the model", ...limits.map((limit) => `  ${limit}`)]),
          ].join("\n"),
        );
      });
    },
  );

  runs(models.command("rm <ref>").description("remove a fetched model"), async (context, _, ref) => {
    const [{ removeModel }, { bytes }] = await Promise.all([
      import("../../models/sources/pull.ts"),
      import("../text/format.ts"),
    ]);
    const freed = await removeModel(ref!);
    await context.print({ model: ref, freed }, () =>
      freed === 0 ? `${ref} was not here.` : `${ref} is removed: ${bytes(freed)} freed.`,
    );
  });
}

async function exportHuggingFace(
  context: Context,
  ref: string,
  out: string,
  force: boolean | undefined,
): Promise<void> {
  const [{ withModel }, { writeHuggingFace }] = await Promise.all([
    import("../model.ts"),
    import("../../exports/checkpoints/hugging-face.ts"),
  ]);
  await withModel(context, { model: ref }, async (model) => {
    const { path, files } = await writeHuggingFace(model, out, { force, signal: context.signal });
    await context.print(
      { model: ref, digest: model.digest, path, files },
      () => `${ref} is written to ${path}: ${files.join(", ")}. transformers reads it with from_pretrained.`,
    );
  });
}

async function pullFromHub(context: Context, ref: string): Promise<void> {
  const [{ pullHubModel }, { bytes }] = await Promise.all([
    import("../../models/sources/hub/pull.ts"),
    import("../text/format.ts"),
  ]);
  const pulled = await pullHubModel(ref, { signal: context.signal, onProgress: showPull(context) });
  await context.print(pulled, () => `${ref} is here: ${pulled.path} (${bytes(pulled.bytes)}).`);
}

/** Progress of a pull, in megabytes. */
function showPull(context: Context): (progress: PullProgress) => void {
  return ({ stage, done = 0, total = 0 }) =>
    context.progress(Math.round(done / 1e6), Math.round(total / 1e6), PULL_STAGES[stage]);
}

const PULL_STAGES = {
  waiting: "waiting for another pull",
  fetching: "fetching",
  unpacking: "unpacking",
} as const;
