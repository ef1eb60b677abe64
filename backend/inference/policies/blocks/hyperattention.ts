import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { Random } from "../../../common/random.ts";
import { tf } from "../../../runtime/tf.ts";
import type { BlockPolicy, PromptAttended, PromptView } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { HyperAttention } from "./hyper.ts";

const parameters = z.object({
  bits: z.int().min(1).max(16).default(7).describe("random planes whose sides give a query or key its bucket"),
  block: inUnit("tokens", z.int().min(1).default(64).describe("keys of a block of the sorted order")),
  samples: inUnit("tokens", z.int().min(1).default(64).describe("keys drawn from a half, which stand for its others")),
  exact: inUnit("tokens", z.int().min(1).default(1024).describe("tokens up to which a part attends exactly")),
  seed: z.int().min(0).default(0).describe("of the planes and the keys drawn"),
});
type Parameters = z.output<typeof parameters>;

/** Blocks of keys sorted by hashes, and sampled keys. */
export const hyperattention: BlockPolicy<typeof parameters> = {
  name: "hyperattention",
  title: "Blocks of keys sorted by their hashes, and sampled ones",
  description:
    "A prompt is halved until `exact` tokens are left, which attend exactly. The later half's queries read of the earlier half the keys of their block, once both " +
    "are sorted by hashes of random planes, and `samples` others, which count for all that is left out.",
  source: "Han et al. 2023, HyperAttention: Long-context Attention in Near-Linear Time",
  chooses: "blocks",
  parameters,
  choose(view, params) {
    return view.start + view.tokens <= params.exact ? undefined : attended(view, params);
  },
};

function attended(view: PromptView, { seed, bits, ...sizes }: Parameters): PromptAttended {
  const { d_head } = view.config;
  const [random, planes] = [new Random(seed, view.layer), new Float32Array(bits * d_head)];
  random.fillNormal(planes);
  const uniform = (): number => random.uniform();
  const attention = new HyperAttention(view, { ...sizes, planes: tf.tensor2d(planes, [bits, d_head]), uniform });
  const { z, share } = attention;
  return { z: tf.transpose(z, [1, 0, 2]), share, bias: (): Tensor => attention.bias() };
}
