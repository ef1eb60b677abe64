import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { configOf, headShape, type ModelConfig, mixerOf } from "../config.ts";
import { ATTENTION_NAMES, INPUT_NAMES, OUTPUT_NAMES } from "./block.ts";
import { recurrenceOf, requireAttention } from "./mixers/index.ts";
import { RECURRENT_NAMES } from "./mixers/recur.ts";

const blockNames = new WeakMap<ModelConfig, Map<string, readonly string[]>>();
const modelNames = new WeakMap<ModelConfig, ReadonlySet<string>>();

/** Hook names of one block of a model of this config, without the `blocks.{l}.` in front. */
export function blockHookNames(config: ModelConfig, layer: number): readonly string[] {
  const mixer = mixerOf(config, layer);
  const byMixer = blockNames.get(config) ?? new Map<string, readonly string[]>();
  const names = byMixer.get(mixer) ?? listBlockHooks(config, layer);
  blockNames.set(config, byMixer.set(mixer, names));
  return names;
}

function listBlockHooks(config: ModelConfig, layer: number): string[] {
  const { queries, keys, values } = headShape(config, layer);
  const grouped = keys !== queries || values !== queries;
  const placement = config.normalization_type === null ? "none" : (config.norm_placement ?? "pre");
  const absent = (name: string): boolean =>
    (/^ln[12]\./.test(name) && placement !== "pre" && placement !== "both") ||
    (/^ln[12]_post\./.test(name) && placement !== "post" && placement !== "both") ||
    // Where the MLP reads what attention reads, there is no middle.
    (config.parallel_attn_mlp === true && !config.attn_only && name === "hook_resid_mid") ||
    (config.positional_embedding_type !== "rotary" && name.includes("hook_rot_")) ||
    (config.attn_only && /^(mlp\.|ln2(_post)?\.|hook_mlp_)/.test(name)) ||
    (!config.gated_mlp && name === "mlp.hook_pre_linear") ||
    // One copy of the stream a query head can't feed fewer key heads.
    (grouped && name === "hook_attn_in");
  const before = recurrenceOf(config, layer) ? RECURRENT_NAMES : [...INPUT_NAMES, ...ATTENTION_NAMES];
  return ["hook_resid_pre", ...before, ...OUTPUT_NAMES].filter((name) => !absent(name));
}

/** All hook names of a model, as TransformerLens has them. @param model or its config */
export function hookNames(model: ModelConfig | { readonly config: ModelConfig }): string[] {
  const config = configOf(model);
  const blocks = Array.from({ length: config.n_layers }, (_, l) =>
    blockHookNames(config, l).map((name) => `blocks.${l}.${name}`),
  ).flat();
  const position = config.positional_embedding_type === "standard" ? ["hook_pos_embed"] : [];
  return ["hook_embed", ...position, ...blocks, ...finalHookNames(config)];
}

/** Hook names of the final norm; none before a bottleneck, which reads the position before that of its logits. */
export function finalHookNames({ final_norm, normalization_type, bottleneck }: ModelConfig): string[] {
  if (!final_norm || normalization_type === null || bottleneck) return [];
  return ["ln_final.hook_scale", "ln_final.hook_normalized"];
}

/** The full name of a block's hook point. */
export function blockHook(layer: number, name: string): string {
  return `blocks.${layer}.${name}`;
}

/** Shape of an activation without rows and positions in front: heads and width, or width. Patterns: heads. */
export function activationWidth(config: ModelConfig, name: string): number[] {
  const { n_heads: H, d_model, d_mlp } = config;
  const short = name.replace(/^blocks\.\d+\./, "");
  if (/hook_(pattern|attn_scores)$/.test(short)) return [H];
  if (/hook_scale$/.test(short)) return [1];
  const layer = Number(/^blocks\.(\d+)\./.exec(name)?.[1] ?? 0);
  const { keys, values, keyWidth, valueWidth } = headShape(config, layer);
  if (short === "attn.hook_z") return [H, valueWidth];
  if (/^attn\.hook_(q|rot_q)$/.test(short)) return [H, keyWidth];
  if (short === "attn.hook_v") return [values, valueWidth];
  if (/^attn\.hook_(k|rot_k)$/.test(short)) return [keys, keyWidth];
  if (/^hook_(attn_in|q_input)$/.test(short) || short === "attn.hook_result") return [H, d_model];
  if (short === "hook_k_input") return [keys, d_model];
  if (short === "hook_v_input") return [values, d_model];
  return /^mlp\./.test(short) ? [d_mlp] : [d_model];
}

/** True for the names of the attention itself: [rows, heads, query, key] instead of [rows, position, ...]. */
export function isPattern(name: string): boolean {
  return ATTENTION_NAMES.some((n) => name.endsWith(n));
}

/** @throws HeadscopeError (usage) for a hook name that the model does not have, with the nearest names */
export function checkHookName(config: ModelConfig, name: string): void {
  const names = modelNames.get(config) ?? new Set(hookNames(config));
  modelNames.set(config, names);
  if (names.has(name)) return;
  const block = /^blocks\.(\d+)\./.exec(name);
  if (block && Number(block[1]) >= config.n_layers) {
    throw new HeadscopeError("usage", `hook name "${name}": the model has layers 0 to ${config.n_layers - 1}`, {
      remedy: "choose a layer among them",
    });
  }
  if (block && [...INPUT_NAMES, ...ATTENTION_NAMES].some((each) => name === blockHook(Number(block[1]), each)))
    requireAttention(config, name, [Number(block[1])]);
  const { queries, keys, values } = headShape(config);
  if (/^blocks\.\d+\.hook_attn_in$/.test(name) && (keys !== queries || values !== queries))
    throw new HeadscopeError(
      "unsupported",
      `${name} does not exist here: ${queries} query heads share ${keys === values ? `${keys} KV heads` : `the keys of ${keys} heads and the values of ${values}`}, and one copy of the stream for each query head can't feed fewer key heads`,
      { remedy: "use hook_q_input, hook_k_input and hook_v_input" },
    );
  throw unknownName("hook name", name, [...names]);
}

/** @throws HeadscopeError (usage) for a layer that the model does not have */
export function checkLayer({ n_layers }: Pick<ModelConfig, "n_layers">, layer: number): void {
  if (Number.isInteger(layer) && layer >= 0 && layer < n_layers) return;
  throw new HeadscopeError("usage", `there is no layer ${layer}`, { remedy: `layers are 0 to ${n_layers - 1}` });
}
