import { type Registry, registry } from "../../common/definitions/definition.ts";
import { aShape } from "./blocks/a-shape.ts";
import { flexprefill } from "./blocks/flexprefill.ts";
import { hyperattention } from "./blocks/hyperattention.ts";
import { longgen } from "./blocks/longgen.ts";
import { minference } from "./blocks/minference.ts";
import { s2Attention } from "./blocks/s2-attention.ts";
import { triShape } from "./blocks/tri-shape.ts";
import { xattention } from "./blocks/xattention.ts";
import { kivi } from "./forms/kivi.ts";
import { kvquant } from "./forms/kvquant.ts";
import { minifloat } from "./forms/minifloat.ts";
import { shadowkv } from "./forms/shadowkv.ts";
import { think } from "./forms/think.ts";
import { xkv } from "./forms/xkv.ts";
import { duoAttention } from "./heads/duo-attention.ts";
import { razorAttention } from "./heads/razor-attention.ts";
import { retrievalHeads } from "./heads/retrieval-heads.ts";
import { gemfilter } from "./inputs/gemfilter.ts";
import { lazyllm } from "./inputs/lazyllm.ts";
import type { Policy } from "./kinds/policy.ts";
import type { TokenPolicy } from "./kinds/tokens.ts";
import { actqkv } from "./reads/actqkv.ts";
import { quest } from "./reads/quest.ts";
import { recycledAttention } from "./reads/recycled-attention.ts";
import { squeezedAttention } from "./reads/squeezed-attention.ts";
import { tokenSelect } from "./reads/token-select.ts";
import { adakv } from "./tokens/budgets/adakv.ts";
import { headkv } from "./tokens/budgets/headkv.ts";
import { pyramidkv } from "./tokens/budgets/pyramidkv.ts";
import { expectedAttention } from "./tokens/expected-attention.ts";
import { h2o } from "./tokens/h2o.ts";
import { keydiff } from "./tokens/keydiff.ts";
import { keyformer } from "./tokens/keyformer.ts";
import { knorm } from "./tokens/knorm.ts";
import { lookM } from "./tokens/look-m.ts";
import { observedAttention } from "./tokens/observed-attention.ts";
import { random } from "./tokens/random.ts";
import { snapkv } from "./tokens/snapkv.ts";
import { streamingLlm } from "./tokens/streaming-llm.ts";
import { tova } from "./tokens/tova.ts";
import { attentionGate } from "./tokens/trained/attention-gate.ts";
import { locret } from "./tokens/trained/locret.ts";

/** Policies whose scores a policy that shares budgets can take. */
const SCORING: readonly TokenPolicy[] = [
  streamingLlm,
  snapkv,
  tova,
  knorm,
  keydiff,
  observedAttention,
  expectedAttention,
  h2o,
  keyformer,
  random,
];

/** Every policy that headscope has. */
export const policies: Registry<Policy> = registry<Policy>("policy", [
  duoAttention,
  retrievalHeads,
  razorAttention,
  aShape,
  triShape,
  minference,
  xattention,
  flexprefill,
  s2Attention,
  hyperattention,
  longgen,
  gemfilter,
  lazyllm,
  ...SCORING,
  pyramidkv,
  headkv,
  lookM,
  locret,
  attentionGate,
  adakv(SCORING),
  quest,
  tokenSelect,
  recycledAttention,
  actqkv,
  squeezedAttention,
  xkv,
  shadowkv,
  kivi,
  kvquant,
  minifloat,
  think,
]);
