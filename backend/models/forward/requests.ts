import type { Tensor } from "@tensorflow/tfjs";
import type { AttentionLook } from "../cache/attend-cached.ts";
import type { Model } from "../model.ts";
import type { PatternReduction } from "../transformer/attention.ts";
import { ATTENTION_NAMES } from "../transformer/block.ts";
import { blockHook, checkHookName, hookNames } from "../transformer/hook-points.ts";
import { joinChanges } from "./changes.ts";
import { hooked, type PointFunction, type StageRequests } from "./stage.ts";
import type { Affine, ForwardOptions, HookFunction } from "./types.ts";

/** No requests at any hook point. */
const NO_REQUESTS: StageRequests = { wanted: [], affine: new Map(), hooks: new Map() };

/** Hook points that are looked at without taking a block apart. */
const OUTSIDE = [".hook_resid_pre", ".attn.hook_pattern"] as const;

/** Hook points of one stage: their names in order, and the block's prefix `blocks.{l}.` (none at the model's ends). */
export interface StagePoints {
  prefix: string;
  names: readonly string[];
}

/** The stretch of positions that a stage runs on. */
export interface StageStretch {
  /** By row, the position of the first token. */
  starts: readonly number[];
  /** The part of an intervention that concerns the stretch, or nothing. */
  slice(affine: Affine, name: string): Affine | undefined;
}

/** The requests of a forward at each hook point, resolved once: activations to hand out, interventions and hooks. */
export class HookRequests {
  readonly captured: boolean;
  /** Everything runs op by op, to be compared. */
  readonly plain: boolean;
  readonly reductions: readonly PatternReduction[];
  readonly #wanted: Set<string>;
  readonly #affine: ReadonlyMap<string, Affine>;
  readonly #hooks = new Map<string, HookFunction[]>();
  /** Prefixes (`blocks.{l}.`, or none) under which there is any. */
  readonly #touched: ReadonlySet<string>;
  /** The same without looks at the stream before a block and at a pattern. */
  readonly #within: ReadonlySet<string>;

  constructor(model: Model, options: ForwardOptions) {
    const { config } = model;
    const { names = [], hooks = [], interventions = new Map() } = options;
    const predicates = typeof names === "function" || hooks.some(([point]) => typeof point === "function");
    const all = predicates ? hookNames(config) : [];
    if (typeof names !== "function") for (const name of names) checkHookName(config, name);
    for (const name of interventions.keys()) checkHookName(config, name);
    this.#wanted = new Set(typeof names === "function" ? all.filter(names) : names);
    this.#affine = joinChanges(model.changes, interventions);
    for (const [point, hook] of hooks) {
      if (typeof point === "string") checkHookName(config, point);
      for (const name of typeof point === "string" ? [point] : all.filter(point))
        this.#hooks.set(name, [...(this.#hooks.get(name) ?? []), hook]);
    }
    const changes = [...this.#affine.keys(), ...this.#hooks.keys()];
    const looks = [...this.#wanted];
    const inside = looks.filter((name) => !OUTSIDE.some((point) => name.endsWith(point)));
    this.#touched = prefixesOf([...looks, ...changes]);
    this.#within = prefixesOf([...inside, ...changes]);
    this.plain = options.captured === false;
    this.captured = !this.plain && hooks.length === 0;
    this.reductions = options.reductions ?? [];
  }

  /** Requests at the hook points of one stage. */
  ofStage({ prefix, names }: StagePoints, { starts, slice }: StageStretch): StageRequests {
    if (!this.#touched.has(prefix)) return NO_REQUESTS;
    const affine = new Map<string, Affine>();
    const hooks = new Map<string, PointFunction[]>();
    for (const name of names) {
      const full = prefix + name;
      const change = this.#affine.get(full);
      const part = change && slice(change, full);
      if (part) affine.set(name, part);
      const functions = this.#hooks.get(full);
      const checked = functions?.map((f) => (t: Tensor) => hooked(f, t, full, starts));
      if (checked) hooks.set(name, checked);
    }
    return { wanted: names.filter((name) => this.#wanted.has(prefix + name)), affine, hooks };
  }

  /** True where there are requests in a layer. */
  reaches(layer: number): boolean {
    return this.#touched.has(blockHook(layer, ""));
  }

  /** True where the stream before a layer is looked at. */
  looksBefore(layer: number): boolean {
    return this.#wanted.has(blockHook(layer, "hook_resid_pre"));
  }

  /** The requests in a layer, beside looks at the stream before it, which stands between blocks anyway. */
  looksInto(layer: number): "nothing" | "pattern" | "anything" {
    const prefix = blockHook(layer, "");
    if (this.#within.has(prefix)) return "anything";
    return this.#wanted.has(`${prefix}attn.hook_pattern`) ? "pattern" : "nothing";
  }

  /** The closeness of looks at a layer's attention. What runs op by op to be compared is plain throughout. */
  lookAtAttention(layer: number): AttentionLook["closeness"] {
    if (this.plain) return "everything";
    const changed = (name: string): boolean => this.#affine.has(name) || this.#hooks.has(name);
    const [scores, pattern] = ATTENTION_NAMES.map((name) => blockHook(layer, name)) as [string, string];
    if (this.#wanted.has(scores) || changed(scores) || changed(pattern)) return "everything";
    return this.#wanted.has(pattern) ? "pattern" : "nothing";
  }
}

/** Prefixes of hook names: `blocks.{l}.`, or none at the model's ends. */
function prefixesOf(names: readonly string[]): Set<string> {
  return new Set(names.map((name) => /^blocks\.\d+\./.exec(name)?.[0] ?? ""));
}
