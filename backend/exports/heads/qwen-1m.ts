import { join } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead } from "../../common/heads/head.ts";
import type { SparsePatterns } from "../../heads/patterns.ts";
import type { Exporter } from "../export.ts";
import { writeFolder, writeSynced } from "../folder.ts";
import { layerList } from "./minference.ts";

const PATTERNS_FILE = "sparse_attention_config.json";
const FRAGMENT_FILE = "dual_chunk_attention_config.json";

const parameters = z.object({
  chunk: z.int().min(1).default(262_144).describe("tokens of a chunk of dual chunk attention (chunk_size)"),
  local: z.int().min(1).default(8_192).describe("tokens around a chunk's border that attend as they lie (local_size)"),
  positions: z
    .int()
    .min(1)
    .default(262_144)
    .describe("tokens that the model was trained with (original_max_position_embeddings)"),
});

/** The two files by which vLLM and SGLang run a Qwen-1M checkpoint with MInference's patterns. */
export const qwen1m: Exporter<typeof parameters> = {
  name: "qwen-1m",
  title: "Qwen-1M sparse attention files",
  description:
    "A folder with sparse_attention_config.json, which goes into the checkpoint's folder, and dual_chunk_attention_config.json, the part " +
    "of config.json that turns it on. All patterns must be vertical_and_slash: the readers know no others.",
  source: "Qwen2.5-1M Technical Report (Yang et al. 2025); read by vLLM's and SGLang's dual chunk attention",
  parameters,
  from: ["patterns"],
  needsCheckpoint: false,
  output: "folder",
  write({ patterns }, path, { chunk, local, positions }, options) {
    refuseOthers(patterns!);
    if (local > chunk)
      throw new HeadscopeError("usage", `local is ${local} tokens, above the ${chunk} of a chunk`, {
        remedy: "give a smaller local or a larger chunk",
        field: ["local", "chunk"],
      });
    const fragment = {
      dual_chunk_attention_config: {
        chunk_size: chunk,
        local_size: local,
        original_max_position_embeddings: positions,
        sparse_attention_enabled: true,
      },
    };
    return writeFolder(path, options, async (folder) => {
      await writeSynced(join(folder, PATTERNS_FILE), layerList(patterns!));
      await writeSynced(join(folder, FRAGMENT_FILE), `${JSON.stringify(fragment, null, 2)}\n`);
    });
  },
};

/** @throws HeadscopeError (unsupported) naming the heads of another pattern */
function refuseOthers({ layers }: SparsePatterns): void {
  const others = layers.flatMap((row, layer) =>
    row.flatMap(({ pattern }, head) => (pattern === "vertical_and_slash" ? [] : [{ layer, head, pattern }])),
  );
  const [first] = others;
  if (first === undefined) return;
  throw new HeadscopeError(
    "unsupported",
    `head ${formatHead(first)} is ${first.pattern}${others.length > 1 ? `, and ${others.length - 1} more are not vertical_and_slash` : ""}: Qwen-1M files hold vertical_and_slash alone`,
    { remedy: "search again among vertical_and_slash, or export minference" },
  );
}
