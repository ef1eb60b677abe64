import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generate } from "../../../backend/inference/generate.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { idHaystack } from "../../../probes/haystack.ts";
import { needleTest } from "../../../probes/needle.ts";

describe("needle questions under policies", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel("toy-induction");
  });
  afterAll(() => model.dispose());
  const policies = [{ name: "streaming-llm", params: { budget: 16 } }];

  test("are answered from what is left of a prompt, the first token too", async () => {
    const [trial] = await needleTest(model, { lengths: [96], depths: [0.1], policies });
    expect(trial!.full.right).toBe(true);
    expect(trial!.masked!.right).toBe(false);
    expect(trial!.masked!.bytes).toBeLessThan(trial!.full.bytes);
    const { ids } = idHaystack(model, { tokens: 96, depth: 0.1 });
    const cut = { tokens: ids.slice(0, -1), lead: ids.slice(-1), policies, maxTokens: 4 };
    const written = await generate(model, cut);
    expect(trial!.masked!.text).toBe(written.ids.join(" "));
    // With the last token in the prompt its prediction would be full attention's.
    const whole = await generate(model, { ...cut, tokens: ids, lead: [] });
    expect(trial!.full.text.split(" ")[0]).toBe(String(whole.ids[0]));
    expect(written.ids[0]).not.toBe(whole.ids[0]);
  });

  test("are asked once where nothing is left out", async () => {
    const [trial] = await needleTest(model, { lengths: [96], depths: [0.5], policies: [] });
    expect(trial!.masked).toBeUndefined();
  });
});
