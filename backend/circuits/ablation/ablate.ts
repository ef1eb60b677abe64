import { HeadscopeError } from "../../common/errors.ts";
import type { Head } from "../../common/heads/head.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, FUNCTION, listOf, oneOf, type Rules, whole, YES_OR_NO } from "../../common/options.ts";
import { Random } from "../../common/random.ts";
import {
  drawsSpread,
  HELD_PARTS,
  meanLossAt,
  partPositions,
  TEXT_PARTS,
  type TextPart,
} from "../../common/texts/parts.ts";
import { ABLATION_METHODS, type AblationMethod } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import { checkLossRows, meanLoss, streamLogits, type TokenLosses } from "../loss.ts";
import { metricValues, pairMetric } from "../metrics/measure.ts";
import { type NextToken, nextTokens } from "../next-tokens.ts";
import { type AblationInput, AblationRuns, type TokenContrast } from "./ablation-runs.ts";

/** An ablation and what is shown of it. */
export interface AblateOptions extends AblationInput {
  heads: readonly Head[];
  /** Draws of as many other heads of the same layers; default 5, 0 for none. */
  controls?: number | undefined;
  /** Next tokens shown for each row. Default 5. */
  topTokens?: number | undefined;
  /** The part of the rows that `part` of the result is about; `answer` needs `contrast`. Default none. */
  over?: TextPart | undefined;
  /** Of the held token in every row, from 1 on: token, word and from need it. */
  position?: number | undefined;
  /** Of `answer`. Default logit-diff. */
  metric?: MetricName | undefined;
}

const ROWS = listOf({
  wants: "a list of token ids",
  fits: (row) => ArrayBuffer.isView(row) || (Array.isArray(row) && row.every((id) => typeof id === "number")),
});

const INPUT: Rules<AblationInput> = {
  tokens: { wants: "rows of token ids", fits: (rows) => Array.isArray(rows) && (rows.length === 0 || ROWS.fits(rows)) },
  method: oneOf(ABLATION_METHODS),
  byPosition: YES_OR_NO,
  reference: ROWS,
  clean: ANYTHING,
  seed: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
  contrast: { wants: "a position and a wrong token", fits: (value) => typeof value === "object" && value !== null },
};

const OPTIONS: Rules<AblateOptions> = {
  ...INPUT,
  heads: { wants: "a list of heads {layer, head}", fits: Array.isArray },
  controls: whole(0),
  topTokens: whole(0),
  over: oneOf(TEXT_PARTS),
  position: whole(1),
  metric: oneOf(METRICS),
};

/** One draw of control heads. */
export interface ControlDraw extends TokenLosses {
  heads: Head[];
}

/** One quantity in the clean run, without the heads, and in each draw of others. */
export interface RunValues {
  clean: number;
  ablated: number;
  draws: number[];
}

/** The effect on a part of the rows. */
export interface PartEffect extends Omit<RunValues, "draws"> {
  over: TextPart;
  /** Of `answer`: what is measured in place of the loss. */
  metric?: MetricName;
  /** Tokens that it is a mean over. */
  tokens: number;
  /** Over the same tokens; absent where the ablation has no control. */
  control?: { draws: number[]; mean: number; range: [number, number] };
}

/** The effect of taking heads out, beside other heads of the same layers. */
export interface Ablation {
  model: { ref: string; digest: string };
  heads: Head[];
  method: AblationMethod;
  byPosition: boolean;
  seed: number;
  clean: TokenLosses;
  ablated: TokenLosses;
  /** Absent with `controls: 0`, or where no layer has a head to spare: then `noControl` says so. */
  control?: {
    /** As many as asked for; one where there is one set of heads to draw. */
    draws: ControlDraw[];
    /** Of the draws' losses. */
    mean: number;
    range: [number, number];
    /** The number of different sets that there are to draw, where these are fewer than the draws asked for: then draws repeat. */
    ways?: number;
    /** Layers that have fewer other heads than were ablated there: their draws hold all the others. */
    short?: { layer: number; wanted: number; others: number }[];
  };
  /** Why there is no control though it was asked for. */
  noControl?: string;
  /** With a contrast: logit of the token less that of the wrong one, in each run. */
  difference?: RunValues;
  /** With a contrast: every metric of the token against the wrong one, in each run. */
  metrics?: Record<MetricName, RunValues>;
  /** With `over`. */
  part?: PartEffect;
  /** By row: the likeliest tokens after its end, by the larger of the two probabilities. */
  nextToken: NextToken[][];
}

