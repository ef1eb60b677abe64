import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { headModel } from "../../../backend/common/heads/model.ts";
import { createScores, writeScores } from "../../../backend/heads/files.ts";
import { generate, readPrefix } from "../../../backend/inference/generate.ts";
import { policies as registered } from "../../../backend/inference/policies/index.ts";
import type { Model } from "../../../backend/models/model.ts";
import { fixture } from "../fixtures.ts";
import { keptLists, type PolicyCase, type PolicyOracle } from "./policies.ts";

/** Distance of logits, and margin between the best two from which on a token binds. */
const TOLERANCE = 1e-3;

/**
 * Writes score files of gates: those that the cases of duo-attention are run with, and those of the folder of `pattern` cases.
 * @returns the parameters of either
 */
export async function writeGates(folder: string, model: Model, { layers, kvHeads }: PolicyOracle["shape"]) {
  const all = layers * kvHeads;
  const gate = (i: number): number => ((37 * i + 11) % all) / all;
  const drawn = Array.from({ length: layers }, (_, l) =>
    Array.from({ length: kvHeads }, (_, g) => gate(l * kvHeads + g)),
  );
  const pattern = readFileSync(join(fixture("policies/duo"), "full_attention_heads.tsv"), "utf8");
  const read = pattern.trim().split("\n").map((row) => row.split("\t").map(Number)); // biome-ignore format: a table
  const write = async (name: string, values: number[][]): Promise<string> => {
    const metrics = { gate: { axis: "kvHeads" as const, values } };
    const path = join(folder, name);
    await writeScores(path, createScores({ model: headModel(model), probe: "gates", params: {}, metrics }));
    return path;
  };
  const {
    sink_size: sinks,
    recent_size: recent,
    threshold,
  } = JSON.parse(readFileSync(join(fixture("policies/duo"), "config.json"), "utf8")) as Record<string, number>;
  const fits = read.length === layers && read[0]!.length === kvHeads;
  return {
    drawn: { gates: await write("gates.json", drawn) },
    pattern: fits ? { gates: await write("pattern.json", read), sinks, recent, threshold } : {},
  };
}

/** The cases of policies that headscope has, each with a title; not of random, whose numbers are PyTorch's. */
export function policyCases({ cases }: PolicyOracle): { name: string; each: PolicyCase }[] {
  const own = cases.filter(({ policy }) => policy.split(",").every((name) => registered.names().includes(name)) && policy !== "random"); // biome-ignore format: one condition
  return own.map((each) => ({ name: title(each), each }));
}

function title({ prompt, policy, parameters, question }: PolicyCase): string {
  const words = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
  return `${policy} ${words.join(" ")} on the ${prompt} prompt${question ? `, then ${question} tokens` : ""}`;
}

/** Runs a case: kept positions are the oracle's; logits and tokens too, where no position was too near to tell. */
export async function expectCase(
  model: Model,
  oracle: PolicyOracle,
  each: PolicyCase,
  gates: Awaited<ReturnType<typeof writeGates>>,
): Promise<void> {
  const { ids, vocabulary } = oracle.prompts[each.prompt]!;
  const { policy, parameters, question = 0, margin, tokens, kept, after, near = [] } = each;
  const { pattern, ...rest } = parameters;
  const own = pattern === undefined ? gates.drawn : gates.pattern;
  const params = policy === "duo-attention" ? { ...own, when: "prefill", ...rest } : parameters;
  const policies = policy.split(",").map((name, _, { length }) => ({ name, params: length > 1 ? partOf(params, name) : params })); // biome-ignore format: one call
  const length = ids.length - question;
  const prefix = question > 0 ? await readPrefix(model, { tokens: ids.slice(0, length), policies }) : undefined;
  const steps: Float32Array[] = [];
  const result = await generate(model, {
    ...(prefix ? { prefix, tokens: ids.slice(length) } : { tokens: ids, policies }),
    maxTokens: tokens.length,
    stop: [],
    onStep: ({ logits }) => void steps.push(logits!.dataSync().slice() as Float32Array),
  });
  prefix?.dispose();
  const channels = policy === "think" ? kept : each.channels;
  if (channels) expect(result.cache.channels).toEqual(keptLists(channels, oracle.shape, oracle.shape.dHead));
  const found = result.cache.kept!;
  if (policy === "think") {
    expect(found).toBe(undefined);
  } else if (kept === undefined) {
    const all = ids.length + tokens.length - 1;
    expect(differing(found, keptLists(after!.kept, oracle.shape, all), near)).toEqual([]);
  } else {
    const prompt = found.map((heads) => heads.map((positions) => positions.filter((p) => p < length)));
    expect(differing(prompt, keptLists(kept, oracle.shape, length), near)).toEqual([]);
  }
  if (near.length > 0) return;
  const logits = steps[question > 0 ? 0 : 1]!;
  const furthest = Math.max(...each.logits.map((value, i) => Math.abs(value - logits[vocabulary[i]!]!)));
  expect(furthest).toBeLessThan(TOLERANCE);
  if (margin > TOLERANCE) expect(result.ids).toEqual(tokens);
}

/** The parameters of one policy of several, which stand behind its name. */
function partOf(params: Record<string, unknown>, name: string): Record<string, unknown> {
  const own = Object.entries(params).filter(([key]) => key.startsWith(`${name}.`));
  return Object.fromEntries(own.map(([key, value]) => [key.slice(name.length + 1), value]));
}

/** Places that only one of two choices keeps, without those whose scores are too near to tell. */
function differing(found: number[][][], expected: number[][][], near: NonNullable<PolicyCase["near"]>): string[] {
  const open = new Set(near.map((place) => place.join(".")));
  return expected.flatMap((heads, layer) =>
    heads.flatMap((positions, head) => {
      const [a, b] = [new Set(found[layer]![head]), new Set(positions)];
      const apart = [...a].filter((p) => !b.has(p)).concat([...b].filter((p) => !a.has(p)));
      return apart.map((p) => `${layer}.${head}.${p}`).filter((place) => !open.has(place));
    }),
  );
}
