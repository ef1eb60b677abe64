import { pullHubModel } from "../../models/sources/hub/pull.ts";
import { listHubModels, listModels, type PullProgress, pullModel, removeModel } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { problems } from "../../setup/terminal.mjs";
import type { Context } from "../context.ts";
import { bytes, right, table } from "../text/format.ts";

const PULL_STAGES = {
  waiting: "waiting for another pull",
  fetching: "fetching",
  unpacking: "unpacking",
} as const;

/** Prints the models that have a name, and those in the Hugging Face cache. */
export async function listAll(context: Context): Promise<void> {
  const models = [...listModels(), ...(await listHubModels())];
  await context.print(models, () =>
    table(
      ["model", right("size"), "state", "licence", "what it is"],
      models.map(({ name, bytes: size, ready, kind, licence, title }) => [
        name,
        size === undefined ? "" : bytes(size),
        kind === "constructed" ? "built in" : ready ? "here" : "not pulled",
        licence ?? "",
        title,
      ]),
    ),
  );
}

/** Fetches a model of the catalogue or of the hub. */
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

/** Removes a fetched model. */
export async function remove(context: Context, _: object, ref: string): Promise<void> {
  const freed = await removeModel(ref);
  await context.print({ model: ref, freed }, () =>
    freed === 0 ? `${ref} was not here.` : `${ref} is removed: ${bytes(freed)} freed.`,
  );
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
