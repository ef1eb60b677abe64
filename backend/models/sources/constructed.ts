import { createHash } from "node:crypto";
import { initBackend } from "../../runtime/backend.ts";
import type { ModelConfig } from "../config.ts";
import { Model } from "../model.ts";
import { Matrix } from "../weights/matrix.ts";
import { inspectLoaded, type ModelSource } from "./source.ts";

const VOCAB = 128;
const CONTEXT = 512;
/** Frequencies of the position code; two dimensions each. */
const FREQUENCIES = 32;
/** Token 0 begins a sequence. */
const BOS = 0;

/** Places in the residual stream. */
const TOKEN = 0;
const PREVIOUS = VOCAB;
const OUTPUT = 2 * VOCAB;
const POSITION = 3 * VOCAB;

/** Sharpness of the attention of each head. */
const SHARP = { position: 20, token: 12 };

type Write = (out: number, input: number, value: number) => void;

/** A head as three small maps between the residual stream and its own d_head = VOCAB dimensions. */
interface Head {
  query?(set: Write): void;
  key?(set: Write): void;
  value?(set: Write): void;
  output?(set: Write): void;
}

/** Does something for every token. */
function forTokens(each: (token: number) => void): void {
  for (let t = 0; t < VOCAB; t++) each(t);
}
const copyTokens = { value: (set: Write) => forTokens((t) => set(t, TOKEN + t, 1)) };

/** Layer 0, head 0: the query is the position turned back by one step, so that it matches the key before it. */
const previousToken: Head = {
  query: (set) => {
    for (let f = 0; f < FREQUENCIES; f++) {
      const step = angularStep(f);
      const [c, s] = [2 * f, 2 * f + 1];
      set(c, POSITION + c, SHARP.position * Math.cos(step));
      set(c, POSITION + s, SHARP.position * Math.sin(step));
      set(s, POSITION + c, -SHARP.position * Math.sin(step));
      set(s, POSITION + s, SHARP.position * Math.cos(step));
    }
  },
  key: (set) => {
    for (let i = 0; i < 2 * FREQUENCIES; i++) set(i, POSITION + i, 1);
  },
  ...copyTokens,
  output: (set) => forTokens((t) => set(PREVIOUS + t, t, 1)),
};

/** Attends to earlier copies of its own token (and to itself). */
const duplicateToken: Head = {
  query: (set) => forTokens((t) => set(t, TOKEN + t, SHARP.token)),
  key: (set) => forTokens((t) => set(t, TOKEN + t, 1)),
};

/** Attends to the first token, whatever the query. */
const sink: Head = {
  query: (set) => forTokens((t) => set(0, TOKEN + t, SHARP.token)),
  key: (set) => set(0, TOKEN + BOS, 1),
};

/** Layer 1, head 1: finds the token whose predecessor is the present token, and predicts it. */
const induction: Head = {
  query: (set) => forTokens((t) => set(t, TOKEN + t, SHARP.token)),
  key: (set) => forTokens((t) => set(t, PREVIOUS + t, 1)),
  ...copyTokens,
  output: (set) => forTokens((t) => set(OUTPUT + t, t, 1)),
};

const uniform: Head = {};
const LAYERS: Head[][] = [
  [previousToken, duplicateToken, sink, uniform],
  [uniform, induction, sink, uniform],
];

function angularStep(f: number): number {
  return (2 * Math.PI * (f + 1)) / CONTEXT;
}

/**
 * A two-layer attention-only transformer whose weights are written by hand, so that what every head does is known:
 * 0.0 previous token, 0.1 duplicate token, 0.2 and 1.2 sink at the first token, 1.1 induction, the rest uniform.
 * It copies repeated token ids and has no tokenizer.
 */
export function toyInduction(): Model {
  const d_model = POSITION + 2 * FREQUENCIES;
  const heads = LAYERS[0]!.length;
  const config: ModelConfig = {
    n_layers: LAYERS.length, n_heads: heads, n_key_value_heads: heads, d_model, d_head: VOCAB, d_mlp: 0, n_ctx: CONTEXT, d_vocab: VOCAB,
    act_fn: "relu", gated_mlp: false, attn_only: true, normalization_type: null, eps: 1e-5, final_norm: false,
    positional_embedding_type: "standard", rotary_base: 10000, rotary_dim: VOCAB, tie_word_embeddings: false, attn_scale: 1,
  }; // biome-ignore format: a table
  const filled = (out: number, width: number, fill: (set: Write) => void): Matrix => {
    const values = new Float32Array(out * width);
    fill((row, column, value) => {
      values[row * width + column] = value;
    });
    return Matrix.fromValues(values, [out, width]);
  };
  const blocks = LAYERS.map((layer) => ({
    qkv: filled(3 * heads * VOCAB, d_model, (set) => {
      (["query", "key", "value"] as const).forEach((part, p) => {
        layer.forEach((head, h) => {
          head[part]?.((out, input, value) => {
            set((p * heads + h) * VOCAB + out, input, value);
          });
        });
      });
    }),
    o: filled(d_model, heads * VOCAB, (set) => {
      layer.forEach((head, h) => {
        head.output?.((out, input, value) => {
          set(out, h * VOCAB + input, value);
        });
      });
    }),
  }));
  const gain = 10;
  return new Model({
    ref: "toy-induction",
    family: "constructed",
    digest: `sha256:${createHash("sha256")
      .update(JSON.stringify([config, SHARP, FREQUENCIES, gain]))
      .digest("hex")}`,
    config,
    weights: {
      embed: filled(VOCAB, d_model, (set) => forTokens((t) => set(t, TOKEN + t, 1))),
      posEmbed: filled(CONTEXT, d_model, (set) => {
        for (let p = 0; p < CONTEXT; p++) {
          for (let f = 0; f < FREQUENCIES; f++) {
            set(p, POSITION + 2 * f, Math.cos(p * angularStep(f)));
            set(p, POSITION + 2 * f + 1, Math.sin(p * angularStep(f)));
          }
        }
      }),
      blocks,
      unembed: filled(VOCAB, d_model, (set) => forTokens((t) => set(t, OUTPUT + t, gain))),
    },
  });
}

/** The model that is built in memory, as a source. @param ref its name in the catalogue */
export function constructedSource(ref: string): ModelSource {
  return {
    ref,
    load: async () => toyInduction(),
    async describe() {
      await initBackend();
      const model = toyInduction();
      model.dispose();
      const { family, digest, config } = model;
      return { ref, family, digest, config };
    },
    inspect: () => inspectLoaded(async () => toyInduction()),
    version: () => ref,
  };
}
