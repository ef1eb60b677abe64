import { HeadscopeError } from "../../common/errors.ts";
import { formatKvHead, groupOf, type Head, kvHeadOf } from "../../common/heads/head.ts";
import type { MetricName } from "../../common/metrics.ts";
import { checkOptions, oneOf, type Rules, YES_OR_NO } from "../../common/options.ts";
import { PATH_ENDS, PATH_MLPS, type PatchDirection, type PathEnd, type PathMlps } from "../../common/patching.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { requireEqualHeads } from "../../models/transformer/unequal-heads.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import { type TokenPair, tokenPairs } from "../pairs.ts";
import { PATCHING, type PatchingOptions } from "./patch.ts";
import { feeds, nodeName, type Receiver, readReceivers, readSenders, type Sender } from "./path-nodes.ts";
import { PathRuns, type PathWork } from "./path-runs.ts";
import { overPairs, type PairMeans, type PairMeasures, type Sides } from "./sides.ts";

export interface PathOptions extends PatchingOptions {
  /** Receivers: heads {layer, head}, or names: "1.2", "m1" (an MLP), "logits" (the final norm's input). */
  into: readonly (Head | string)[];
  /** The one of the heads' inputs; not needed where none is a head. */
  through?: PathEnd;
  /** Senders: heads, or names: "1.2", "m1", "embed", "heads", "mlps". Default all heads that come before a receiver. */
  from?: readonly (Head | string)[];
  /** Through k or v, whether all query heads that read a receiver's KV head receive. Default false: those named alone. */
  kvGroup?: boolean;
  /** Default frozen. */
  mlps?: PathMlps;
}

const LIST = { wants: "a list of heads {layer, head} or names of parts", fits: Array.isArray };

const OPTIONS: Rules<PathOptions> = {
  ...PATCHING,
  into: LIST,
  through: oneOf(PATH_ENDS),
  from: LIST,
  kvGroup: YES_OR_NO,
  mlps: oneOf(PATH_MLPS),
};

/** The senders' metrics; null for those that were not run. */
export type SenderTable = (number | null)[][];

/**
 * A table of senders, and what it is a table of. `patched` is by head [layers before the last receiver][heads].
 * @template T of `patched`: with chosen senders some are null
 */
export interface PathResult<T = number[][]> extends PairMeans<T> {
  /** Of MLPs as senders [layers before the last receiver]; absent where none was asked for. */
  patchedMlps?: (number | null)[];
  /** Of the embedding; absent where it was not asked for. */
  patchedEmbed?: number;
  mlps: PathMlps;
  /** Absent where no receiver is a head. */
  through?: PathEnd;
  direction: PatchDirection;
  metric: MetricName;
  /** The parts that are given other inputs: heads as "1.2", whole KV heads as "KV 1.1", MLPs as "m1", and "logits". */
  receivers: string[];
}

/**
 * Path patching: a prompt's run with one earlier part's output as in the other prompt, but only in what the receivers read. It
 * shows which parts compose with them, and how. With the MLPs frozen this is the edge from sender to receiver; a receiver behind
 * another one reads the stream as that one has left it.
 * @throws HeadscopeError for senders and receivers that do not exist or do not follow one another, and as `patch` does
 * @see Wang et al. 2023, Interpretability in the Wild, path patching (recomputed, noise); Elhage et al. 2021 for Q-, K- and
 * V-composition
 */
export async function patchPaths(model: Model, options: PathOptions & { from?: never }): Promise<PathResult>;
export async function patchPaths(model: Model, options: PathOptions): Promise<PathResult<SenderTable>>;
export async function patchPaths(model: Model, options: PathOptions): Promise<PathResult<SenderTable>> {
  checkOptions("patchPaths", options, OPTIONS, ["pairs", "into"]);
  const { through, mlps = "frozen", metric = "logit-diff", direction = "denoise", progress, signal, turn } = options;
  const { config } = model;
  checkPathChanges(model);
  const receivers = inGroups(readReceivers(config, options.into), config, options);
  const senders = readSenders(config, options.from, receivers);
  const heads = receivers.some(({ kind }) => kind === "head");
  if (heads && through === undefined)
    throw new HeadscopeError("usage", "no input of the receiving heads is named", {
      remedy: `give \`through\`: ${PATH_ENDS.join(", ")}`,
      field: "through",
    });
  const pairs = tokenPairs(model, options.pairs, options);
  const results: PairTables[] = [];
  const differences: Sides["differences"][] = [];
  for (const pair of pairs) {
    const onSenders = (done: number): void =>
      progress?.(results.length * senders.length + done, pairs.length * senders.length, "path patching, senders");
    const work = { receivers, through, mlps, metric, direction, signal, turn, onSenders };
    const { tables, sides } = await patchPair(model, pair, senders, work);
    results.push(tables);
    differences.push(sides);
  }
  return {
    ...overPairs(results, differences),
    mlps,
    ...(heads ? { through: through! } : {}),
    direction,
    metric,
    receivers: receiverNames(receivers, config, options),
  };
}

