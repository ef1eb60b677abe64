import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { configOf, keyWidth, type ModelConfig, mixerOf } from "../config.ts";
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
  const grouped = config.n_key_value_heads !== config.n_heads;
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
  const { n_heads: H, n_key_value_heads: G, d_head, d_model, d_mlp } = config;
  const short = name.replace(/^blocks\.\d+\./, "");
  if (/hook_(pattern|attn_scores)$/.test(short)) return [H];
  if (/hook_scale$/.test(short)) return [1];
  const keys = keyWidth(config, Number(/^blocks\.(\d+)\./.exec(name)?.[1] ?? 0));
  if (short === "attn.hook_z") return [H, d_head];
  if (/^attn\.hook_(q|rot_q)$/.test(short)) return [H, keys];
  if (short === "attn.hook_v") return [G, d_head];
  if (/^attn\.hook_(k|rot_k)$/.test(short)) return [G, keys];
  if (/^hook_(attn_in|q_input)$/.test(short) || short === "attn.hook_result") return [H, d_model];
  if (/^hook_[kv]_input$/.test(short)) return [G, d_model];
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
  if (/^blocks\.\d+\.hook_attn_in$/.test(name) && config.n_key_value_heads !== config.n_heads)
    throw new HeadscopeError(
      "unsupported",
      `${name} does not exist here: ${config.n_heads} query heads share ${config.n_key_value_heads} KV heads, and one copy of the stream for each query head can't feed fewer key heads`,
      { remedy: "use hook_q_input, hook_k_input and hook_v_input" },
    );
  throw unknownName("hook name", name, [...names]);
}

/** @throws HeadscopeError (usage) for a layer that the model does not have */
export function checkLayer({ n_layers }: Pick<ModelConfig, "n_layers">, layer: number): void {
  if (Number.isInteger(layer) && layer >= 0 && layer < n_layers) return;
  throw new HeadscopeError("usage", `there is no layer ${layer}`, { remedy: `layers are 0 to ${n_layers - 1}` });
}
