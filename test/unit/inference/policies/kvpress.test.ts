import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { createScores, writeScores } from "../../../../backend/heads/files.ts";
import { generate, readPrefix } from "../../../../backend/inference/generate.ts";
import { policies } from "../../../../backend/inference/policies/index.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { keptLists, type PolicyCase, policyOracle } from "../../../helpers/oracles/policies.ts";

await kernelsHere();
const oracle = policyOracle("llama");
const { layers, kvHeads } = oracle.shape;
const TOLERANCE = 1e-3;
const folder = mkdtempSync(join(tmpdir(), "headscope-policies-"));
const gates = join(folder, "gates.json");
let model: Model;

beforeAll(async () => {
  model = await loadModel(fixture("policies/llama"));
  const all = layers * kvHeads;
  const values = Array.from({ length: layers }, (_, l) =>
    Array.from({ length: kvHeads }, (_, g) => ((37 * (l * kvHeads + g) + 11) % all) / all),
  );
  const metrics = { gate: { axis: "kvHeads" as const, values } };
  await writeScores(gates, createScores({ model: headModel(model), probe: "gates", params: {}, metrics }));
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const title = ({ prompt, policy, parameters, question }: PolicyCase) =>
  `${policy} ${Object.entries(parameters)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ")} on the ${prompt} prompt${question ? `, then ${question} tokens` : ""}`;

/** A case's policy as headscope takes it. */
function requestOf({ policy, parameters }: PolicyCase) {
  const params = policy === "duo-attention" ? { gates, when: "prefill", ...parameters } : parameters;
  return { name: policy, params };
}

/** Positions of a prompt that differ between two choices, without those whose scores are too near to tell. */
function differing(found: number[][][], expected: number[][][], { near = [] }: PolicyCase): string[] {
  const open = new Set(near.map((place) => place.join(".")));
  return expected.flatMap((heads, layer) =>
    heads.flatMap((positions, head) => {
      const [a, b] = [new Set(found[layer]![head]), new Set(positions)];
      const apart = [...a].filter((p) => !b.has(p)).concat([...b].filter((p) => !a.has(p)));
      return apart.map((p) => `${layer}.${head}.${p}`).filter((place) => !open.has(place));
    }),
  );
}

const cases = oracle.cases.filter(
  ({ policy, parameters }) =>
    policies.names().includes(policy) &&
    policy !== "random" && // whose numbers are PyTorch's
    parameters["pattern"] === undefined &&
    parameters["rerotate"] === undefined,
);

describe("policies keep what kvpress keeps and go on as it does", () => {
  it.each(cases.map((each) => ({ name: title(each), each })))("$name", async ({ each }) => {
    const { ids, vocabulary } = oracle.prompts[each.prompt]!;
    const { question = 0, margin, tokens } = each;
    const own = [requestOf(each)];
    const length = ids.length - question;
    const prefix = question > 0 ? await readPrefix(model, { tokens: ids.slice(0, length), policies: own }) : undefined;
    const second: Float32Array[] = [];
    const result = await generate(model, {
      ...(prefix ? { prefix, tokens: ids.slice(length) } : { tokens: ids, policies: own }),
      maxTokens: tokens.length,
      stop: [],
      onStep: ({ logits }, step) => {
        if (step === (question > 0 ? 0 : 1)) second.push(logits!.dataSync().slice() as Float32Array);
      },
    });
    prefix?.dispose();
    const { kept, after } = each;
    const turned = (each.near ?? []).length > 0;
    if (kept !== undefined) {
      const prompt = result.cache.kept!.map((heads) => heads.map((positions) => positions.filter((p) => p < length)));
      expect(differing(prompt, keptLists(kept, oracle.shape, length), each)).toEqual([]);
    } else {
      const all = ids.length + tokens.length - 1;
      expect(differing(result.cache.kept!, keptLists(after!.kept, oracle.shape, all), each)).toEqual([]);
    }
    if (turned) return;
    const logits = second[0]!;
    expect(Math.max(...each.logits.map((value, i) => Math.abs(value - logits[vocabulary[i]!]!)))).toBeLessThan(
      TOLERANCE,
    );
    if (margin > TOLERANCE) expect(result.ids).toEqual(tokens);
  });
});
