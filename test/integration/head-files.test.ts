import { existsSync, readFileSync } from "node:fs";
import { copyFile, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { commandFolder, expectLine } from "../helpers/cli.ts";
import { fixture } from "../helpers/fixtures.ts";
import { headscope } from "../helpers/headscope.ts";

const { at, file } = commandFolder();

/** A checkpoint of three layers with four heads on two KV heads. */
const MODEL = fixture("policies/llama");

describe("sparse patterns", () => {
  const entry = ["vertical_and_slash", 30, 800, 0.5];
  const list = Array.from({ length: 3 }, () => ({ 0: entry, 1: entry, 2: entry, 3: ["stream_llm", 1, 2, 0.25] }));

  test("of MInference come in, and go out as they came", async () => {
    const path = file("minference.json", list);
    const read = await headscope(["import", "minference", path, "--model", MODEL, "--out", at("patterns.json")]);
    expect(read).toMatchObject({ code: 0 });
    expect(read.stdout).toContain("vertical_and_slash  30 columns, 800 diagonals  9");
    const out = ["--out", at("again.json"), "--json"];
    const run = await headscope(["export", "minference", "--patterns", at("patterns.json"), "--model", MODEL, ...out]);
    expect(run.json()).toMatchObject({ format: "minference", path: at("again.json") });
    expect(JSON.parse(readFileSync(at("again.json"), "utf8"))).toEqual(list);
  });

  test("are refused for another model, for Qwen-1M with stream_llm, and where scores are wanted", async () => {
    const path = file("short.json", list.slice(1));
    const into = ["--model", MODEL, "--out", at("none.json")];
    expectLine(
      await headscope(["import", "minference", path, ...into]),
      1,
      /short\.json has 2 layers, expected 3 of 4/,
    );
    await copyFile(at("patterns.json"), at("kept.json"));
    const qwen = ["export", "qwen-1m", "--patterns", at("kept.json"), "--out", at("qwen")];
    expectLine(await headscope(qwen), 1, /head 0\.3 is stream_llm, and 2 more .*; search again among/);
    const csv = ["export", "csv", "--patterns", at("kept.json"), "--out", at("none.csv")];
    expectLine(await headscope(csv), 2, /export csv was given patterns; give --scores or --mask/);
    for (const name of ["none.json", "qwen", "none.csv"]) expect(existsSync(at(name))).toBe(false);
  });
});

test("HeadKV's lists of trials become scores of query heads", async () => {
  const lists = Object.fromEntries(
    Array.from({ length: 12 }, (_, i) => [`${Math.floor(i / 4)}-${i % 4}`, [i / 10, i / 10 + 0.2]]),
  );
  await writeFile(at("headkv-trials.json"), JSON.stringify(lists));
  const run = await headscope([
    ...["import", "headkv", at("headkv-trials.json"), "--model", MODEL, "--out", at("headkv.json"), "--json"],
  ]);
  const { probe, metrics } = run.json() as { probe: string; metrics: Record<string, { values: number[][] }> };
  expect(probe).toBe("retrieval-reasoning");
  expect(metrics["retrieval-reasoning"]!.values[2]![3]).toBeCloseTo(1.2, 12);
});
