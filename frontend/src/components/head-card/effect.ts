import type { AblateResult } from "../../../../backend/common/api/interventions.ts";
import { type ControlVerdict, verdictOf } from "./verdict.ts";

/** The effect of taking heads out on one row of tokens; losses in nats a token. */
export interface AblationEffect {
  readonly clean: number;
  readonly ablated: number;
  /** Ablated minus clean. */
  readonly change: number;
  /** The same change for other heads of the same layers. */
  readonly control?: { readonly mean: number; readonly range: readonly [number, number]; readonly draws: number };
  /** The change beside that of the others. */
  readonly verdict: ControlVerdict["kind"];
  /** The tokens whose loss rises most, worst first, at most three; `change` in nats. */
  readonly hurt: readonly { readonly position: number; readonly token: string; readonly change: number }[];
}

/** Rises below this, in nats, are noise of the arithmetic. */
const NOISE = 1e-4;

/** Reads an ablation of one row. @param tokens of the row: one more than it has losses */
export function ablationEffect({ clean, ablated, control }: AblateResult, tokens: readonly string[]): AblationEffect {
  const before = clean.nll[0] ?? [];
  const hurt = (ablated.nll[0] ?? [])
    .map((loss, i) => ({ position: i + 1, token: tokens[i + 1] ?? `token ${i + 1}`, change: loss - before[i]! }))
    .filter(({ change }) => change > NOISE)
    .sort((a, b) => b.change - a.change)
    .slice(0, 3);
  return {
    clean: clean.loss,
    ablated: ablated.loss,
    change: ablated.loss - clean.loss,
    verdict: verdictOf({
      clean: clean.loss,
      changed: ablated.loss,
      control: control && { ...control, draws: control.draws.map(({ loss }) => loss) },
    }).kind,
    ...(control === undefined
      ? {}
      : {
          control: {
            mean: control.mean - clean.loss,
            range: [control.range[0] - clean.loss, control.range[1] - clean.loss],
            draws: control.draws.length,
          },
        }),
    hurt,
  };
}
