import { writeHuggingFace } from "../../exports/checkpoints/hugging-face.ts";
import { transformerLensLimits, writeTransformerLens } from "../../exports/checkpoints/transformer-lens.ts";
import { pullHubModel } from "../../models/sources/hub/pull.ts";
import type { PullProgress } from "../../models/sources/pull.ts";
import { listHubModels, listModels, pullModel, removeModel } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { problems } from "../../setup/terminal.mjs";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";
import { bytes, table } from "../text/format.ts";
import { infoText, modelInfo } from "../text/model-info.ts";

export interface ModelExportOptions {
  out: string;
  force?: boolean;
  format: string;
}

const PULL_STAGES = {
  waiting: "waiting for another pull",
  fetching: "fetching",
  unpacking: "unpacking",
} as const;

export async function listAll(context: Context): Promise<void> {
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
}

export async function pull(
  context: Context,
  { acceptLicence = false }: { acceptLicence?: boolean },
  ref: string,
): Promise<void> {
  if (parseReference(ref, "none").kind === "hub") return pullFromHub(context, ref);
  const { path, manifest } = await pullModel(ref, {
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
}

export async function describe(context: Context, _: object, ref: string): Promise<void> {
  const info = await modelInfo(ref);
  await context.print(info, () => infoText(info));
}

export async function exportModel(
  context: Context,
  { out, force, format }: ModelExportOptions,
  ref: string,
): Promise<void> {
  if (format === "hf") return exportHuggingFace(context, ref, out, force);
  await withModel(context, { model: ref }, async (model) => {
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
}

export async function remove(context: Context, _: object, ref: string): Promise<void> {
  const freed = await removeModel(ref);
  await context.print({ model: ref, freed }, () =>
    freed === 0 ? `${ref} was not here.` : `${ref} is removed: ${bytes(freed)} freed.`,
  );
}

async function exportHuggingFace(
  context: Context,
  ref: string,
  out: string,
  force: boolean | undefined,
): Promise<void> {
  await withModel(context, { model: ref }, async (model) => {
    const { path, files } = await writeHuggingFace(model, out, { force, signal: context.signal });
    await context.print(
      { model: ref, digest: model.digest, path, files },
      () => `${ref} is written to ${path}: ${files.join(", ")}. transformers reads it with from_pretrained.`,
    );
  });
}

async function pullFromHub(context: Context, ref: string): Promise<void> {
  const pulled = await pullHubModel(ref, { signal: context.signal, onProgress: showPull(context) });
  await context.print(pulled, () => `${ref} is here: ${pulled.path} (${bytes(pulled.bytes)}).`);
}

/** Progress of a pull, in megabytes. */
function showPull(context: Context): (progress: PullProgress) => void {
  return ({ stage, done = 0, total = 0 }) =>
    context.progress(Math.round(done / 1e6), Math.round(total / 1e6), PULL_STAGES[stage]);
}
