import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { commandFolder, spawnHeadscope } from "../../helpers/cli.ts";

const { at } = commandFolder();

describe("start", () => {
  test("without pip it names the model that stands in, and does the job with it", async () => {
    const run = await spawnHeadscope(["start", "--no-serve", "--json", "--out", at("start")], {
      cwd: at(""),
      env: {
        XDG_CACHE_HOME: at("cache"),
        PATH: at("no-programs"),
        HEADSCOPE_BACKEND: "wasm",
        HEADSCOPE_HOME: at("data"),
      },
    });
    expect(run.stderr.trim()).toMatch(
      /^headscope: smollm2-135m can't be had \(.*\); going on with toy-induction, a model built in memory$/m,
    );
    expect(run.code).toBe(0);
    const summary = run.json<{
      training: { run: string; ablations: { without: string; loss: number }[] };
      model: { ref: string };
      top: Record<string, { head: string }[]>;
      ablation: { heads: string[] };
    }>();
    const { training } = summary;
    expect(training.run).toBe("induction-1");
    const [whole, without] = ["", "induction heads"].map((w) => training.ablations.find((a) => a.without === w)!.loss);
    expect(without! - whole!).toBeGreaterThan(1);
    expect(summary.model.ref).toBe("toy-induction");
    expect(summary.top["induction"]![0]!.head).toBe("1.1");
    expect(summary.ablation.heads).toEqual(["1.1"]);
    for (const name of [
      "induction.json",
      "retrieval.json",
      "mask.json",
      "duo-attention/full_attention_heads.tsv",
      "summary.json",
    ])
      expect({ name, there: existsSync(join(at("start"), name)) }).toEqual({ name, there: true });
  });
});
