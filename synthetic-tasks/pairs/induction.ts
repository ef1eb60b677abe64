import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { pairTask } from "./base.ts";

const parameters = z.object({
  length: z.int().min(2).max(2048).default(12).describe("tokens of the sequence that is repeated"),
});

/** Repeated random tokens: what followed the present token before. */
export const inductionPairs = pairTask({
  name: "induction",
  title: "Repeated random tokens",
  description:
    "BOS r and the first half of r again, r of different random tokens: calls for the token that follows in r. In the corrupt " +
    "prompt another one stands there, nothing else differs. Needs no tokenizer.",
  source:
    "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Olsson et al. 2022, In-context Learning and Induction Heads",
  parameters,
  wordless: true,
  kinds({ length }, { ids: { vocabulary, first, last } }) {
    const half = Math.floor(length / 2);
    const pool = Array.from({ length: vocabulary }, (_, id) => id).filter((id) => id !== first && id !== last);
    if (pool.length < length + 1)
      throw new HeadscopeError(
        "unsupported",
        `induction: ${length + 1} different tokens are needed, there are ${pool.length}`,
        {
          remedy: "make length smaller",
        },
      );
    return [
      {
        name: "repeated",
        draw(random) {
          const ids = new Set<number>();
          while (ids.size < length + 1) ids.add(pool[random.integer(0, pool.length)]!);
          const [wrong, ...r] = [...ids] as [number, ...number[]];
          const prompt = (middle: number): number[] => [
            ...[first, ...r.slice(0, half), middle, ...r.slice(half + 1)],
            ...r.slice(0, half),
          ];
          const answer = r[half]!;
          return { clean: prompt(answer), corrupt: prompt(wrong), answer, wrong };
        },
      },
    ];
  },
});