const MOST_TOKENS_SHOWN = 64;

/**
 * Takes heads out and measures the loss and the next token's probabilities, beside a control of as many other heads of the same layers.
 * Everything from the first changed layer on runs in batches of rows, in which every row has its own heads taken out.
 * @throws HeadscopeError for heads that the model does not have, rows of fewer than two tokens, a mean or resample over a single row
 */
export async function ablate(model: Model, options: AblateOptions): Promise<Ablation> {
  checkOptions("ablate", options, OPTIONS, ["tokens", "heads", "method"]);
  const { heads, controls = 5, seed = 0, topTokens = 5, progress } = options;
  checkInput(model, options.tokens, [heads]);
  if (options.contrast) checkContrast(model, options.tokens, options.contrast);
  const positions = checkPart(options);
  const { draws, short, ways } = drawControls(model, heads, controls, seed);
  const sets = [[], heads, ...draws];
  const runs = new AblationRuns(model, options, sets);
  try {
    await runs.all((done, total) => progress?.(done, total, "ablation, rows"), options.signal);
    const losses = runs.losses.map((nll): TokenLosses => ({ loss: meanLoss(nll), nll }));
    const means = losses.slice(2).map(({ loss }) => loss);
    const metrics = options.contrast && contrastMetrics(model, runs, sets.length, options);
    return {
      model: { ref: model.ref, digest: model.digest },
      heads: heads.map(({ layer, head }) => ({ layer, head })),
      method: options.method,
      byPosition: options.byPosition ?? false,
      seed,
      clean: losses[0]!,
      ablated: losses[1]!,
      ...(means.length === 0
        ? controls === 0
          ? {}
          : { noControl: "no layer of these heads has another head that could be taken out instead" }
        : {
            control: {
              draws: draws.map((set, i) => ({ heads: set, ...losses[i + 2]! })),
              ...drawsSpread(means),
              ...(ways < controls ? { ways } : {}),
              ...(short.length > 0 ? { short } : {}),
            },
          }),
      ...(metrics ? { difference: metrics["logit-diff"], metrics } : {}),
      ...(positions ? { part: partEffect(losses, positions, options, metrics) } : {}),
      nextToken: nextTokens(model, runs.lastStreams(0), runs.lastStreams(1), {
        tokens: options.tokens,
        count: Math.min(topTokens, MOST_TOKENS_SHOWN),
      }),
    };
  } finally {
    runs.dispose();
  }
}

/**
 * Losses of many ablations of the same rows, each set of heads a set of rows in one batched call; each starts from the stored
 * residual of its first changed layer.
 * @param sets heads to take out together; an empty set is the clean run
 * @returns losses in the order of the sets
 */
export async function ablateSweep(
  model: Model,
  options: AblationInput & { sets: readonly (readonly Head[])[] },
): Promise<TokenLosses[]> {
  checkOptions(
    "ablateSweep",
    options,
    { ...INPUT, sets: { wants: "lists of heads", fits: (sets) => Array.isArray(sets) && sets.every(Array.isArray) } },
    ["tokens", "method", "sets"],
  );
  checkInput(model, options.tokens, options.sets, true);
  const runs = new AblationRuns(model, options, options.sets, { keepStreams: false });
  try {
    await runs.all((done, total) => options.progress?.(done, total, "ablation sweep, rows"), options.signal);
    return runs.losses.map((nll) => ({ loss: meanLoss(nll), nll }));
  } finally {
    runs.dispose();
  }
}

