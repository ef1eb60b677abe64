import { HeadscopeError } from "../../common/errors.ts";
import type { HEAD_FIELDS, ModelConfig } from "../../models/config.ts";
import { requireAttention } from "../../models/transformer/mixers/index.ts";
import { requireEqualHeads } from "../../models/transformer/unequal-heads.ts";

/** The inputs of a head. */
export const HEAD_INPUTS = ["q", "k", "v"] as const;
/** One of `HEAD_INPUTS`. */
export type HeadInput = (typeof HEAD_INPUTS)[number];

/** A node that writes into the residual stream: all that stands in it before layer 0, a head, an MLP. */
export type Source = { readonly kind: "embed"; readonly name: string } | LayerNode<"head"> | LayerNode<"mlp">;

/** A node that reads the residual stream: one input of a query head, an MLP, the final norm. */
export type Destination =
  | (LayerNode<"head"> & { readonly input: HeadInput })
  | LayerNode<"mlp">
  | { readonly kind: "logits"; readonly name: string };

interface LayerNode<K extends "head" | "mlp"> {
  readonly kind: K;
  readonly name: string;
  readonly layer: number;
  /** 0 of an MLP. */
  readonly head: number;
}

/** An edge by the names of its ends: `embed`, `a{layer}.h{head}`, `m{layer}`; into heads `a{layer}.h{head}<q>`, and `logits`. */
export interface EdgeName {
  readonly from: string;
  readonly to: string;
}

/** The sizes of a model that its edges depend on. */
type Shape = Pick<ModelConfig, "n_layers" | "n_heads" | "attn_only" | "parallel_attn_mlp" | "mixer"> &
  Partial<Pick<ModelConfig, (typeof HEAD_FIELDS)[number]>>;

/** The parts of the model that an edge comes from. */
export const SOURCE_KINDS = ["embed", "head", "mlp"] as const satisfies readonly Source["kind"][];
/** The parts of the model that an edge goes into. */
export const DESTINATION_KINDS = ["q", "k", "v", "mlp", "logits"] as const;

/** One of `DESTINATION_KINDS`: that of a node. */
export function kindOf(destination: Destination): (typeof DESTINATION_KINDS)[number] {
  return destination.kind === "head" ? destination.input : destination.kind;
}

/**
 * The edges of a model: every node that writes into the residual stream with every later one that reads it. Heads of one layer
 * do not feed one another, nor in parallel blocks the MLP beside them. Edges are numbered by destination, then by source, so that
 * those into the heads of a layer, or into an MLP, follow one another.
 * @see Conmy et al. 2023, Towards Automated Circuit Discovery, section 2
 */
export class EdgeGraph {
  /** In the order of the computation. */
  readonly sources: readonly Source[];
  /** By layer: queries of all heads, keys, values, MLP; then the logits. */
  readonly destinations: readonly Destination[];
  /** By destination, the number of its first edge; behind them that of all edges. */
  readonly #first: number[] = [0];
  readonly #shape: Shape;
  readonly #sourceNumbers: ReadonlyMap<string, number>;
  readonly #destinationNumbers: ReadonlyMap<string, number>;

  /** @throws HeadscopeError (unsupported) for layers without attention, whose heads have no queries, keys and values of one kind, and for unequal keys and values */
  constructor(shape: Shape) {
    requireAttention(shape, "a circuit of edges");
    requireEqualHeads(shape, "a circuit of edges");
    this.#shape = shape;
    const { n_layers, n_heads, attn_only } = shape;
    const layers = Array.from({ length: n_layers }, (_, layer) => layer);
    const heads = Array.from({ length: n_heads }, (_, head) => head);
    const mlp = (layer: number): LayerNode<"mlp">[] =>
      attn_only ? [] : [{ kind: "mlp", name: `m${layer}`, layer, head: 0 }];
    const headsOf = (layer: number): LayerNode<"head">[] =>
      heads.map((head) => ({ kind: "head", name: `a${layer}.h${head}`, layer, head }));
    this.sources = [{ kind: "embed", name: "embed" }, ...layers.flatMap((layer) => [...headsOf(layer), ...mlp(layer)])];
    this.destinations = [
      ...layers.flatMap((layer) => [
        ...HEAD_INPUTS.flatMap((input) =>
          headsOf(layer).map((node) => ({ ...node, name: `${node.name}<${input}>`, input })),
        ),
        ...mlp(layer),
      ]),
      { kind: "logits", name: "logits" },
    ];
    for (const destination of this.destinations) this.#first.push(this.#first.at(-1)! + this.sourcesOf(destination));
    this.#sourceNumbers = new Map(this.sources.map(({ name }, i) => [name, i]));
    this.#destinationNumbers = new Map(this.destinations.map(({ name }, i) => [name, i]));
  }

