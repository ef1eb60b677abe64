import type { Command } from "commander";
import { runs } from "../context.ts";

interface ModelExportOptions {
  out: string;
  force?: boolean;
}

/** `headscope models list | pull | info | export | rm`. */
export function register(program: Command): void {
  const models = program.command("models").description("list, fetch, describe, export and remove models");

  runs(models.command("list").description("list the models that have a name"), async (context) => {
    const [{ listModels }, { bytes, table }] = await Promise.all([
      import("../../models/pull.ts"),
      import("../format.ts"),
    ]);
    const found = listModels();
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
          licence,
          title,
        ]),
      ),
    );
  });

  runs(models.command("pull <ref>").description("fetch a model of the list"), async (context, _, ref) => {
    const [{ pullModel }, { bytes }] = await Promise.all([import("../../models/pull.ts"), import("../format.ts")]);
    const { path, manifest } = await pullModel(ref!, {
      signal: context.signal,
      onOutput: (text) => {
        if (context.verbose) process.stderr.write(text);
      },
      onProgress: ({ stage, done, total }) =>
        context.progress(Math.round((done ?? 0) / 1e6), Math.round((total ?? 0) / 1e6), PULL_STAGES[stage]),
    });
    await context.print(
      { ...manifest, path },
      () => `${ref} is here: ${path} (${bytes(manifest.bytes)}, ${manifest.licence}).`,
    );
  });

  runs(
    models.command("info <ref>").description("describe a model: its shape, weights and identity"),
    async (context, _, ref) => {
      const { infoText, modelInfo } = await import("../model-info.ts");
      const info = await modelInfo(context, ref!);
      await context.print(info, () => infoText(info));
    },
  );

  runs<ModelExportOptions>(
    models
      .command("export <ref>")
      .description("write a model for TransformerLens: model.safetensors and config.json")
      .requiredOption("--out <dir>", "folder to write")
      .option("--force", "replace a folder that an earlier export wrote"),
    async (context, { out, force }, ref) => {
      const [{ withModel }, { transformerLensLimits, writeTransformerLens }] = await Promise.all([
        import("../model.ts"),
        import("../../exports/transformer-lens.ts"),
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
    const [{ removeModel }, { bytes }] = await Promise.all([import("../../models/pull.ts"), import("../format.ts")]);
    const freed = await removeModel(ref!);
    await context.print({ model: ref, freed }, () =>
      freed === 0 ? `${ref} was not here.` : `${ref} is removed: ${bytes(freed)} freed.`,
    );
  });
}

const PULL_STAGES = {
  waiting: "waiting for another pull",
  fetching: "fetching",
  unpacking: "unpacking",
} as const;
