import type { Tensor } from "@tensorflow/tfjs";
import type { Model } from "../model.ts";
import type { PatternReduction } from "../transformer/attention.ts";
import { ATTENTION_NAMES } from "../transformer/block.ts";
import { blockHook, checkHookName, hookNames } from "../transformer/hook-points.ts";
import type { ForwardOptions } from "./forward.ts";
import { type Affine, type HookFunction, hooked, type PointFunction, type Requests } from "./stage.ts";

/** Nothing is asked. */
export const NOTHING: Requests = { wanted: [], affine: new Map(), hooks: new Map() };

/** What is asked at each point, resolved once for a forward. */
export class Asked {
  readonly captured: boolean;
  readonly reductions: readonly PatternReduction[];
  readonly #wanted: Set<string>;
  readonly #affine: ReadonlyMap<string, Affine>;
  readonly #hooks = new Map<string, HookFunction[]>();
  /** Prefixes (`blocks.{l}.`, or none) under which anything is asked. */
  readonly #touched = new Set<string>();

  constructor(model: Model, options: ForwardOptions) {
    const { config } = model;
    const { names = [], hooks = [], interventions = new Map() } = options;
    const all = typeof names === "function" || hooks.some(([at]) => typeof at === "function") ? hookNames(config) : [];
    if (typeof names !== "function") for (const name of names) checkHookName(config, name);
    for (const name of interventions.keys()) checkHookName(config, name);
    this.#wanted = new Set(typeof names === "function" ? all.filter(names) : names);
    this.#affine = interventions;
    for (const [at, hook] of hooks) {
      if (typeof at === "string") checkHookName(config, at);
      for (const name of typeof at === "string" ? [at] : all.filter(at))
        this.#hooks.set(name, [...(this.#hooks.get(name) ?? []), hook]);
    }
    for (const name of [...this.#wanted, ...this.#affine.keys(), ...this.#hooks.keys()])
      this.#touched.add(/^blocks\.\d+\./.exec(name)?.[0] ?? "");
    this.captured = (options.captured ?? true) && hooks.length === 0;
    this.reductions = options.reductions ?? [];
  }

  /**
   * Requests for the given short names of a block (prefix `blocks.{l}.`) or, without prefix, of the model's ends.
   * @param slice the part of an intervention that concerns the chunk at hand, or nothing
   * @param starts by row, the position of the chunk's first token
   */
  of(
    prefix: string,
    names: readonly string[],
    slice: (affine: Affine, name: string) => Affine | undefined,
    starts: readonly number[],
  ): Requests {
    if (!this.#touched.has(prefix)) return NOTHING;
    const pick = names.filter((n) => this.#wanted.has(prefix + n));
    const affine = new Map<string, Affine>();
    const hooks = new Map<string, PointFunction[]>();
    for (const n of names) {
      const change = this.#affine.get(prefix + n);
      const here = change && slice(change, prefix + n);
      if (here) affine.set(n, here);
      const functions = this.#hooks.get(prefix + n);
      if (functions)
        hooks.set(
          n,
          functions.map((f) => (t: Tensor) => hooked(f, t, prefix + n, starts)),
        );
    }
    return { wanted: pick, affine, hooks };
  }

  /** Whether anything is asked of a layer. */
  touches(layer: number): boolean {
    return this.#touched.has(blockHook(layer, ""));
  }

  /** Whether anything looks at or changes the whole pattern of a layer. */
  touchesPattern(layer: number): boolean {
    return (
      this.touches(layer) &&
      ATTENTION_NAMES.some((n) => [this.#wanted, this.#affine, this.#hooks].some((s) => s.has(blockHook(layer, n))))
    );
  }
}
