import { basename } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import { type HeadModel, shapeWords } from "../../common/heads/model.ts";
import { SPARSE_SHAPES, type SparseShape } from "../../common/words.ts";
import { createPatterns, type SparsePattern, type SparsePatterns } from "../../heads/patterns.ts";
import { describeJson, readJson } from "../../json.ts";
import type { Exporter, PatternsImporter } from "../export.ts";
import { writeFile } from "../folder.ts";

const SOURCE = "MInference 1.0 (Jiang et al. 2024), microsoft/MInference, minference/configs";

const noParameters = z.object({});

/** A MInference pattern file: a list over layers of `{"HEAD": [pattern, a, b, score]}`. */
export const minference: Exporter<typeof noParameters> = {
  name: "minference",
  title: "MInference pattern file",
  description:
    'A JSON list over layers, each an object from query head to [pattern, a, b, score]: "vertical_and_slash" with a columns and ' +
    'b diagonals, "stream_llm" with a first and b recent tokens, "block_sparse" with a key blocks.',
  source: SOURCE,
  parameters: noParameters,
  from: ["patterns"],
  needsCheckpoint: false,
  output: "file",
  write: ({ patterns }, path) => writeFile(path, () => layerList(patterns!)),
};

/** Sparse patterns as MInference, vLLM and SGLang read them: JSON, a layer a line. */
export function layerList({ layers }: Pick<SparsePatterns, "layers">): string {
  const rows = layers.map((row) => {
    const heads = row.map(({ pattern, a, b, score }, head) => `"${head}": ${JSON.stringify([pattern, a, b, score])}`);
    return `{${heads.join(", ")}}`;
  });
  return `[${rows.join(",\n")}]\n`;
}

/** Reads a MInference pattern file. */
export const minferenceImport: PatternsImporter<typeof noParameters> = {
  name: "minference",
  title: "MInference pattern file",
  description:
    "Reads a file of minference/configs, or a sparse_attention_config.json, as sparse patterns: for every layer and query head " +
    "[pattern, a, b, score], with the patterns vertical_and_slash, stream_llm and block_sparse.",
  source: SOURCE,
  parameters: noParameters,
  gives: "patterns",
  async read(path, model) {
    const layers = readLayers(await readJson(path, "MInference pattern file"), model, path);
    return createPatterns(model, layers, { imported: "minference", file: basename(path) });
  },
};

/** @returns [layers, heads] */
function readLayers(content: unknown, model: HeadModel, path: string): SparsePattern[][] {
  if (!Array.isArray(content))
    throw new HeadscopeError("input", `${path} is ${describeJson(content)}, expected a list over layers`, {
      remedy: 'it should hold [{"HEAD": [pattern, a, b, score], ...}, ...]',
    });
  const other = (found: string) =>
    new HeadscopeError(
      "mismatch",
      `${path} has ${found}, expected ${model.layers} of ${model.heads}: ${model.ref} has ${shapeWords(model)}`,
      { remedy: "give the model that the patterns were found for, with --model" },
    );
  const heads = content.map((layer, i) => {
    if (layer === null || typeof layer !== "object" || Array.isArray(layer))
      throw new HeadscopeError("input", `${path}: layer ${i} is ${describeJson(layer)}, expected an object of heads`, {
        remedy: 'a layer is {"HEAD": [pattern, a, b, score], ...}',
      });
    return layer as Record<string, unknown>;
  });
  if (heads.length !== model.layers) throw other(`${heads.length} layers`);
  return heads.map((layer, i) => {
    const names = Object.keys(layer);
    const odd = names.find((name) => !/^(0|[1-9]\d{0,8})$/.test(name));
    if (odd !== undefined)
      throw new HeadscopeError("input", `${path}: layer ${i} names ${JSON.stringify(odd)}, which is no head`, {
        remedy: "heads are numbers from 0, as text",
      });
    const beyond = names.find((name) => Number(name) >= model.heads);
    if (beyond !== undefined) throw other(`head ${beyond} in layer ${i}`);
    return Array.from({ length: model.heads }, (_, head) => {
      if (layer[head] !== undefined) return readPattern(layer[head], `${path}: layer ${i}, head ${head}`);
      if (names.length < model.heads && names.every((name) => Number(name) < names.length))
        throw other(`${names.length} heads in layer ${i}`);
      throw new HeadscopeError("input", `${path}: layer ${i} has no head ${head}`, {
        remedy: "give every query head a pattern",
      });
    });
  });
}

function readPattern(entry: unknown, place: string): SparsePattern {
  if (!Array.isArray(entry) || entry.length !== 4)
    throw new HeadscopeError("input", `${place} is ${JSON.stringify(entry)}, expected [pattern, a, b, score]`, {
      remedy: "write the head's pattern, its two sizes and its score",
    });
  const [pattern, a, b, score] = entry as unknown[];
  if (!SPARSE_SHAPES.includes(pattern as SparseShape))
    throw new HeadscopeError("unsupported", `${place} has the pattern ${JSON.stringify(pattern)}`, {
      remedy: `patterns are ${SPARSE_SHAPES.join(", ")}; a flexible one has no sizes to run with: use --policy flexprefill`,
    });
  const sizes = [a, b].find((size) => !Number.isSafeInteger(size) || (size as number) < 0);
  if (sizes !== undefined)
    throw new HeadscopeError("input", `${place} has the size ${JSON.stringify(sizes)}`, {
      remedy: "sizes are whole numbers of tokens or blocks from 0",
    });
  if (!Number.isFinite(score))
    throw new HeadscopeError("input", `${place} has the score ${JSON.stringify(score)}`, {
      remedy: "give a finite number",
    });
  return { pattern: pattern as SparseShape, a: a as number, b: b as number, score: score as number };
}
