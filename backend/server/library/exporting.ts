import { randomBytes } from "node:crypto";
import { readdir, rm, stat } from "node:fs/promises";
import { basename, extname, join, relative, resolve } from "node:path";
import type { z } from "zod";
import type { ExportResult, exportRequest } from "../../common/api/exports.ts";
import { command, parameterPairs } from "../../common/command-line.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { exporters } from "../../exports/index.ts";
import { isInside, openRegular, writablePath } from "../../files.ts";
import { writeMask, writeScores } from "../../heads/files.ts";
import type { ServerContext } from "../context.ts";
import { notFound } from "../http/problems.ts";
import { existingFile, pathOfId } from "./files.ts";

/** Names of the files of formats that are one file, where it is not JSON. */
const NAMES: Readonly<Record<string, string>> = { csv: "heads.csv", safetensors: "heads.safetensors" };
const TEXT = [".json", ".csv", ".tsv", ".txt", ".md", ".py"];

/** A request for an export, its parameters and documents not yet checked. */
type Request = z.output<typeof exportRequest>;

/**
 * Has the worker write an export.
 * @throws HeadscopeError for what the format cannot hold; nothing is left behind then
 */
export async function makeExport(request: Request, context: ServerContext, signal: AbortSignal): Promise<ExportResult> {
  const { format, params = {} } = request;
  const { folder, library, models, interactive } = context;
  const { output, needsCheckpoint } = exporters.get(format);
  exporters.parse(format, params);
  const [scores, mask] = [
    typeof request.scores === "string" ? await library.readScores(request.scores) : request.scores,
    typeof request.mask === "string" ? await library.readMask(request.mask) : request.mask,
  ];
  const model = request.model === undefined ? undefined : await models.allowed(request.model);
  const id = `${format}-${Date.now().toString(36)}${randomBytes(3).toString("hex")}`;
  const exportFolder = await writablePath(folder, `exports/${id}`);
  const name = output === "folder" ? format : (NAMES[format] ?? `${format}.json`);
  const out = join(exportFolder, name);
  try {
    const payload = { format, scores, mask, params, model, out };
    await interactive.ask("export", payload, { signal, long: model !== undefined });
    const source = await sourceFile(request, { scores, mask }, folder, exportFolder);
    const files = output === "folder" ? await filesBelow(out) : [""];
    return {
      id,
      format,
      path: out,
      files: await Promise.all(files.map((file) => described(context, id, file === "" ? name : `${name}/${file}`))),
      command: command(["export", format], {
        [source.option]: typedPath(source.path),
        model: needsCheckpoint ? model : undefined,
        param: parameterPairs(params),
        out: basename(name),
      }),
    };
  } catch (error) {
    await rm(exportFolder, { recursive: true, force: true });
    throw error;
  }
}

/** The path of an exported file. @throws Refusal 404 */
export async function exportedFile(folder: string, id: string, name: string): Promise<string> {
  const path = pathOfId(join(folder, "exports"), `${id}/${name}`);
  if (path === undefined || id.includes("/")) throw notFound(`there is no file ${name} of export ${id}`);
  return existingFile([folder], path);
}

/** The file that the command line starts from: the document's own, or one that is written beside the export. */
async function sourceFile(
  { scores: scoresId, mask: maskId }: Request,
  { scores, mask }: { scores: HeadScores | undefined; mask: HeadMask | undefined },
  folder: string,
  exportFolder: string,
): Promise<{ readonly option: "scores" | "mask"; readonly path: string }> {
  if (typeof scoresId === "string") return { option: "scores", path: join(folder, scoresId) };
  if (typeof maskId === "string") return { option: "mask", path: join(folder, maskId) };
  const path = join(exportFolder, scores === undefined ? "mask.source.json" : "scores.source.json");
  if (scores !== undefined) await writeScores(path, scores);
  else if (mask !== undefined) await writeMask(path, mask);
  return { option: scores === undefined ? "mask" : "scores", path };
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort();
}

async function described(
  { folder, limits }: ServerContext,
  id: string,
  name: string,
): Promise<ExportResult["files"][number]> {
  const path = join(folder, "exports", id, name);
  const { size } = await stat(path);
  const url = `/api/exports/${id}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
  const text = TEXT.includes(extname(path)) ? { text: await beginning(path, limits.previewBytes) } : {};
  return { name, bytes: size, url, ...text };
}

async function beginning(path: string, bytes: number): Promise<string> {
  const { handle } = await openRegular(path, { what: "exported file", links: false, most: Number.POSITIVE_INFINITY });
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, 0);
    // A character that the cut went through is left out.
    return new TextDecoder().decode(buffer.subarray(0, bytesRead), { stream: true });
  } finally {
    await handle.close();
  }
}

/** A path as one would type it here. */
function typedPath(path: string): string {
  const here = process.cwd();
  return isInside(here, resolve(path)) ? relative(here, path) : path;
}
