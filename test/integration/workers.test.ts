import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GenerateResult } from "../../backend/common/api/generation.ts";
import type { AblateResult } from "../../backend/common/api/interventions.ts";
import type { Prompt } from "../../backend/common/api/prompts.ts";
import { Worker } from "../../backend/jobs/client.ts";
import type { JobResults } from "../../backend/jobs/kinds/index.ts";
import { readSafetensors } from "../../backend/models/formats/safetensors/safetensors.ts";
import { openStore } from "../../backend/store/store.ts";
import type { Reply } from "../../backend/workers/handler.ts";
import { buildCli } from "../helpers/cli.ts";
import { headscope } from "../helpers/headscope.ts";
import { apart, tensorOf } from "../helpers/processes/workers.ts";
import { havePulled } from "../helpers/smollm2.ts";

// A real worker on the model whose weights are written by hand, beside the command line.
const TOY = "toy-induction";
const half = [17, 5, 99, 42, 3, 64, 28, 7];
const ids = [0, ...half, ...half.slice(0, 5)];

let folder = "";
let worker: Worker;
let tokens = "";
beforeAll(async () => {
  await buildCli();
  folder = await mkdtemp(join(tmpdir(), "headscope-workers-"));
  tokens = join(folder, "tokens.json");
  await writeFile(tokens, JSON.stringify([ids]));
  worker = new Worker({ environment: { HEADSCOPE_HOME: folder } });
});
afterAll(async () => {
  await worker.close();
  await rm(folder, { recursive: true, force: true });
});

/** The JSON that a command prints. */
async function printed<T>(args: readonly string[]): Promise<T> {
  const run = await headscope([...args, "--model", TOY, "--json"], { env: { HEADSCOPE_HOME: folder } });
  expect(run.stderr).toBe("");
  return run.json<T>();
}

const prompt = ["--tokens-file"];

describe("what a worker answers is what the command line prints", () => {
  test("of a pattern", async () => {
    const { value: told } = await worker.exchange<Prompt>("prompt", { model: TOY, tokens: ids });
    expect(told.tokens).toEqual(ids.map(String));
    const hook = "blocks.1.attn.hook_pattern";
    const { value, body } = await worker.exchange("patterns", { model: TOY, ids, layer: 1, slice: {} });
    const out = join(folder, "pattern.safetensors");
    await printed(["forward", ...prompt, tokens, "--names", hook, "--out", out]);
    const { tensors } = await readSafetensors(out);
    const written = tensors.get(hook)!;
    const found = tensorOf({ value, body } as Reply);
    expect([1, ...found.shape]).toEqual(written.shape);
    expect(apart(found.values, written.data as Float32Array)).toBeLessThan(1e-6);
    // The induction head attends from each token of the second copy to what followed it in the first.
    const head = found.values.slice(14 * 14);
    expect(head[10 * 14 + 3]).toBeGreaterThan(0.8);
  });

  test.each([["zero"], ["mean"], ["resample"]])("of an ablation by %s", async (method) => {
    const request = { model: TOY, rows: [ids], heads: ["1.1"], method, controls: 2, seed: 4 };
    const answer = await worker.request<AblateResult>("ablate", request);
    const document = await printed<AblateResult>(
      ["ablate", ...prompt, tokens, "--heads", "1.1", "--method", method, "--controls", "2", "--seed", "4"], // biome-ignore format: a line
    );
    expect(answer.reference).toBe(document.reference);
    expect(answer.control!.draws.map(({ heads }) => heads)).toEqual(document.control!.draws.map(({ heads }) => heads));
    expect(apart(answer.ablated.nll[0]!, document.ablated.nll[0]!)).toBeLessThan(1e-4);
    expect(apart(answer.clean.nll[0]!, document.clean.nll[0]!)).toBeLessThan(1e-4);
  });

  test("of a generation without the induction head", async () => {
    const request = { model: TOY, tokens: ids, maxTokens: 3 };
    const full = await worker.request<GenerateResult>("generate", request);
    expect(full.ids).toEqual(half.slice(5));
    const answer = await worker.request<GenerateResult>("generate", { ...request, ablate: ["1.1"] });
    const args = ["generate", ...prompt, tokens, "--max-tokens", "3", "--ablate", "1.1"];
    const document = await printed<GenerateResult>(args);
    expect(answer.ids).toEqual(document.ids);
    expect(answer.ids).not.toEqual(full.ids);
  });

  test("of needle questions", async () => {
    const job = { kind: "needle", model: TOY, lengths: [40], depths: [0.2, 0.8], needles: 2, seed: 1 };
    const answer = await worker.request<JobResults["needle"]>("needle", job);
    const args = ["needle", "--lengths", "40", "--depths", "0.2,0.8", "--needles", "2", "--seed", "1"];
    const document = await printed<JobResults["needle"]>(args);
    const timeless = ({ trials }: JobResults["needle"]) =>
      trials.map(({ full: { prefillMs: _, decodeMsPerToken: __, ...full }, ...trial }) => ({ ...trial, full }));
    expect(timeless(answer)).toEqual(timeless(document));
    expect(answer.trials.every(({ full }) => full.right)).toBe(true);
  });
});

