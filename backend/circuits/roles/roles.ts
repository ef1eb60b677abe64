import type { HeadRolesResult, RoleEvidence } from "../../common/api/roles.ts";
import { formatHead, type Head, parseHead } from "../../common/heads/head.ts";
import { headModel } from "../../common/heads/model.ts";
import {
  COPIES,
  COUNTS,
  HEAD_ROLES,
  type HeadRole,
  LOOKS,
  ROLE_DEFINITIONS,
  type RoleMeasure,
} from "../../common/heads/roles.ts";
import { METRIC_WORDS, METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, FUNCTION, oneOf, type Rules, YES_OR_NO } from "../../common/options.ts";
import type { Model } from "../../models/model.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { type Pair, type TokenPair, tokenPairs } from "../pairs.ts";
import { patchPaths } from "../patching/path.ts";
import { everyHead } from "../weights/factors.ts";
import { type PairLooks, readLooks } from "./attention.ts";
import { copiedLogits } from "./copying.ts";
import { type RoleLooks, roleLooks } from "./places.ts";

/** Heads whose roles are wanted, and the pairs that they are read off. */
export interface HeadRolesOptions {
  pairs: readonly Pair[];
  /** Default all. */
  heads?: readonly Head[] | undefined;
  /** Of the effects. Default logit-diff. */
  metric?: MetricName | undefined;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean | undefined;
  progress?: ((done: number, total: number, label: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Lets others in between layers of a long run. */
  turn?: Turn | undefined;
}

const OPTIONS: Rules<HeadRolesOptions> = {
  pairs: ANYTHING,
  heads: { wants: "a list of heads {layer, head}", fits: Array.isArray },
  metric: oneOf(METRICS),
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** A pair with its places and the attention there. */
interface LookedAt {
  readonly pair: TokenPair;
  readonly looks: RoleLooks;
  readonly found: PairLooks;
}

/**
 * Suggests the roles of heads, with the numbers behind them. A head that looks at a role's place (`LOOKS`, mean over the pairs that
 * have it) is a candidate; of roles that need more, its effect and its copying count as well (`ROLE_DEFINITIONS`, `COUNTS`, `COPIES`):
 *
 * direct: the metric that is lost when the head's output alone, in what the final norm reads, is the corrupt run's (path patching).
 * copying: the logit of the token looked at, by the head's value there. queries: the metric that is lost when the head's output is
 * the corrupt run's in what the queries of the name movers read; gained, of those of the negative name movers.
 * @throws HeadscopeError for pairs that `tokenPairs` refuses, heads that the model lacks, and patterns that are no numbers
 * @see Wang et al. 2022, Interpretability in the Wild; McDougall et al. 2023, Copy Suppression
 */
export async function headRoles(model: Model, options: HeadRolesOptions): Promise<HeadRolesResult> {
  checkOptions("headRoles", options, OPTIONS, ["pairs"]);
  const { metric = METRICS[0], heads = everyHead(model.config), signal, progress } = options;
  const { n_layers: layers, n_heads } = model.config;
  for (const head of heads) parseHead(formatHead(head), { layers, heads: n_heads });
  const pairs = tokenPairs(model, options.pairs, { prependBos: options.prependBos });
  const turn = options.turn ?? loopTurn(signal);
  const looked: LookedAt[] = [];
  for (const [p, pair] of pairs.entries()) {
    progress?.(p, pairs.length, "roles, pairs");
    const looks = roleLooks(pair);
    looked.push({ pair, looks, found: await readLooks(model, pair, looks, turn) });
    signal?.throwIfAborted();
  }
  const search = new RoleSearch(model, { ...options, metric, heads, pairs, turn }, looked);
  const { clean, corrupt, notes, roles } = await search.run();
  return {
    model: headModel(model),
    metric,
    clean,
    corrupt,
    pairs: pairs.length,
    applies: Object.fromEntries(
      HEAD_ROLES.map((role) => [role, looked.filter(({ looks }) => looks[role]).length]),
    ) as Record<HeadRole, number>,
    heads: heads
      .toSorted((a, b) => a.layer - b.layer || a.head - b.head)
      .map((head) => ({ head: formatHead(head), roles: roles.get(formatHead(head)) ?? [] }))
      .filter(({ roles }) => roles.length > 0),
    ...(notes ? { notes } : {}),
  };
}

type Found = HeadRolesResult["heads"][number]["roles"];
type Work = Omit<HeadRolesOptions, "pairs"> & {
  readonly metric: MetricName;
  readonly heads: readonly Head[];
  readonly pairs: readonly TokenPair[];
  readonly turn: Turn;
};

/** Effects by head, and the metrics that they are parts of. */
interface Effects {
  readonly clean: number;
  readonly corrupt: number;
  readonly notes?: string[];
  readonly effects: ReadonlyMap<string, number>;
}

/** The measures of some heads, each taken of the heads alone that still may have a role. */
class RoleSearch {
  readonly #model: Model;
  readonly #work: Work;
  readonly #looked: readonly LookedAt[];
  readonly #roles = new Map<string, Found>();

  constructor(model: Model, work: Work, looked: readonly LookedAt[]) {
    this.#model = model;
    this.#work = work;
    this.#looked = looked;
  }

  async run(): Promise<Pick<Effects, "clean" | "corrupt" | "notes"> & { roles: ReadonlyMap<string, Found> }> {
    // Movers outside the heads that are asked for have queries too.
    const everyone = everyHead(this.#model.config);
    const movers = HEAD_ROLES.filter((role) => ROLE_DEFINITIONS[role].needs.direct !== undefined);
    const looking = new Map(HEAD_ROLES.map((role) => [role, this.#looking(role, everyone)]));
    const candidates = everyone.filter((head) => movers.some((role) => looking.get(role)!.has(formatHead(head))));
    const direct = await this.#effects(["logits"], candidates);
    const least = COUNTS * Math.abs(direct.clean - direct.corrupt);
    for (const role of movers) this.#suggestMovers(role, looking.get(role)!, direct.effects, least);
    await this.#suggestInhibition(looking.get("S-inhibition")!, least);
    for (const role of ["duplicate token", "induction", "previous token"] as const)
      for (const [head, share] of looking.get(role)!) this.#suggest(head, role, [attention(share)]);
    const { clean, corrupt, notes } = direct;
    return { clean, corrupt, ...(notes && { notes }), roles: this.#sorted() };
  }

  /** Heads that look at a role's place, with their mean share of attention over the pairs that have it. */
  #looking(role: HeadRole, heads: readonly Head[]): Map<string, number> {
    const tables = this.#looked.flatMap(({ found }) => found.shares[role] ?? []);
    // A pair's table is [layers][heads]: those of all pairs stand one after the other.
    const { n_layers } = this.#model.config;
    const pairs = tables.length / n_layers;
    const share = ({ layer, head }: Head): number => {
      let sum = 0;
      for (let p = 0; p < pairs; p++) sum += tables[p * n_layers + layer]![head]!;
      return sum / pairs;
    };
    return new Map(
      pairs === 0 ? [] : heads.map((head) => [formatHead(head), share(head)] as const).filter(([, s]) => s >= LOOKS),
    );
  }

  /** Shares of the metric that heads carry into receivers: positive where it helps the answer. */
  async #effects(into: readonly string[], from: readonly Head[]): Promise<Effects> {
    const { pairs, metric, signal, turn, progress } = this.#work;
    const common = {
      pairs,
      metric,
      direction: "noise" as const,
      turn,
      ...(signal && { signal }),
      ...(progress && { progress }),
    };
    const through = into.includes("logits") ? {} : { through: "q" as const };
    // Without a sender the two whole runs are wanted alone: the embedding's is the cheapest path.
    const senders = from.length > 0 ? from.map(formatHead) : ["embed"];
    const result = await patchPaths(this.#model, { ...common, into, from: senders, ...through });
    const { clean, corrupt, patched, notes } = result;
    const sign = METRIC_WORDS[metric].worse === "higher" ? -1 : 1;
    const effect = ({ layer, head }: Head): number => sign * (clean - (patched[layer]![head] ?? clean));
    return {
      clean,
      corrupt,
      ...(notes && { notes }),
      effects: new Map(from.map((head) => [formatHead(head), effect(head)])),
    };
  }

  /** The roles of heads that look at a token and write to the logits themselves. */
  #suggestMovers(
    role: HeadRole,
    looking: ReadonlyMap<string, number>,
    effects: ReadonlyMap<string, number>,
    least: number,
  ): void {
    const { needs } = ROLE_DEFINITIONS[role];
    const heads = [...looking.keys()].filter((head) => needs.direct! * effects.get(head)! >= least);
    if (heads.length === 0) return;
    const copied = this.#copying(role, heads);
    for (const [h, head] of heads.entries()) {
      if (needs.copying! * copied[h]! < COPIES) continue;
      this.#suggest(head, role, [
        attention(looking.get(head)!),
        { measure: "direct", value: effects.get(head)!, threshold: needs.direct! * least },
        { measure: "copying", value: copied[h]!, threshold: needs.copying! * COPIES },
      ]);
    }
  }

  /** Means over the pairs that have the role's place. */
  #copying(role: HeadRole, names: readonly string[]): number[] {
    const { n_layers: layers, n_heads } = this.#model.config;
    const heads = names.map((name) => parseHead(name, { layers, heads: n_heads }));
    const rows = this.#looked.flatMap(({ pair, looks, found }) =>
      (looks[role] ?? []).map(({ keys: [position] }) =>
        copiedLogits(this.#model, heads, found, { token: pair.clean[position!]!, position: position! }),
      ),
    );
    return heads.map((_, h) => rows.reduce((sum, row) => sum + row[h]!, 0) / rows.length);
  }

  /** Heads that look at the second S, and write into what the movers' queries read. */
  async #suggestInhibition(looking: ReadonlyMap<string, number>, least: number): Promise<void> {
    if (looking.size === 0) return;
    const { n_layers: layers, n_heads } = this.#model.config;
    const read = (name: string): Head => parseHead(name, { layers, heads: n_heads });
    const effects = new Map<string, number>();
    for (const [role, sign] of [["name mover", 1], ["negative name mover", -1]] as const) {
      const movers = [...this.#roles].filter(([, own]) => own.some((each) => each.role === role)).map(([head]) => head);
      const last = Math.max(-1, ...movers.map((head) => read(head).layer));
      const senders = [...looking.keys()].map(read).filter(({ layer }) => layer < last);
      if (senders.length === 0) continue;
      const through = await this.#effects(movers, senders);
      for (const [head, effect] of through.effects) effects.set(head, (effects.get(head) ?? 0) + sign * effect);
    } // biome-ignore format: a table
    for (const [head, effect] of effects)
      if (effect >= least)
        this.#suggest(head, "S-inhibition", [
          attention(looking.get(head)!),
          { measure: "queries", value: effect, threshold: least },
        ]);
  }

  #suggest(head: string, role: HeadRole, evidence: RoleEvidence[]): void {
    this.#roles.set(head, [...(this.#roles.get(head) ?? []), { role, evidence }]);
  }

  /** Of each head the roles in the order of `HEAD_ROLES`. */
  #sorted(): ReadonlyMap<string, Found> {
    const place = ({ role }: Found[number]): number => HEAD_ROLES.indexOf(role);
    return new Map([...this.#roles].map(([head, own]) => [head, own.toSorted((a, b) => place(a) - place(b))]));
  }
}

function attention(value: number): RoleEvidence {
  return { measure: "attention" satisfies RoleMeasure, value, threshold: LOOKS };
}
