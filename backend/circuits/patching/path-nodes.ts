import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head, parseHead } from "../../common/heads/head.ts";
import { PATH_LOGITS } from "../../common/patching.ts";
import type { ModelConfig } from "../../models/config.ts";
import { checkLayer } from "../../models/transformer/hook-points.ts";

/** A part that writes into the stream. */
export type Sender =
  | { readonly kind: "embed" }
  | ({ readonly kind: "head" } & Head)
  | { readonly kind: "mlp"; readonly layer: number };

/** A part that reads the stream: a head through one of its inputs, an MLP, or the final norm. */
export type Receiver =
  | ({ readonly kind: "head" } & Head)
  | { readonly kind: "mlp"; readonly layer: number }
  | { readonly kind: "logits" };

/** All heads, or all MLPs, in a list of senders. */
const GROUPS = ["heads", "mlps"];

/** A part's name as users write it: 1.2, m1, embed, logits. */
export function nodeName(node: Sender | Receiver): string {
  if (node.kind === "head") return formatHead(node);
  return node.kind === "mlp" ? `m${node.layer}` : node.kind;
}

/** Place of a sender in the order of the computation. */
function writes(sender: Sender): number {
  if (sender.kind === "embed") return -1;
  return 2 * sender.layer + (sender.kind === "mlp" ? 1 : 0);
}

/** Place of the first sender that a receiver does not read. Beside attention an MLP reads what attention reads. */
function reads(receiver: Receiver, { parallel_attn_mlp }: ModelConfig): number {
  if (receiver.kind === "logits") return Number.POSITIVE_INFINITY;
  return 2 * receiver.layer + (receiver.kind === "mlp" && parallel_attn_mlp !== true ? 1 : 0);
}

/** Says whether a receiver reads what a sender writes. */
export function feeds(sender: Sender, receiver: Receiver, config: ModelConfig): boolean {
  return writes(sender) < reads(receiver, config);
}

/** Layer in which a receiver stands; the final norm stands behind all of them. */
export function layerOf(receiver: Receiver, { n_layers }: ModelConfig): number {
  return receiver.kind === "logits" ? n_layers : receiver.layer;
}

/**
 * Reads the receivers of paths.
 * @param into heads, or names: "1.2", "m1" (an MLP), "logits"
 * @throws HeadscopeError (usage) for a part that the model does not have, none at all, or none that anything comes before
 */
export function readReceivers(config: ModelConfig, into: readonly (Head | string)[]): Receiver[] {
  if (into.length === 0)
    throw new HeadscopeError("usage", "no head is named to receive", { remedy: "give at least one", field: "into" });
  const receivers = unique(into.map((part) => (part === PATH_LOGITS ? { kind: "logits" } : readPart(config, part))));
  return receivers as Receiver[];
}

/**
 * Reads the senders of paths.
 * @param from heads, or names: "1.2", "m1" (an MLP), "embed", "heads", "mlps"; by default all heads that come before a receiver
 * @throws HeadscopeError (usage) for a part that the model does not have, or that no receiver reads
 */
export function readSenders(
  config: ModelConfig,
  from: readonly (Head | string)[] | undefined,
  receivers: readonly Receiver[],
): Sender[] {
  const isRead = (sender: Sender): boolean => receivers.some((receiver) => feeds(sender, receiver, config));
  const senders = unique(
    (from ?? ["heads"]).flatMap((part): Sender[] => {
      if (typeof part === "string" && GROUPS.includes(part)) return groupOf(part, config).filter(isRead);
      return [part === "embed" ? { kind: "embed" } : (readPart(config, part) as Sender)];
    }),
  );
  const late = senders.find((sender) => !isRead(sender));
  const receiver = receivers.map(nodeName).join(", ");
  if (late)
    throw new HeadscopeError("usage", `${nodeName(late)} does not come before ${receiver}`, {
      remedy: "give senders that come before a receiver",
      field: "from",
    });
  if (senders.length > 0) return senders;
  const heads = receivers.every((each) => each.kind === "head");
  throw new HeadscopeError(
    "usage",
    `${receiver} ${heads ? "is in the first layer: no head comes before it" : "reads no such part"}`,
    {
      remedy: heads ? "give heads of a later layer" : "give a later receiver, or `embed` to send",
      field: "into",
    },
  );
}

function groupOf(name: string, { n_layers, n_heads, attn_only }: ModelConfig): Sender[] {
  const layers = Array.from({ length: n_layers }, (_, layer) => layer);
  if (name === "mlps") return attn_only ? [] : layers.map((layer) => ({ kind: "mlp", layer }));
  return layers.flatMap((layer) =>
    Array.from({ length: n_heads }, (_, head): Sender => ({ kind: "head", layer, head })),
  );
}

/** A head or an MLP. */
function readPart(config: ModelConfig, part: Head | string): Sender & Receiver {
  const { n_layers: layers, n_heads: heads } = config;
  if (typeof part !== "string") {
    const whole = typeof part === "object" && part !== null && [part.layer, part.head].every(Number.isInteger);
    return { kind: "head", ...parseHead(whole ? formatHead(part) : JSON.stringify(part), { layers, heads }) };
  }
  const mlp = /^m(\d+)$/.exec(part);
  if (!mlp) return { kind: "head", ...parseHead(part, { layers, heads }) };
  if (config.attn_only)
    throw new HeadscopeError("usage", `there is no ${part}: the model has no MLP`, { remedy: "name heads" });
  checkLayer(config, Number(mlp[1]));
  return { kind: "mlp", layer: Number(mlp[1]) };
}

function unique<T extends Sender | Receiver>(nodes: readonly T[]): T[] {
  return [...new Map(nodes.map((node) => [nodeName(node), node])).values()];
}