test("needle questions as text, and what they refuse", async () => {
  const run = (...args: string[]) => headscope(["needle", "--model", TOY, ...args]);
  const text = (await run("--lengths", "40,80", "--needles", "2")).stdout;
  expect(text).toMatch(/length\s+depth\s+right\n\s+40\s+0\.5\s+2 of 2\n\s+80\s+0\.5\s+2 of 2\n/);
  const refusals = [
    [["--lengths", "40,x"], '--lengths cannot be "x"; give numbers from 1, with commas between'],
    [["--lengths", "40.5"], "--lengths cannot be 40.5; give whole numbers of tokens"],
    [["--lengths", "40", "--depths", "1.5"], '--depths cannot be "1.5"; give numbers from 0 to 1'],
  ] as const;
  for (const [args, line] of refusals) {
    const { code, stderr } = await run(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(line);
  }
});

test("an experiment that is cancelled keeps its runs, and goes on from there", async () => {
  const params = { seeds: [0], steps: 200, points: 20, d_model: 16, n_heads: 2, evaluation_rows: 16, batch: 4 };
  const job = { kind: "experiment", name: "induction-emergence", preset: "quick", params };
  const stop = new AbortController();
  let progress = 0;
  const onEvent = (event: unknown) => {
    progress = (event as { done: number }).done;
    if (progress > 0) stop.abort();
  };
  await expect(worker.request("experiment", job, { signal: stop.signal, onEvent })).rejects.toMatchObject({ kind: "cancelled" });
  const runs = () => {
    const store = openStore({ folder });
    try {
      return store.runs().map(({ id, status, step }) => ({ id, status, step }));
    } finally {
      store.close();
    }
  };
  const [stopped] = runs();
  expect(stopped).toMatchObject({ status: "cancelled" });
  expect(await worker.request("experiment", job)).toEqual({ experiment: "induction-emergence", preset: "quick", report: expect.stringMatching(/^induction-emergence-quick-/) });
  // The same run was trained further; the model of one layer came after it.
  expect(runs()[0]).toEqual({ id: stopped!.id, status: "done", step: 200 });
}); // biome-ignore format: long lines

test.skipIf(!havePulled)("a cancel is heard within a long prompt, and the worker goes on", async () => {
  const model = "smollm2-135m";
  const short = await worker.request<Prompt>("prompt", { model, text: "The cat sat" });
  expect(short.next[0]!.text).toMatch(/^ /);
  const { pid } = worker;
  const long = Array.from({ length: 3000 }, (_, i) => 100 + ((i * 7919) % 40_000));
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 300);
  await expect(worker.request("prompt", { model, tokens: long }, { signal: stop.signal })).rejects.toMatchObject({
    kind: "cancelled",
  });
  expect(worker.pid).toBe(pid);
  expect((await worker.request<Prompt>("prompt", { model, text: "The cat sat" })).id).toBe(short.id);
});
