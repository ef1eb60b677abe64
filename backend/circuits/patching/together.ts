import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { MetricName } from "../../common/metrics.ts";
import { checkOptions, listOf, type Rules } from "../../common/options.ts";
import { PATCH_NODES, type PatchDirection, type PatchNode } from "../../common/patching.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { mergeInterventions } from "../../hooks/interventions.ts";
import { headShape } from "../../models/config.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { tokenPairs } from "../pairs.ts";
import { checkNode, headAxis, NODES, positionAxis } from "./nodes.ts";
import { INTERVENTIONS, PATCHING, type PatchingOptions } from "./patch.ts";
import { overPairs, type PairMeans, type PairMeasures, runSides, type Sides } from "./sides.ts";

/** A place of an activation. */
export interface PatchedPlace {
  readonly node: PatchNode;
  readonly layer: number;
  /** Of k and v a KV head; left out for all heads, or where the node has none. */
  readonly head?: number;
  /** Of patterns a query; negative ones count from the end; left out for all positions. */
  readonly position?: number;
}

export interface PatchTogetherOptions extends PatchingOptions {
  /** Places that are patched at once. */
  places: readonly PatchedPlace[];
  /** Changes of every run, as data: what is measured is the changed model. Default none. */
  interventions?: readonly Intervention[] | undefined;
}

const OPTIONS: Rules<PatchTogetherOptions> = {
  ...PATCHING,
  interventions: INTERVENTIONS,
  places: listOf({
    wants: "a place {node, layer, head, position}",
    fits: (place) => place !== null && typeof place === "object" && "node" in place && "layer" in place,
  }),
};

/** The metric with several places patched at once, means over the pairs. */
export interface PatchedTogether extends PairMeans<number> {
  metric: MetricName;
  direction: PatchDirection;
  /** As `formatPlace` writes them. */
  places: string[];
}

/** A place as users write it: z:5.1@-1, resid_pre:6@3, mlp_out:7. */
export function formatPlace({ node, layer, head, position }: PatchedPlace): string {
  return `${node}:${layer}${head === undefined ? "" : `.${head}`}${position === undefined ? "" : `@${position}`}`;
}

/**
 * Reads places as users write them, with commas between: LAYER.HEAD, LAYER, either with @POSITION behind it and NODE: in front.
 * @param node of places without one @throws HeadscopeError (usage) for anything else
 */
export function readPlaces(text: string, node: PatchNode): PatchedPlace[] {
  return text.split(",").map((part) => {
    const found = /^(?:(\w+):)?(\d+)(?:\.(\d+))?(?:@(-?\d+))?$/.exec(part.trim());
    const own = (found?.[1] ?? node) as PatchNode;
    if (!found || !PATCH_NODES.includes(own))
      throw new HeadscopeError("usage", `"${part.trim()}" is not a place`, {
        remedy: `write LAYER.HEAD or LAYER, with @POSITION behind and one of ${PATCH_NODES.join(", ")} and a colon in front as needed: z:5.1@-1`,
        field: "places",
      });
    const [, , layer, head, position] = found;
    return {
      node: own,
      layer: Number(layer),
      ...(head === undefined ? {} : { head: Number(head) }),
      ...(position === undefined ? {} : { position: Number(position) }),
    };
  });
}

/**
 * Activation patching of several places in one run.
 * @throws HeadscopeError for places that the model or a pair does not have, and as `patch` does
 */
