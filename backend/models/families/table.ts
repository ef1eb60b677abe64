import type { ModelConfig } from "../config.ts";
import { BLOCK_PARTS, type BlockField, type BlockPart } from "../weights/block-parts.ts";
import type { Part, Parts, Piece } from "./family.ts";

/** The biases of a kind of matrix: none, one always, or one in every layer where layer 0 has one. */
export type Biases = "never" | "always" | "optional";

/** Weights of a block that a table names: all but biases, which go by their matrices' names. */
type NamedField = Exclude<BlockField, `${string}Bias`>;

/**
 * Names of a family's tensors in a format: without `.weight` and `.bias`. Those of a block stand behind `block`, in
 * which {l} is the layer. A name that is absent is a part that the family lacks.
 */
export interface TensorTable
  extends Readonly<Partial<Record<Exclude<NamedField, "qkv" | "o" | "mlpIn" | "mlpOut">, string>>> {
  /** Before every name but `unembed`'s; without its first word where the checkpoint was saved from the bare model. */
  readonly prefix?: string;
  readonly embed: string;
  /** Learned positions; the model's first stands in row `skip` (default 0). */
  readonly positions?: { readonly tensor: string; readonly skip?: number };
  readonly unembed: string;
  readonly final?: string;
  readonly block: string;
  /** Query, key and value, or all in one tensor. */
  readonly qkv: readonly [query: string, key: string, value: string] | string;
  /** In a fused tensor: its row for each row of queries, keys and values; in order without it. */
  readonly qkvRows?: (config: ModelConfig) => readonly number[];
  readonly o: string;
  /** Gate and linear part, or one tensor (both fused, or an MLP without gate). */
  readonly mlpIn: readonly [gate: string, linear: string] | string;
  readonly mlpOut: string;
  /** Default "never". */
  readonly biases?: { readonly qkv?: Biases; readonly o?: Biases; readonly mlp?: Biases; readonly unembed?: Biases };
  /** Matrices of blocks are [in, out]. */
  readonly transpose?: true;
  /** Added to the weights of norms. */
  readonly normAdd?: number;
  /** Query and key rows are interleaved for rotation in neighbouring pairs (llama.cpp's Llama). */
  readonly interleaved?: true;
}

/** The prefix of a table's names, and the one of checkpoints saved from the bare model. */
export function prefixesOf({ prefix = "" }: Pick<TensorTable, "prefix">): readonly [usual: string, bare: string] {
  return [prefix, prefix.replace(/^[^.]*\./, "")];
}

/** The parts of a model whose tensors a table names. @param has tells whether the checkpoint holds a tensor */
export function partsOf(table: TensorTable, config: ModelConfig, has: (tensor: string) => boolean): Parts {
  const [usual, bare] = prefixesOf(table);
  const prefix = !has(`${usual}${table.embed}.weight`) && has(`${bare}${table.embed}.weight`) ? bare : usual;
  const { d_model, d_vocab, n_ctx, n_layers } = config;
  const out: Record<string, Part> = {};
  out["embed"] = [{ tensor: `${prefix}${table.embed}.weight`, shape: [d_vocab, d_model] }];
  if (table.positions) {
    const { tensor, skip = 0 } = table.positions;
    const rows = skip > 0 ? { rows: Array.from({ length: n_ctx }, (_, i) => i + skip) } : {};
    out["pos_embed"] = [{ tensor: `${prefix}${tensor}.weight`, shape: [n_ctx + skip, d_model], ...rows }];
  }
  const source = { table, prefix, config, has, qkvRows: table.qkvRows?.(config) };
  if (config.final_norm && table.final) Object.assign(out, norm("ln_final", prefix + table.final, [d_model], source));
  if (!config.tie_word_embeddings) out["unembed"] = [{ tensor: `${table.unembed}.weight`, shape: [d_vocab, d_model] }];
  const bias = [{ tensor: `${table.unembed}.bias`, shape: [d_vocab] }];
  if (wanted(table.biases?.unembed, bias, has)) out["unembed_bias"] = bias;
  for (let l = 0; l < n_layers; l++) for (const row of BLOCK_PARTS) Object.assign(out, blockPart(row, l, source));
  return out;
}

/** A checkpoint and the table that names its tensors. */
interface Source {
  readonly table: TensorTable;
  readonly prefix: string;
  readonly config: ModelConfig;
  readonly has: (tensor: string) => boolean;
  /** The fused tensor's rows, shared by the layers. */
  readonly qkvRows: readonly number[] | undefined;
}

/** Tells whether a bias is demanded. @param pieces of layer 0: an optional one is there or not in all layers at once */
const wanted = (biases: Biases = "never", pieces: Part, has: Source["has"]): boolean =>
  biases === "always" || (biases === "optional" && pieces.some(({ tensor }) => has(tensor)));

function scale(tensor: string, shape: readonly number[], { normAdd }: TensorTable): Part {
  return [{ tensor: `${tensor}.weight`, shape, ...(normAdd === undefined ? {} : { add: normAdd }) }];
}

function norm(part: string, tensor: string, shape: readonly number[], { table, config }: Source): Parts {
  const w = { [`${part}.w`]: scale(tensor, shape, table) };
  return config.normalization_type === "LN" ? { ...w, [`${part}.b`]: [{ tensor: `${tensor}.bias`, shape }] } : w;
}

/** The parts of one weight of a block; none where the family lacks it. */
function blockPart({ field, part, kind, ...row }: BlockPart, layer: number, source: Source): Parts {
  const { table, config, has } = source;
  const matrix = kind === "bias" ? field.replace(/Bias$/, "") : field;
  const names = [table[matrix as NamedField] ?? []].flat();
  if (names.length === 0) return {};
  const start = (l: number): string => source.prefix + table.block.replace("{l}", String(l));
  const name = `blocks.${layer}.${part}`;
  const shape = row.shape(config, 0);
  const tensor = start(layer) + names[0]!;
  if (kind === "norm") return norm(name, tensor, shape, source);
  if (kind === "scale") return { [name]: scale(tensor, shape, table) };
  if (kind === "vector") return { [name]: [{ tensor: `${tensor}.weight`, shape }] };
  const pieces = (l: number): Piece[] =>
    shares(matrix, names.length, shape, source).map((share, i) => {
      if (kind === "bias") return { tensor: `${start(l)}${names[i]}.bias`, ...share };
      const turned = table.transpose && { shape: share.shape.toReversed(), transpose: table.transpose };
      return { tensor: `${start(l)}${names[i]}.weight`, ...share, ...turned };
    });
  const biases = table.biases?.[matrix.startsWith("mlp") ? "mlp" : (matrix as "qkv" | "o")];
  return kind === "matrix" || wanted(biases, pieces(0), has) ? { [name]: pieces(layer) } : {};
}

/** The shares of a matrix [out, in], or of its bias [out], that its tensors hold. @param count of tensors */
function shares(
  field: string,
  count: number,
  [out, ...width]: readonly number[],
  { table, config, qkvRows }: Source,
): Omit<Piece, "tensor">[] {
  if (field !== "qkv") return Array.from({ length: count }, () => ({ shape: [out! / count, ...width] }));
  if (count === 1) return [{ shape: [out!, ...width], ...(qkvRows && { rows: qkvRows }) }];
  const { n_heads, n_key_value_heads: groups, d_head } = config;
  return [n_heads, groups, groups].map((heads, i) => ({
    shape: [heads * d_head, ...width],
    ...(table.interleaved && i < 2 && { permute: { rotaryHeads: heads } }),
  }));
}
