import { describe, expect, test } from "vitest";
import type { Costs } from "../../backend/inference/cost/costs.ts";
import { commandFolder, expectLine } from "../helpers/cli.ts";
import { fixture } from "../helpers/fixtures.ts";
import { headscope } from "../helpers/headscope.ts";
import { kernelsHere } from "../helpers/kernels/here.ts";

const { at, file } = commandFolder();
/** Three layers of four heads on two KV heads of 16, 1024 positions. */
const MODEL = fixture("policies/llama");
const cost = (...args: string[]) => headscope(["cost", "--model", MODEL, ...args]);

test("costs are predicted by device, length and policies, full attention first", async () => {
  const policy = ["--policy", "snapkv,tova+quest", "--param", "snapkv.ratio=0.75", "--param", "snapkv.window=8"];
  const run = await cost(
    "--tokens",
    "128,512",
    "--device",
    "a100,raspberry-pi-5",
    "--new-tokens",
    "1",
    ...policy,
    "--json",
  );
  const { rows, devices } = run.json() as Costs;
  expect(devices.map(({ name }) => name)).toEqual(["a100", "raspberry-pi-5"]);
  expect(
    rows.map(({ device, tokens, policies }) => [device, tokens, policies.map(({ name }) => name).join("+")]),
  ).toEqual(
    ["a100", "raspberry-pi-5"].flatMap((name) =>
      [128, 512].flatMap((tokens) => ["", "snapkv", "tova+quest"].map((names) => [name, tokens, names])),
    ),
  );
  const [full, snap] = rows;
  // 3 layers, 2 heads, a key and a value of 16 numbers in half precision: 384 bytes a token, of which a quarter stays.
  expect([full!.cacheBytes, snap!.cacheBytes]).toEqual([128 * 384, 32 * 384]);
  expect(snap!.policies[0]!.params).toMatchObject({ ratio: 0.75, window: 8 });
});

test("the table for people names the device and where its figures are from", async () => {
  const { stdout } = await cost("--tokens", "512", "--device", "h100", "--weights", "f32");
  expect(stdout).toContain("NVIDIA H100 80 GB (SXM)");
  expect(stdout).toContain("Source: NVIDIA H100 data sheet.");
  expect(stdout).toMatch(/full attention +512 /);
});

test("this machine is measured where it has kernels, and refused where it has none", async () => {
  const { ready } = await kernelsHere();
  const run = await cost("--tokens", "64", "--new-tokens", "8", "--json");
  if (!ready) return expectLine(run, 1, /this machine can't be measured: it has no native kernels/);
  const { devices, rows } = run.json() as Costs;
  expect(devices[0]!.rates.keys).toBeGreaterThan(1e6);
  expect(rows[0]!.weights).toBe("f32");
  for (const { prefill, decode } of rows)
    for (const { seconds } of [prefill, decode]) expect(seconds).toBeGreaterThan(0);
});

describe("what cannot be is refused before anything is read or measured", () => {
  const mask = () =>
    file("mask.json", {
      format: "headscope.head-mask/1",
      model: { ref: "other", layers: 2, heads: 4, kvHeads: 2 },
      kvHeads: [
        ["retrieval", "streaming"],
        ["retrieval", "streaming"],
      ],
    });
  test.each<[string, () => string[], RegExp]>([
    [
      "an unknown device",
      () => ["--tokens", "64", "--device", "a10"],
      /unknown device "a10"; devices are here, a100, h100/,
    ],
    ["too many tokens", () => ["--tokens", "1000"], /1,000 tokens and 128 new ones are beyond the 1024 positions of/],
    ["no tokens", () => ["--tokens", "0"], /--tokens cannot be "0"/],
    [
      "an unknown policy",
      () => ["--tokens", "64", "--policy", "snapvk"],
      /unknown policy "snapvk"; did you mean snapkv/,
    ],
    [
      "two of a kind",
      () => ["--tokens", "64", "--policy", "snapkv+tova"],
      /snapkv and tova can't go together: each chooses the tokens/,
    ],
    [
      "a budget below what stays",
      () => ["--tokens", "64", "--policy", "snapkv", "--param", "budget=16"],
      /a budget of 16 tokens is below the 64/,
    ],
    [
      "a prompt below what stays",
      () => ["--tokens", "100", "--policy", "snapkv"],
      /snapkv would keep 50 of the prompt's 100 tokens/,
    ],
    [
      "a mask of another model",
      () => ["--tokens", "64", "--policy", "duo-attention", "--param", `mask=${mask()}`],
      /is for other \(2 layers/,
    ],
    [
      "a parameter of nobody",
      () => ["--tokens", "64", "--param", "ratio=0.5"],
      /parameter ratio does not say whose it is; leave it out/,
    ],
  ])("%s", async (_, args, line) => {
    const run = await cost(...args());
    expect(run.stdout).toBe("");
    expect([1, 2]).toContain(run.code);
    expectLine(run, run.code!, line);
  });
});

test("a model that is not there is named", async () => {
  expectLine(await headscope(["cost", "--model", at("none.gguf"), "--tokens", "64"]), 1, /none\.gguf/);
});