function checkInput(
  { config }: Model,
  tokens: AblationInput["tokens"],
  sets: readonly (readonly Head[])[],
  emptyToo = false,
): void {
  if (tokens.length === 0)
    throw new HeadscopeError("input", "there are no rows to measure a loss on", {
      remedy: "give at least one row of tokens",
    });
  checkLossRows(tokens);
  for (const set of sets) {
    if (set.length === 0 && !emptyToo)
      throw new HeadscopeError("usage", "no heads are given", { remedy: "name at least one, such as 18.6" });
    for (const place of set) {
      if (place === null || typeof place !== "object")
        throw new HeadscopeError("usage", `${JSON.stringify(place)} is no head`, {
          remedy: "give {layer, head}, or read it with parseHeads",
        });
      const { layer, head } = place;
      const exists =
        Number.isInteger(layer) &&
        Number.isInteger(head) &&
        layer >= 0 &&
        head >= 0 &&
        layer < config.n_layers &&
        head < config.n_heads;
      if (!exists) {
        throw new HeadscopeError("usage", `there is no head ${layer}.${head}`, {
          remedy: `layers are 0 to ${config.n_layers - 1}, heads 0 to ${config.n_heads - 1}`,
        });
      }
    }
  }
}

function checkContrast(
  { config }: Model,
  tokens: AblationInput["tokens"],
  { position, answer, wrong }: TokenContrast,
): void {
  const [row, ...others] = tokens;
  if (others.length > 0)
    throw new HeadscopeError("usage", "a contrast is of a single row", { remedy: "give one row, or leave it out" });
  const last = row!.length - (answer === undefined ? 1 : 0);
  if (!(Number.isInteger(position) && position >= 1 && position <= last))
    throw new HeadscopeError("usage", `no token at position ${position} is foretold in ${row!.length} tokens`, {
      remedy: `choose a position from 1 to ${last}`,
    });
  for (const id of answer === undefined ? [wrong] : [answer, wrong])
    if (!(Number.isInteger(id) && id >= 0 && id < config.d_vocab))
      throw new HeadscopeError("usage", `the token's id ${id} is outside the vocabulary`, {
        remedy: `ids go from 0 to ${config.d_vocab - 1}`,
      });
  if ((answer ?? row![position]) === wrong)
    throw new HeadscopeError("usage", `token ${wrong} is the answer at position ${position} itself`, {
      remedy: "choose another wrong token",
    });
}

/**
 * The tokens that the verdict is about, by row; undefined where no part is asked for.
 * @throws HeadscopeError (usage) for a part without what it needs, (input) for rows that have no such token
 */
function checkPart({ tokens, over, position, contrast, metric }: AblateOptions): number[][] | undefined {
  const refuse = (message: string, remedy: string, field: string): never => {
    throw new HeadscopeError("usage", message, { remedy, field });
  };
  if (metric !== undefined && over !== "answer")
    refuse("a metric is of an answer against a wrong one", "leave it out, or choose over answer", "metric");
  if (position !== undefined && (over === undefined || over === "answer" || !HELD_PARTS.includes(over)))
    refuse(`no token is held over ${over ?? "the whole rows"}`, "leave the position out", "position");
  if (over === undefined) return undefined;
  if (over === "answer" && contrast === undefined)
    refuse(
      "an answer needs a wrong one beside it",
      "give a contrast: the answer's position and the wrong token",
      "contrast",
    );
  if (over === "answer") return [[contrast!.position]];
  if (HELD_PARTS.includes(over) && position === undefined)
    refuse(`${over} is about a held token, and none is held`, "give its position, from 1 on", "position");
  const found = tokens.map((row, r) => {
    if (position !== undefined && position >= row.length)
      throw new HeadscopeError(
        "input",
        `${tokens.length > 1 ? `row ${r}` : "the text"} has ${row.length} tokens, none at position ${position}`,
        { remedy: `choose a position from 1 to ${row.length - 1}` },
      );
    return partPositions(over, row, position);
  });
  if (found.flat().length > 0) return found;
  throw new HeadscopeError("input", "no token is repeated: none follows the same token as it did before", {
    remedy: "give a text that repeats something, or choose another part",
  });
}

