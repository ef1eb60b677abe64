import { generate } from "../../../backend/inference/generate.ts";
import type { Generation } from "../../../backend/inference/generation.ts";
import { contextTasks, drawCase } from "../../../synthetic-tasks/contexts/index.ts";
import type { Bench } from "../measure.ts";
import type { Setting } from "../setting.ts";

/** Policies that choose what a prompt reads, with the largest ratio to the dense prompt that meets the promise. */
const POLICIES = ["minference", "xattention"] as const;
const LENGTHS = [{ tokens: 2048 }, { tokens: 7900, goal: 0.5, most: 2 }];

/** Prompts of which a part is read, against the same read whole; and the part. */
export function promptRows(setting: Setting): Bench[] {
  return LENGTHS.flatMap(({ tokens, ...promise }) =>
    POLICIES.flatMap((policy) => [
      {
        name: `prompt of ${tokens} under ${policy}`, unit: "ms", rival: "dense", ...promise,
        ours: async () => (await read(setting, tokens, policy)).prefillMs,
        theirs: async () => (await read(setting, tokens)).prefillMs,
      },
      {
        name: `squares read of ${tokens} under ${policy}`, unit: "share", rival: "dense", most: 1,
        ours: async () => (await read(setting, tokens, policy)).prefill!.read, theirs: () => 1,
      },
    ]),
  ); // biome-ignore format: a table
}

/** A text with a needle and its question, as generate reads it. */
async function read(setting: Setting, tokens: number, policy?: string): Promise<Generation> {
  const model = await setting.model("q8");
  const { prompt } = drawCase(model.tokenizer!, contextTasks.get("needle"), contextTasks.parse("needle", {}), {
    tokens,
    number: 0,
  });
  const ids = [...prompt.context, ...prompt.questions[0]!.request];
  return generate(model, { tokens: ids, maxTokens: 1, ...(policy ? { policies: [{ name: policy }] } : {}) });
}
