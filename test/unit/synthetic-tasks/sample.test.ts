import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { register } from "../../../backend/cli/commands/tasks.ts";
import { type Context, runsWith } from "../../../backend/cli/context.ts";
import { Random } from "../../../backend/common/random.ts";
import { contextTasks } from "../../../synthetic-tasks/contexts/index.ts";
import { RidgePosterior, tasks } from "../../../synthetic-tasks/index.ts";

interface Samples {
  task: string;
  params: Record<string, unknown>;
  seed: number;
  samples: { tokens?: number[]; inputs?: number[][]; targets: (number | null)[]; reference?: number[] }[];
}

async function headscope(...args: string[]): Promise<{ document: Samples; text: string }> {
  let printed: { document: unknown; text: string } | undefined;
  const print: Context["print"] = async (document, text) => {
    printed = { document, text: text() };
  };
  const program = new Command().exitOverride();
  register(
    program,
    runsWith((_, work) => work({ print } as Partial<Context> as Context)),
  );
  await program.parseAsync(args, { from: "user" });
  return printed as { document: Samples; text: string };
}

describe("headscope tasks", () => {
  it("lists every task, and shows one with its parameters and evaluations", async () => {
    const list = await headscope("tasks", "list");
    for (const name of [...tasks.names(), ...contextTasks.names()]) expect(list.text).toContain(name);
    const shown = await headscope("tasks", "show", "gaussian-classification");
    expect(shown.text).toMatch(/alpha .*rank\^-alpha/);
    expect(shown.text).toContain("swapped-weights: labels of the context shifted by one");
  });

  it("shows a task over a long context with what it is scored by", async () => {
    const { text, document } = await headscope("tasks", "show", "multi-key");
    expect(text).toMatch(/keys .*needles of the same form/);
    expect(text).toContain("Scored by the share of the answers that its text holds.");
    expect(document).toMatchObject({ name: "multi-key", scoring: "answers" });
  });

  it("samples tokens with the next tokens as targets, in data and in text", async () => {
    const { document, text } = await headscope("tasks", "sample", "induction", "--count", "2", "--param", "loss=all");
    expect(document.samples).toHaveLength(2);
    for (const { tokens, targets } of document.samples) {
      expect(targets).toEqual([...tokens!.slice(1), null]);
      expect(text.replace(/\s+/g, " ").replace(/[[\]]/g, "")).toContain(tokens!.slice(1).join(" "));
    }
  });

  it("samples what the first step of a run with that seed and batch sees", async () => {
    const { document } = await headscope("tasks", "sample", "associative-recall", "--seed", "7", "--count", "4");
    const task = tasks.get("associative-recall");
    const params = tasks.parse("associative-recall");
    const batch = task.sample(task.world(params, 7), params, new Random(7, 1), 4);
    expect(document.samples.flatMap(({ tokens }) => tokens!)).toEqual([...batch.tokens!]);
    expect(document).toMatchObject({ task: "associative-recall", params, seed: 7 });
  });

  it("samples regressions as x rows, y and what ridge regression says of each y from the pairs before it", async () => {
    const args = ["--count", "2", "--param", "dimension=2", "--param", "examples=6", "--param", "sigma=0.5"];
    const { document, text } = await headscope("tasks", "sample", "linear-regression", ...args);
    for (const { inputs, targets, reference } of document.samples) {
      expect([inputs!.length, targets.length, reference!.length]).toEqual([6, 6, 6]);
      const posterior = new RidgePosterior(2, { sigma: 0.5, tau: 1 });
      inputs!.forEach((x, i) => {
        expect(x).toHaveLength(2);
        expect(reference![i]).toBe(posterior.predict(x));
        posterior.observe(x, targets[i]!);
      });
    }
    expect(text.match(/ridge says/g)).toHaveLength(12);
  });

  it("samples vectors with the query's label", async () => {
    const { document, text } = await headscope("tasks", "sample", "gaussian-classification", "--count", "1");
    const [sample] = document.samples;
    expect([sample!.inputs!.length, sample!.inputs![0]!.length]).toEqual([17, 128]);
    expect(sample!.targets).toHaveLength(1);
    expect(text).toMatch(new RegExp(`\\?\\s+-> label ${sample!.targets[0]}\\n4 of 8 pairs`));
  });

  it.each([
    [["show", "multi-kee"], /unknown task "multi-kee"; did you mean multi-key/],
    [["sample", "multi-key", "--param", "keys=0"], /keys/],
    [["sample", "inductoin"], /unknown task "inductoin"; did you mean induction/],
    [["sample", "induction", "--param", "contxt=9"], /unknown parameter "contxt".*context/],
    [["sample", "induction", "--param", "context=20"], /more than context 20; give a context of at least 64/],
    [["sample", "induction", "--count", "0"], /--count cannot be "0"/],
  ])("refuses %o in one line", async (args, line) => {
    await expect(headscope("tasks", ...args)).rejects.toMatchObject({
      kind: "usage",
      line: expect.stringMatching(line),
    });
  });
});
