import { type Registry, registry } from "../../backend/common/definitions/definition.ts";
import type { GateMethod } from "../../backend/training/gates/method.ts";
import { attentionGates } from "./attention-gate.ts";
import { duoAttentionGates } from "./duo-attention.ts";
import { locretHeads } from "./locret.ts";

/** Everything that `headscope train-gates` trains. */
export const gateMethods: Registry<GateMethod> = registry<GateMethod>("gate method", [
  duoAttentionGates,
  locretHeads,
  attentionGates,
]);