  /** Edges of the model. */
  get size(): number {
    return this.#first.at(-1)!;
  }

  /** Number of sources that feed a destination: the first ones of `sources`. */
  sourcesOf(destination: Destination): number {
    const { n_layers, n_heads, attn_only, parallel_attn_mlp } = this.#shape;
    const perLayer = n_heads + (attn_only ? 0 : 1);
    if (destination.kind === "logits") return 1 + n_layers * perLayer;
    const before = 1 + destination.layer * perLayer;
    return destination.kind === "mlp" && !parallel_attn_mlp ? before + n_heads : before;
  }

  /** Number of the first edge into a destination. @param destination its place among `destinations` */
  firstInto(destination: number): number {
    return this.#first[destination]!;
  }

  /** Place of a node among `destinations`. */
  placeOf(name: string): number | undefined {
    return this.#destinationNumbers.get(name);
  }

  /** The ends of an edge. @param edge its number */
  ends(edge: number): { source: Source; destination: Destination } {
    let [low, high] = [0, this.destinations.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#first[middle]! <= edge) low = middle;
      else high = middle - 1;
    }
    return { source: this.sources[edge - this.#first[low]!]!, destination: this.destinations[low]! };
  }

  /** The names of an edge's ends. @param edge its number */
  name(edge: number): EdgeName {
    const { source, destination } = this.ends(edge);
    return { from: source.name, to: destination.name };
  }

  /**
   * Number of an edge.
   * @throws HeadscopeError (input) naming an edge that the model does not have, and why
   */
  number({ from, to }: EdgeName): number {
    const source = this.#sourceNumbers.get(from);
    const destination = this.#destinationNumbers.get(to);
    if (source === undefined) throw this.#refuse({ from, to }, this.#unknown(from, "source"));
    if (destination === undefined) throw this.#refuse({ from, to }, this.#unknown(to, "destination"));
    if (source < this.sourcesOf(this.destinations[destination]!)) return this.#first[destination]! + source;
    throw this.#refuse({ from, to }, this.#whyNot(this.sources[source]!, this.destinations[destination]!));
  }

  #refuse({ from, to }: EdgeName, why: string): HeadscopeError {
    return new HeadscopeError("input", `there is no edge ${from} -> ${to}: ${why}`, {
      remedy:
        "edges go from embed, a{layer}.h{head} or m{layer} to a later a{layer}.h{head}<q|k|v>, m{layer} or logits",
      subject: `${from} -> ${to}`,
    });
  }

  #unknown(name: string, role: "source" | "destination"): string {
    const { n_layers, n_heads, attn_only } = this.#shape;
    const other = role === "source" ? this.#destinationNumbers : this.#sourceNumbers;
    if (role === "destination" && other.get(name) !== undefined && name !== "embed")
      return `into a head goes an edge through q, k or v, such as ${name}<q>`;
    if (other.has(name)) return `${name} is no ${role}`;
    if (attn_only && /^m\d+$/.test(name)) return `the model has no MLPs, so no ${name}`;
    return `${JSON.stringify(name)} is no node of a model with layers 0 to ${n_layers - 1} and heads 0 to ${n_heads - 1}`;
  }

  #whyNot(source: Source, destination: Destination): string {
    const [from, to] = [source.name, destination.name];
    if (source.kind === "embed" || destination.kind === "logits") return "nothing comes before embed";
    if (source.layer !== destination.layer) return `${from} comes after ${to}`;
    if (source.kind === "mlp") return `${from} does not come before ${to}`;
    return destination.kind === "mlp"
      ? `attention and MLP of a layer run side by side in this model`
      : "heads of one layer do not feed one another";
  }
}
