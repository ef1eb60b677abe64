import type { Haystack } from "../../../probes/haystack.ts";
import type { MaskSearch } from "../../../probes/mask-search.ts";
import type { NeedleAnswer } from "../../common/api/jobs.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import { ranking } from "../../common/heads/metric.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import type { BackendChoice } from "../../runtime/backend.ts";
import type { ToyTraining } from "./training.ts";

/** Sizes of the main job by backend: what two cores do in about a minute. Lengths in tokens. */
export const SIZES = {
  tensorflow: {
    rows: 4,
    length: 50,
    haystack: 300,
    depths: [0.1, 0.5, 0.9],
    needles: 4,
    needle: 4000,
    search: 600,
    sink: 64,
    recent: 256,
  },
  wasm: {
    rows: 2,
    length: 20,
    haystack: 120,
    depths: [0.5],
    needles: 1,
    needle: 320,
    search: 160,
    sink: 16,
    recent: 64,
  },
} as const satisfies Record<BackendChoice["name"], Sizes>;

export interface Sizes {
  /** Rows BOS r r of random tokens, and the tokens of r. */
  readonly rows: number;
  readonly length: number;
  /** The retrieval probe's prompts: their tokens, and one for each depth and needle. */
  readonly haystack: number;
  readonly depths: readonly number[];
  readonly needles: number;
  /** Tokens of the question that is answered with all heads full and with the mask. */
  readonly needle: number;
  /** Tokens of the questions, one at each depth, by which the smallest mask is searched for. */
  readonly search: number;
  /** First and latest tokens that the streaming heads keep. */
  readonly sink: number;
  readonly recent: number;
}

/** Loss on repeated tokens, in nats a token: on all predicted tokens and on the second copy alone. */
export interface RepeatedLoss {
  readonly all: number;
  readonly secondCopy: number;
}

/** Findings of the main job. Times in milliseconds, sizes in bytes, losses in nats. */
export interface MainJobResult {
  readonly backend: BackendChoice;
  readonly sizes: Sizes;
  readonly training: ToyTraining;
  readonly model: {
    readonly ref: string;
    readonly digest: string;
    readonly layers: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly bytes: number;
    readonly loadMs: number;
  };
  readonly scores: Readonly<Record<string, HeadScores>>;
  readonly probeMs: { readonly onePass: number; readonly retrieval: number };
  readonly ablation: RepeatedAblation;
  /** `words` is false for a model without a tokenizer, whose sentence is token ids. */
  readonly sentence: { readonly prompt: string; readonly continuation: string; readonly words: boolean };
  readonly needle: {
    readonly question: Haystack;
    readonly mask: HeadMask;
    /** Absent where the model answered no short question, so that none could be searched for. */
    readonly search: Pick<MaskSearch, "asked" | "answered" | "points"> | undefined;
    readonly full: NeedleAnswer;
    readonly masked: NeedleAnswer;
  };
  readonly files: readonly string[];
  readonly totalMs: number;
}

/** The induction heads against others of the same layers. */
export interface RepeatedAblation {
  readonly heads: readonly Head[];
  readonly clean: RepeatedLoss;
  readonly ablated: RepeatedLoss;
  readonly control: { readonly mean: RepeatedLoss; readonly range: readonly [number, number]; readonly draws: number };
}

/** The result as data: of scores the best heads, since the files hold them whole. */
export function summaryOf(result: MainJobResult): Record<string, unknown> {
  const { scores, ablation, needle, training, ...rest } = result;
  const top = Object.entries(scores).map(([name, each]) => [
    name,
    ranking(each)
      .slice(0, 8)
      .map((head) => ({ head: formatHead(head), score: head.value })),
  ]);
  const { question, mask, search, full, masked } = needle;
  const { curves, formed, ablations, ...run } = training;
  return {
    ...rest,
    training: {
      ...run,
      formed: Object.fromEntries(
        Object.entries(formed).map(([probe, heads]) => [
          probe,
          heads.map((head) => ({ head: formatHead(head), score: head.score })),
        ]),
      ),
      ablations: ablations.map((each) => ({ ...each, heads: each.heads.map(formatHead) })),
      curves,
    },
    top: Object.fromEntries(top),
    ablation: { ...ablation, heads: ablation.heads.map(formatHead) },
    needle: {
      tokens: question.ids.length,
      question: question.question,
      expected: question.answer,
      search,
      full,
      masked: { ...masked, kvHeadsFull: meaningOf(mask).full.map(formatHead), sink: mask.sink, recent: mask.recent },
    },
  };
}
