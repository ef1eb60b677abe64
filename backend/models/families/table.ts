import type { ModelConfig } from "../config.ts";
import type { Part, Parts, Permutation, Piece } from "./family.ts";

/** Which biases a kind of matrix has: none, one always, or one in every layer where layer 0 has one. */
export type Biases = "never" | "always" | "optional";

/**
 * Where a format keeps a family's tensors: names without `.weight` and `.bias`. Those of a block stand behind `block`, in
 * which {l} is the layer. A name that is absent is a part that the family lacks.
 */
export interface TensorTable {
  /** Before every name but `unembed`'s; without its first word where the checkpoint was saved from the bare model. */
  readonly prefix?: string;
  readonly embed: string;
  /** Learned positions; the model's first stands in row `skip` (default 0). */
  readonly positions?: { readonly tensor: string; readonly skip?: number };
  readonly unembed: string;
  readonly final?: string;
  readonly block: string;
  readonly ln1?: string;
  readonly ln1Post?: string;
  readonly ln2?: string;
  readonly ln2Post?: string;
  /** Query, key and value, or all in one tensor. */
  readonly qkv: readonly [query: string, key: string, value: string] | string;
  /** In a fused tensor: its row for each row of queries, keys and values; in order without it. */
  readonly qkvRows?: (config: ModelConfig) => readonly number[];
  readonly qNorm?: string;
  readonly kNorm?: string;
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

/** The parts of a model whose tensors a table names. @param has whether the checkpoint holds a tensor */
export function partsOf(table: TensorTable, config: ModelConfig, has: (tensor: string) => boolean): Parts {
  const [usual, bare] = prefixesOf(table);
  const prefix = !has(`${usual}${table.embed}.weight`) && has(`${bare}${table.embed}.weight`) ? bare : usual;
  const { d_model, d_vocab, n_ctx } = config;
  const out: Record<string, Part> = {};
  out["embed"] = [{ tensor: `${prefix}${table.embed}.weight`, shape: [d_vocab, d_model] }];
  if (table.positions) {
    const { tensor, skip = 0 } = table.positions;
    const rows = skip > 0 ? { rows: Array.from({ length: n_ctx }, (_, i) => i + skip) } : {};
    out["pos_embed"] = [{ tensor: `${prefix}${tensor}.weight`, shape: [n_ctx + skip, d_model], ...rows }];
  }
  const makers = { table, prefix, config, has, rows: table.qkvRows?.(config) };
  if (config.final_norm && table.final) norm(out, "ln_final", `${prefix}${table.final}`, d_model, makers);
  if (!config.tie_word_embeddings) out["unembed"] = [{ tensor: `${table.unembed}.weight`, shape: [d_vocab, d_model] }];
  const bias = `${table.unembed}.bias`;
  if (wanted(table.biases?.unembed, [bias], has)) out["unembed_bias"] = [{ tensor: bias, shape: [d_vocab] }];
  for (let l = 0; l < config.n_layers; l++) block(out, l, makers);
  return out;
}

interface Makers {
  readonly table: TensorTable;
  readonly prefix: string;
  readonly config: ModelConfig;
  readonly has: (tensor: string) => boolean;
  /** The fused tensor's rows, shared by the layers. */
  readonly rows: readonly number[] | undefined;
}

/** Whether a bias is demanded. @param tensors its pieces of layer 0: an optional one is there or not in all layers at once */
const wanted = (biases: Biases = "never", tensors: readonly string[], has: Makers["has"]): boolean =>
  biases === "always" || (biases === "optional" && tensors.some(has));

const startOf = ({ prefix, table }: Makers, layer: number) => prefix + table.block.replace("{l}", String(layer));

function norm(out: Record<string, Part>, part: string, tensor: string, width: number, { table, config }: Makers): void {
  const add = table.normAdd === undefined ? {} : { add: table.normAdd };
  out[`${part}.w`] = [{ tensor: `${tensor}.weight`, shape: [width], ...add }];
  if (config.normalization_type === "LN") out[`${part}.b`] = [{ tensor: `${tensor}.bias`, shape: [width] }];
}

function block(out: Record<string, Part>, layer: number, makers: Makers): void {
  const { table, config } = makers;
  const { n_heads, n_key_value_heads, d_model, d_head, d_mlp } = config;
  const [queries, keys] = [n_heads * d_head, n_key_value_heads * d_head];
  const start = startOf(makers, layer);
  const at = `blocks.${layer}`;
  const normed = (part: string, name: string | undefined, width = d_model) =>
    name === undefined ? undefined : norm(out, `${at}.${part}`, start + name, width, makers);
  normed("ln1", table.ln1);
  qkv(out, layer, makers);
  const all = config.qk_norm === "all";
  normed("attn.q_norm", table.qNorm, all ? queries : d_head);
  normed("attn.k_norm", table.kNorm, all ? keys : d_head);
  linear(out, layer, "attn.o", [table.o], [d_model, queries], table.biases?.o, makers);
  normed("ln1_post", table.ln1Post);
  normed("ln2", table.ln2);
  const mlpIn = typeof table.mlpIn === "string" ? [table.mlpIn] : table.mlpIn;
  const rows = mlpIn.length === 1 && config.gated_mlp ? 2 * d_mlp : d_mlp;
  linear(out, layer, "mlp.in", mlpIn, [rows, d_model], table.biases?.mlp, makers);
  linear(out, layer, "mlp.out", [table.mlpOut], [d_model, d_mlp], table.biases?.mlp, makers);
  normed("ln2_post", table.ln2Post);
}

/** A matrix of one or more tensors of the same shape [out, in], and its bias. */
function linear(
  out: Record<string, Part>,
  layer: number,
  name: string,
  tensors: readonly string[],
  [rows, columns]: readonly [number, number],
  biases: Biases | undefined,
  makers: Makers,
): void {
  const { table, has } = makers;
  const start = startOf(makers, layer);
  const part = `blocks.${layer}.${name}`;
  const weight = table.transpose ? { shape: [columns, rows], transpose: true as const } : { shape: [rows, columns] };
  out[part] = tensors.map((tensor) => ({ tensor: `${start}${tensor}.weight`, ...weight }));
  const first = tensors.map((tensor) => `${startOf(makers, 0)}${tensor}.bias`);
  if (wanted(biases, first, has))
    out[`${part}_bias`] = tensors.map((tensor) => ({ tensor: `${start}${tensor}.bias`, shape: [rows] }));
}

function qkv(out: Record<string, Part>, layer: number, makers: Makers): void {
  const { table, config, has, rows } = makers;
  const start = startOf(makers, layer);
  const part = `blocks.${layer}.attn.qkv`;
  const { n_heads, n_key_value_heads, d_model, d_head } = config;
  const permute = (rotaryHeads: number): { permute?: Permutation } =>
    table.interleaved ? { permute: { rotaryHeads } } : {};
  const tensors =
    typeof table.qkv === "string"
      ? [{ name: table.qkv, count: (n_heads + 2 * n_key_value_heads) * d_head, ...(rows ? { rows } : {}) }]
      : [
          { name: table.qkv[0], count: n_heads * d_head, ...permute(n_heads) },
          { name: table.qkv[1], count: n_key_value_heads * d_head, ...permute(n_key_value_heads) },
          { name: table.qkv[2], count: n_key_value_heads * d_head },
        ];
  out[part] = tensors.map(({ name, count, ...rest }): Piece => {
    const tensor = `${start}${name}.weight`;
    return table.transpose
      ? { tensor, shape: [d_model, count], transpose: true, ...rest }
      : { tensor, shape: [count, d_model], ...rest };
  });
  const first = tensors.map(({ name }) => `${startOf(makers, 0)}${name}.bias`);
  if (!wanted(table.biases?.qkv, first, has)) return;
  out[`${part}_bias`] = tensors.map(({ name, count, ...rest }) => ({
    tensor: `${start}${name}.bias`,
    shape: [count],
    ...rest,
  }));
}
