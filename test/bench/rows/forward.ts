import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { probeMany } from "../../../probes/index.ts";
import type { Bench } from "../measure.ts";
import { ids, timedForward } from "../runs.ts";
import type { Setting } from "../setting.ts";

/** Prompts by length, with the largest ratio to transformers that meets the promise. */
const PREFILLS = [
  { tokens: 512, goal: 0.9 },
  { tokens: 2048, goal: 1 },
  { tokens: 7900, goal: 0.8, most: 2 },
];

/** Forwards over many tokens: prompts, and probes that look at every pattern. */
export function forwardRows(setting: Setting): Bench[] {
  const unit = "ms";
  const bare = (tokens: number, captured: boolean) => async () =>
    timedForward(await setting.model("f32"), { tokens: ids(1, tokens), logitsAt: "last" }, { captured });
  const probes = async (): Promise<number> => {
    const model = await setting.model("f32");
    const began = performance.now();
    await probeMany(model, ["induction", "duplicate-token", "previous-token", "attention-sink"], {
      tokens: repeated(),
    });
    return performance.now() - began;
  };
  const probed = "four probes, 4 x 101 tokens";
  return [
    ...[128, 512].map((n) => ({
      name: `captured blocks, ${n} tokens`, unit, rival: "op by op", goal: 1 / 1.6,
      ours: bare(n, true), theirs: bare(n, false),
    })),
    ...PREFILLS.map(({ tokens, ...promise }) => ({
      name: `prefill, ${tokens} tokens`, unit, rival: "transformers sdpa fp32", ...promise,
      ours: prefill(setting, "f32", tokens), theirs: setting.rival(`prefill-${tokens}`),
    })),
    ...PREFILLS.map(({ tokens, ...promise }) => ({
      name: `prefill, ${tokens} tokens, weights as in the file`, unit, rival: "transformers sdpa fp32", ...promise,
      ours: prefill(setting, "q8", tokens), theirs: setting.rival(`prefill-${tokens}`),
    })),
    {
      name: probed, unit, rival: "bare forward", goal: 1.15,
      ours: probes, theirs: async () => timedForward(await setting.model("f32"), { tokens: repeated(), logitsAt: "none" }),
    },
    {
      name: `${probed}, TransformerLens`, unit, rival: "TransformerLens with patterns", goal: 1,
      ours: probes, theirs: setting.rival("tl-patterns-4x101"),
    },
  ]; // biome-ignore format: a table
}

/** A prompt as generate reads it: keys and values kept, logits of the last position. */
function prefill(setting: Setting, weights: "f32" | "q8", tokens: number): () => Promise<number> {
  return async () => {
    const model = await setting.model(weights);
    const cache = new KvCache(model.config, { capacity: tokens });
    const took = timedForward(model, { tokens: ids(1, tokens), cache, logitsAt: "last" });
    cache.dispose();
    return took;
  };
}

/** Four rows BOS r r with r of 50 tokens. */
function repeated(): number[][] {
  return ids(4, 51).map((row) => [1, ...row.slice(1), ...row.slice(1)]);
}