export async function patchTogether(model: Model, options: PatchTogetherOptions): Promise<PatchedTogether> {
  checkOptions("patchTogether", options, OPTIONS, ["pairs", "places"]);
  const { places, metric = "logit-diff", direction = "denoise", interventions, progress, signal, turn } = options;
  for (const place of places) checkPlace(model, place);
  const pairs = tokenPairs(model, options.pairs, options);
  pairs.forEach(({ clean }, p) => {
    for (const place of places) checkPosition(place, clean.length, pairs.length > 1 ? `pair ${p}` : "the pair");
  });
  const between = turn ?? loopTurn(signal);
  const interrupts = { onLayer: () => signal?.throwIfAborted(), turn };
  const results: PairMeasures<number>[] = [];
  const differences: Sides["differences"][] = [];
  const first = Math.min(...places.map(({ layer }) => layer));
  const start = blockHook(first, "hook_resid_pre");
  const hooks = [...new Set(places.map(hookOf))];
  for (const pair of pairs) {
    const sides = await runSides(
      model,
      pair,
      { metric, direction, interventions, base: [start], source: hooks },
      interrupts,
    );
    const changes = new Map(hooks.map((hook) => [hook, tf.tidy(() => changeAt(sides, hook, places))]));
    try {
      const input = { resid: sides.base.activations.get(start)!, startLayer: first, logitsAt: "last" } as const;
      const { onLayer } = interrupts;
      const result = await forwardInTurns(
        model,
        input,
        { interventions: mergeInterventions(sides.changes, changes), onLayer },
        turn,
      );
      results.push({ clean: sides.clean, corrupt: sides.corrupt, patched: sides.measure(result.logits!)[0]! });
      differences.push(sides.differences);
      result.dispose();
    } finally {
      for (const { gain, bias } of changes.values()) tf.dispose([gain, bias]);
      sides.dispose();
    }
    progress?.(results.length, pairs.length, "patching, pairs");
    await between();
  }
  return { ...overPairs(results, differences), metric, direction, places: places.map(formatPlace) };
}

function hookOf({ node, layer }: PatchedPlace): string {
  return blockHook(layer, NODES[node].hook);
}

/** The source's activation at all places of one hook point. */
function changeAt({ source }: Sides, hook: string, places: readonly PatchedPlace[]): { gain: Tensor; bias: Tensor } {
  const activation = source.activations.get(hook)!;
  const masks = places
    .filter((place) => hookOf(place) === hook)
    .map(({ node, head, position }) => {
      const where = new Map([
        [headAxis(node), head],
        [positionAxis(node), position],
      ]);
      const axes = activation.shape.map((n, axis) => {
        const index = where.get(axis);
        const held = index === undefined ? undefined : (index + n) % n;
        const ones = Array.from({ length: n }, (_, i) => Number(held === undefined || i === held));
        return tf.reshape(tf.tensor1d(axis === 0 || !where.has(axis) ? [1] : ones), unit(activation.rank, axis));
      });
      return axes.reduce((product, own) => tf.mul(product, own));
    });
  const mask = masks.reduce((union, own) => tf.maximum(union, own));
  return replaceWhere(mask, activation);
}

/** A shape with -1 at one axis and 1 elsewhere. */
function unit(rank: number, axis: number): number[] {
  return Array.from({ length: rank }, (_, a) => (a === axis ? -1 : 1));
}

function checkPlace(model: Model, place: PatchedPlace): void {
  const { node, layer, head } = place;
  if (!PATCH_NODES.includes(node))
    throw new HeadscopeError("usage", `there is no node "${node}"`, { remedy: `nodes are ${PATCH_NODES.join(", ")}` });
  checkLayer(model.config, layer);
  checkNode(model, node, head !== undefined);
  if (head === undefined) return;
  const { heads } = NODES[node] as { heads: "queries" | "keys" | "values" };
  const count = headShape(model.config, layer)[heads];
  if (!(Number.isInteger(head) && head >= 0 && head < count))
    throw new HeadscopeError("usage", `there is no ${formatPlace(place)}: ${node} has ${count} heads`, {
      remedy: `heads are 0 to ${count - 1}`,
    });
}

function checkPosition(place: PatchedPlace, length: number, label: string): void {
  const { position = 0 } = place;
  if (Number.isInteger(position) && position >= -length && position < length) return;
  throw new HeadscopeError("usage", `${label} has ${length} tokens, no ${formatPlace(place)}`, {
    remedy: `choose a position from 0 to ${length - 1}, or from the end with -1 to -${length}`,
  });
}
