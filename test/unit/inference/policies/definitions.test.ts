import { describe, expect, it } from "vitest";
import { drawnInput, policyDefinitions } from "../../../helpers/oracles/policies.ts";

describe("definitions of policies", () => {
  it("have inputs that Random draws: the mean of razor-attention's dropped keys and values", () => {
    const { seed, sections } = policyDefinitions();
    const { inputs, parameters, key, value } = sections["razor-attention"]!;
    const { sinks, recent } = parameters as { sinks: number; recent: number };
    for (const [name, expected] of [
      ["k", key],
      ["v", value],
    ] as const) {
      const drawn = drawnInput(inputs[name]!, seed);
      const [heads, tokens, width] = inputs[name]!.shape as [number, number, number];
      const dropped = Array.from({ length: tokens - sinks - recent }, (_, i) => sinks + i);
      const mean = (head: number, channel: number): number =>
        dropped.reduce((sum, token) => sum + drawn[(head * tokens + token) * width + channel]!, 0) / dropped.length;
      for (let head = 0; head < heads; head++)
        for (let channel = 0; channel < width; channel++)
          expect(mean(head, channel)).toBeCloseTo((expected as number[][])[head]![channel]!, 6);
    }
  });
});