/** Hook points behind a head's own output, which paths compute from z. */
const BEHIND_HEADS = ["attn.hook_result", "hook_attn_out"];
/** Those of KV heads, which have as many copies as there are query heads on a path. */
const OF_KV_HEADS = ["attn.hook_k", "attn.hook_rot_k", "attn.hook_v"];

/** @throws HeadscopeError (unsupported) for a model under interventions that its paths have no place for, or of unequal keys and values */
function checkPathChanges({ changes, config }: Model): void {
  requireEqualHeads(config, "path patching");
  const grouped = config.n_key_value_heads !== config.n_heads;
  const points = [...BEHIND_HEADS, ...(grouped ? OF_KV_HEADS : [])];
  const odd = [...(changes?.keys() ?? [])].find((name) => points.some((point) => name.endsWith(`.${point}`)));
  if (odd === undefined) return;
  throw new HeadscopeError("unsupported", `${odd} can't be changed in path patching`, {
    remedy: "change attn.hook_z, which heads write from",
    subject: odd,
  });
}

/** With whole KV heads asked for, all query heads that read one of the receivers'. */
function inGroups(
  receivers: readonly Receiver[],
  config: ModelConfig,
  { through, kvGroup = false }: PathOptions,
): Receiver[] {
  if (!kvGroup || through === "q") return [...receivers];
  const shape = { heads: config.n_heads, kvHeads: config.n_key_value_heads };
  const all = receivers.flatMap((receiver): Receiver[] =>
    receiver.kind === "head"
      ? groupOf(kvHeadOf(receiver, shape), shape).map((head) => ({ kind: "head", ...head }))
      : [receiver],
  );
  return [...new Map(all.map((receiver) => [nodeName(receiver), receiver])).values()];
}

function receiverNames(
  receivers: readonly Receiver[],
  config: ModelConfig,
  { through, kvGroup = false }: PathOptions,
): string[] {
  const shape = { heads: config.n_heads, kvHeads: config.n_key_value_heads };
  const whole = kvGroup && through !== "q";
  const names = receivers.map((receiver) =>
    whole && receiver.kind === "head" ? formatKvHead(kvHeadOf(receiver, shape)) : nodeName(receiver),
  );
  return [...new Set(names)];
}

type PairTables = PairMeasures<SenderTable> & Pick<PathResult, "patchedMlps" | "patchedEmbed">;

/** One pair's tables: the senders are rows of batches, all of one size so that they run the same functions. */
async function patchPair(
  model: Model,
  pair: TokenPair,
  senders: readonly Sender[],
  work: PathWork & { onSenders(done: number): void },
): Promise<{ tables: PairTables; sides: Sides["differences"] }> {
  const { config } = model;
  const between = work.turn ?? loopTurn(work.signal);
  const runs = await PathRuns.of(model, pair, senders, work);
  try {
    const values = new Map<Sender, number>();
    for (const group of runs.groups(senders)) {
      for (const { first, count, size } of evenBatches(group.length, pair.clean.length)) {
        const rows = Array.from({ length: size }, (_, i) => group[Math.min(first + i, group.length - 1)]!);
        const metrics = await runs.patch(rows);
        for (const [i, value] of metrics.slice(0, count).entries()) values.set(rows[i]!, value);
        work.onSenders(values.size);
        await between();
      }
    }
    const { clean, corrupt, differences } = runs.sides;
    return { tables: { clean, corrupt, ...tablesOf(values, config, work.receivers) }, sides: differences };
  } finally {
    runs.dispose();
  }
}

/** Values of senders as tables of heads, MLPs and the embedding. */
function tablesOf(
  values: ReadonlyMap<Sender, number>,
  config: ModelConfig,
  receivers: readonly Receiver[],
): Omit<PairTables, "clean" | "corrupt"> {
  const byName = new Map([...values].map(([sender, value]) => [nodeName(sender), value]));
  const value = (sender: Sender): number | null => byName.get(nodeName(sender)) ?? null;
  const before = (kind: "head" | "mlp"): number[] =>
    Array.from({ length: config.n_layers }, (_, layer) => layer).filter((layer) =>
      receivers.some((receiver) => feeds({ kind, layer, head: 0 } as Sender, receiver, config)),
    );
  const kinds = new Set([...values.keys()].map(({ kind }) => kind));
  return {
    patched: before("head").map((layer) =>
      Array.from({ length: config.n_heads }, (_, head) => value({ kind: "head", layer, head })),
    ),
    ...(kinds.has("mlp") ? { patchedMlps: before("mlp").map((layer) => value({ kind: "mlp", layer })) } : {}),
    ...(kinds.has("embed") ? { patchedEmbed: value({ kind: "embed" })! } : {}),
  };
}
