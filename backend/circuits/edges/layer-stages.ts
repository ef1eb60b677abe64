import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { localWindow } from "../../models/config.ts";
import { sliceAffine } from "../../models/forward/chunks.ts";
import { HookRequests } from "../../models/forward/requests.ts";
import { runStage, type StageRequests } from "../../models/forward/stage.ts";
import type { Model } from "../../models/model.ts";
import type { Hook } from "../../models/transformer/hook.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import type { BlockWeights } from "../../models/weights/block-parts.ts";
import { type Flat, flatten, widenBlock } from "../../models/weights/weights.ts";
import { tf } from "../../runtime/tf.ts";
import { halves, splitAttention, splitMlp } from "./split-block.ts";

/** Hook points of the halves of a block that can be changed in circuits: inside of a node, so that its output is still its own. */
const INSIDE = {
  embed: ["hook_embed", "hook_pos_embed"],
  attention: ["attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_z"],
  mlp: ["mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post", "hook_mlp_out"],
} as const;

/**
 * Refuses a model under interventions that a circuit's run has no place for.
 * @throws HeadscopeError (unsupported) naming the hook point
 */
export function checkInsideNodes({ changes }: Model): void {
  const inside: readonly string[] = [...Object.values(INSIDE).flat()];
  const outside = [...(changes?.keys() ?? [])].find((name) => !inside.includes(name.replace(/^blocks\.\d+\./, "")));
  if (outside === undefined) return;
  throw new HeadscopeError(
    "unsupported",
    `${outside} can't be changed in circuits: their runs put it together from what single heads and MLPs write`,
    { remedy: `change ${inside.join(", ")}`, subject: outside },
  );
}

/** Cosines and sines of positions [positions, 1, rotary_dim], of layers of either kind; none where the model does not rotate. */
export interface PositionRotations {
  readonly global: readonly Tensor[];
  readonly local: readonly Tensor[];
  dispose(): void;
}

/** The rotations of the first positions. */
export function rotationsOf(model: Model, positions: number): PositionRotations {
  const { rotary_dim, rotary_local } = model.config;
  const of = (local: boolean): Tensor[] => {
    const tables = model.rotaryUpTo(positions, local);
    if (!tables) return [];
    return [tables.cos, tables.sin].map((table) =>
      tf.tidy(() => tf.reshape(tf.slice(table, [0, 0], [positions, rotary_dim]), [positions, 1, rotary_dim])),
    );
  };
  const global = of(false);
  const local = rotary_local ? of(true) : global;
  return { global, local, dispose: () => tf.dispose([...new Set([...global, ...local])]) };
}

/** Outputs of heads that read inputs of their own, less those of a reference run. */
export interface HeadDifferences {
  /** [rows, heads, positions * d_model] */
  heads: Tensor;
  /** Of what no head wrote [rows, positions, d_model]; absent where it does not differ between runs. */
  rest?: Tensor | undefined;
}

/** One layer of a model whose nodes read inputs of their own, as captured functions. */
export class SplitLayer {
  readonly #model: Model;
  readonly #layer: number;
  readonly #attention: Flat<BlockWeights>;
  readonly #mlp: Flat<BlockWeights>;
  readonly #rotation: readonly Tensor[];
  readonly #wide: ReturnType<typeof widenBlock>;

