import { type Command, Option } from "commander";
import type { Runs } from "../context.ts";
import { registerChecks } from "./models-check.ts";

/** `headscope models list | pull | info | verify | families | export | rm`. */
export function register(program: Command, runs: Runs): void {
  const models = program.command("models").description("list, fetch, describe, export and remove models");

  runs(
    models.command("list").description("list the models that have a name, and those in the Hugging Face cache"),
    async () => (await import("./models.run.ts")).listAll,
  );

  const pull = models
    .command("pull <ref>")
    .description("fetch a model of the list, or hf:org/name[@revision]")
    .option("--accept-licence", "accept the terms that the model comes under, where it has some");
  runs(pull, async () => (await import("./models.run.ts")).pull);

  runs(
    models.command("info <ref>").description("describe a model: its shape, weights and identity"),
    async () => (await import("./models-check.run.ts")).describe,
  );

  registerChecks(models, runs);

  runs(
    models
      .command("export <ref>")
      .description("write a model for TransformerLens or as a Hugging Face folder: model.safetensors and config.json")
      .requiredOption("--out <dir>", "folder to write")
      .addOption(
        new Option("--format <name>", "who reads it").choices(["transformer-lens", "hf"]).default("transformer-lens"),
      )
      .option("--force", "replace a folder that an earlier export wrote"),
    async () => (await import("./models-export.run.ts")).exportModel,
  );

  runs(
    models.command("rm <ref>").description("remove a fetched model"),
    async () => (await import("./models.run.ts")).remove,
  );
}
