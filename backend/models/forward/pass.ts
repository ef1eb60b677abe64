import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { Activations } from "../../common/words.ts";
import { tf } from "../../runtime/tf.ts";
import type { AttentionReader } from "../cache/reader.ts";
import type { Model } from "../model.ts";
import type { Hook } from "../transformer/hook.ts";
import { behindEarlier, chunkStarts, cutPadding, sliceAffine, withoutPadding } from "./chunks.ts";
import { bucket, type Chunk, makePlan, type Plan } from "./plan.ts";
import { HookRequests, type StagePoints } from "./requests.ts";
import { collectingHook, runStage, type Stage, type StageRequests } from "./stage.ts";
import type { ForwardInput, ForwardOptions } from "./types.ts";

/** Cosines and sines of a chunk's positions [rows * tokens, 1, rotary_dim] for layers of either kind; none where the model does not rotate. */
export interface Rotations {
  global: Tensor[];
  local: Tensor[];
}

/** A chunk's residual stream [rows * tokens, d_model] between blocks. */
export interface Stream {
  x: Tensor;
  rotation: Rotations;
}

/** One forward under way: its model, input, plan and requests, and what it has collected so far. */
export class ForwardPass {
  readonly model: Model;
  readonly input: ForwardInput;
  readonly plan: Plan;
  readonly requests: HookRequests;
  /** Of what is multiplied with packed matrices. */
  readonly precision: Activations;
  /** Of what attention reads over a cache. */
  readonly reader: AttentionReader | undefined;
  /** By hook name. */
  readonly activations = new Map<string, Tensor>();
  /** By the reduction's name, one tensor a layer. */
  readonly reductions: Map<string, Tensor[]>;

  constructor(model: Model, input: ForwardInput, options: ForwardOptions) {
    this.model = model;
    this.input = input;
    this.precision = options.activations ?? "exact";
    this.reader = options.reader;
    // Hooks see what there is, without padding; then no length would find its function again, and all runs op by op.
    const hooked = (options.hooks?.length ?? 0) > 0;
    this.requests = new HookRequests(model, options);
    this.plan = makePlan(model, input, hooked ? (n) => n : bucket);
    const { reductions } = this.requests;
    this.reductions = new Map(reductions.map(({ name }) => [name, []]));
    if (reductions.length === 0 || this.plan.lengths.every((length) => length === this.plan.total)) return;
    this.dispose();
    throw new HeadscopeError("unsupported", "patterns of rows of different lengths can't be reduced together", {
      remedy: "give rows of one length",
    });
  }

  /** Runs a stage on a chunk, with the requests at its hook points, and collects the activations among them. */
  stage<W>(
    stage: Omit<Stage<W>, "extent" | "requests" | "captured" | "activations">,
    chunk: Chunk,
    points: StagePoints = { prefix: "", names: [] },
  ): Tensor[] {
    const requests = this.requestsAt(points, chunk);
    const extent = { rows: this.plan.rows, tokens: chunk.tokens };
    const { captured } = this.requests;
    // Tokens that lie among others are another number each time: to compile for it takes longer than it saves.
    const xla = stage.xla && this.input.places === undefined;
    const { out, activations } = runStage({ ...stage, xla, extent, requests, captured, activations: this.precision });
    this.collect(points.prefix, requests.wanted, activations, chunk);
    return out;
  }

  /** Requests at the hook points of one stage of a chunk. */
  requestsAt(points: StagePoints, chunk: Chunk): StageRequests {
    return this.requests.ofStage(points, {
      starts: chunkStarts(chunk, this.plan),
      slice: (affine, name) => sliceAffine(affine, name, chunk, this.plan),
    });
  }

  /** The hook points of what runs outside of a stage; `collect` afterwards adds what they were asked for. */
  hookAt(points: StagePoints, chunk: Chunk): { hook: Hook; collect(): void } {
    const requests = this.requestsAt(points, chunk);
    const { hook, collected } = collectingHook({ rows: this.plan.rows, tokens: chunk.tokens }, requests);
    return { hook, collect: () => this.collect(points.prefix, requests.wanted, collected(), chunk) };
  }

  /** Adds a chunk's activations to those of earlier chunks; frees them. @param names of them, without the prefix */
  collect(prefix: string, names: readonly string[], activations: readonly Tensor[], chunk: Chunk): void {
    names.forEach((name, i) => {
      const earlier = this.activations.get(prefix + name);
      const part = cutPadding(activations[i]!, name, chunk);
      this.activations.set(prefix + name, tf.keep(behindEarlier(earlier, part, name, this.plan)));
      tf.dispose(earlier ? [part, earlier] : [part]);
    });
  }

  /** Puts zeros behind the ends of shorter rows. */
  clearPadding(): void {
    for (const [name, activation] of this.activations) {
      // The final norm sees the positions whose logits are wanted.
      if (name.startsWith("ln_final.") && (this.input.logitsAt ?? "all") !== "all") continue;
      const clean = tf.tidy(() => withoutPadding(activation, name, this.plan));
      if (clean === activation) continue;
      this.activations.set(name, tf.keep(clean));
      activation.dispose();
    }
  }

  /** All that was collected. */
  get collected(): Tensor[] {
    return [...this.activations.values(), ...[...this.reductions.values()].flat()];
  }

  /** Frees what only the pass itself needs. */
  dispose(): void {
    const { scratch, pages, places } = this.plan;
    for (const made of [scratch, pages, ...places]) made?.dispose();
  }
}