  /** Widens the layer's weights where they are narrow; the caller disposes. */
  constructor(model: Model, layer: number, rotations: PositionRotations) {
    this.#model = model;
    this.#layer = layer;
    const narrow = model.weights.blocks[layer]!;
    this.#wide = widenBlock(narrow);
    const { attention, mlp } = halves(this.#wide?.block ?? narrow);
    [this.#attention, this.#mlp] = [flatten(attention), flatten(mlp)];
    this.#rotation = localWindow(model.config, layer) === undefined ? rotations.global : rotations.local;
  }

  /**
   * Attention.
   * @param change what each input has beside the stream [rows, 3 heads, positions * d_model]
   * @param stream that all read [1 or rows, positions, d_model]
   * @param reference outputs that are taken off: heads [1, heads, positions, d_model] and the rest
   */
  attention(change: Tensor, stream: Tensor, reference: { heads: Tensor; rest: Tensor | undefined }): HeadDifferences {
    const { config, key } = this.#model;
    const { n_heads: H, d_model } = config;
    const rows = change.shape[0]!;
    const [streams, T] = stream.shape as [number, number];
    const local = localWindow(config, this.#layer);
    const { rest } = reference;
    const [heads, restChange] = this.#run({
      key: `split attention|${key}|${local}`,
      rows,
      positions: T,
      tensors: [change, stream, reference.heads, ...(rest ? [rest] : []), ...this.#rotation],
      weights: this.#attention,
      points: INSIDE.attention,
      body: ([change, stream, heads, ...more], weights, hook) => {
        const own = rest ? more[0]! : undefined;
        const [cos, sin] = rest ? more.slice(1) : more;
        const inputs = tf.add(
          tf.reshape(change!, [rows, 3 * H, T, d_model]),
          tf.reshape(stream!, [streams, 1, T, d_model]),
        );
        const overRows = (table: Tensor): Tensor => tf.tile(table, [rows, 1, 1]);
        const rotation = cos && sin ? { cos: overRows(cos), sin: overRows(sin) } : undefined;
        const out = splitAttention(inputs, rotation, { weights, config, hook }, { rows, positions: T, local });
        const difference = tf.reshape(tf.sub(out.heads, heads!), [rows, H, T * d_model]);
        return own ? [difference, tf.sub(out.rest!, own)] : [difference];
      },
    });
    return { heads: heads!, rest: restChange };
  }

  /**
   * The MLP's output less that of a reference run.
   * @param change what its input has beside the stream [rows, positions * d_model]
   * @param stream [1 or rows, positions, d_model] @param reference output that is taken off [1, positions, d_model]
   * @returns [rows, positions * d_model]
   */
  mlp(change: Tensor, stream: Tensor, reference: Tensor): Tensor {
    const { config, key } = this.#model;
    const { d_model } = config;
    const rows = change.shape[0]!;
    const T = stream.shape[1]!;
    const [out] = this.#run({
      key: `split mlp|${key}`,
      rows,
      positions: T,
      tensors: [change, stream, reference],
      weights: this.#mlp,
      points: INSIDE.mlp,
      body: ([change, stream, reference], weights, hook) => {
        const input = tf.add(tf.reshape(change!, [rows, T, d_model]), stream!);
        const out = splitMlp(tf.reshape(input, [rows * T, d_model]), { weights, config, hook });
        return [tf.reshape(tf.sub(tf.reshape(out, [rows, T, d_model]), reference!), [rows, T * d_model])];
      },
    });
    return out!;
  }

  dispose(): void {
    this.#wide?.dispose();
  }

  #run(stage: {
    key: string;
    rows: number;
    positions: number;
    tensors: Tensor[];
    weights: Flat<BlockWeights>;
    points: readonly string[];
    body(tensors: Tensor[], weights: BlockWeights, hook: Hook): Tensor[];
  }): Tensor[] {
    const { rows, positions, points, ...rest } = stage;
    const extent = { rows, tokens: positions };
    const requests = this.#requests(points, positions);
    return runStage({ ...rest, extent, requests, xla: false, captured: true }).out;
  }

  /** Changes that the model is under at some hook points of the layer; inside a tidy. */
  #requests(names: readonly string[], positions: number): StageRequests {
    const starts = [0];
    const chunk = { first: 0, real: positions, tokens: positions };
    return new HookRequests(this.#model, {}).ofStage(
      { prefix: blockHook(this.#layer, ""), names },
      { starts, slice: (affine, name) => sliceAffine(affine, name, chunk, { starts }) },
    );
  }
}