/** The effect on a part. @param losses of the clean run, without the heads, then of the draws @param positions of its tokens, by row */
function partEffect(
  losses: readonly TokenLosses[],
  positions: readonly (readonly number[])[],
  { over, metric = "logit-diff" }: AblateOptions,
  metrics: Ablation["metrics"],
): PartEffect {
  const means = (): RunValues => {
    const [clean, ablated, ...draws] = losses.map(({ nll }) => meanLossAt(nll, positions));
    return { clean: clean!, ablated: ablated!, draws };
  };
  const values = over === "answer" ? metrics![metric] : means();
  return {
    over: over!,
    ...(over === "answer" ? { metric } : {}),
    tokens: positions.flat().length,
    clean: values.clean,
    ablated: values.ablated,
    ...(values.draws.length > 0 ? { control: { draws: values.draws, ...drawsSpread(values.draws) } } : {}),
  };
}

/** Every metric of the contrast's token against the wrong one, of every set's run: clean, ablated, then the draws. */
function contrastMetrics(
  model: Model,
  runs: AblationRuns,
  sets: number,
  { tokens, contrast }: AblateOptions,
): NonNullable<Ablation["metrics"]> {
  const { position, answer = tokens[0]![position]!, wrong } = contrast!;
  const pair = { answer, wrong };
  const logits = tf.tidy(() => streamLogits(model, runs.contrastStreams(sets)));
  const cleanLogits = tf.slice(logits, [0, 0], [1, model.config.d_vocab]);
  try {
    const entries = METRICS.map((name) => {
      const [clean, ablated, ...draws] = metricValues(logits, pairMetric(name, [pair], cleanLogits));
      return [name, { clean: clean!, ablated: ablated!, draws }] as const;
    });
    return Object.fromEntries(entries) as NonNullable<Ablation["metrics"]>;
  } finally {
    tf.dispose([logits, cleanLogits]);
  }
}

/**
 * Draws as many other heads of the same layers, `count` times; once where there is one set to draw.
 * @returns the draws, layers that have too few other heads, and the number of different sets
 */
export function drawControls(
  { config }: Model,
  heads: readonly Head[],
  count: number,
  seed: number,
): { draws: Head[][]; short: { layer: number; wanted: number; others: number }[]; ways: number } {
  const random = new Random(seed, 2);
  const layers = [...new Set(heads.map(({ layer }) => layer))]
    .sort((a, b) => a - b)
    .map((layer) => {
      const ablated = new Set(heads.filter((h) => h.layer === layer).map((h) => h.head));
      const others = Array.from({ length: config.n_heads }, (_, h) => h).filter((h) => !ablated.has(h));
      return { layer, wanted: ablated.size, others };
    });
  const draw = (): Head[] =>
    layers.flatMap(({ layer, wanted, others }) =>
      random
        .permutation(others.length)
        .slice(0, wanted)
        .map((i) => others[i]!)
        .sort((a, b) => a - b)
        .map((head) => ({ layer, head })),
    );
  const ways = layers.reduce((all, { wanted, others }) => all * choices(others.length, wanted), 1);
  const some = layers.some(({ others }) => others.length > 0);
  const draws = some ? Array.from({ length: ways === 1 ? Math.min(count, 1) : count }, draw) : [];
  const short = layers
    .filter(({ wanted, others }) => others.length < wanted)
    .map(({ layer, wanted, others }) => ({ layer, wanted, others: others.length }));
  return { draws, short, ways };
}

/** Ways to choose `wanted` of `others`; the one way to take all where there are too few. */
function choices(others: number, wanted: number): number {
  let ways = 1;
  for (let i = 0; i < Math.min(wanted, others - wanted); i++) ways = (ways * (others - i)) / (i + 1);
  return Math.round(ways);
}
