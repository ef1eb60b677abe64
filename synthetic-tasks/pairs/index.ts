import { type Registry, registry } from "../../backend/common/definitions/definition.ts";
import { agreement } from "./agreement.ts";
import type { PairTask } from "./base.ts";
import { capital } from "./capital.ts";
import { colours } from "./colours.ts";
import { docstring } from "./docstring.ts";
import { greaterThan } from "./greater-than.ts";
import { inductionPairs } from "./induction.ts";
import { ioi } from "./ioi.ts";
import { labels } from "./labels.ts";
import { pronoun } from "./pronoun.ts";

/** Every task of minimal pairs that headscope has. */
export const pairTasks: Registry<PairTask> = registry<PairTask>("pair task", [
  ioi,
  greaterThan,
  agreement,
  pronoun,
  inductionPairs,
  docstring,
  labels,
  capital,
  colours,
]);

export type { PairKind, PairTask, WordPool } from "./base.ts";
export { type PairSample, samplePairs } from "./sample.ts";
