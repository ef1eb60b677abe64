import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FamilyRow } from "../../../backend/cli/text/families-table.ts";
import type { ModelDocument } from "../../../backend/cli/text/model-info.ts";
import type { Verification } from "../../../backend/inference/verify.ts";
import { FAMILIES } from "../../../backend/models/families/index.ts";
import { buildCli, ROOT } from "../../helpers/cli.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { headscope } from "../../helpers/headscope.ts";

const checkpoint = (name: string): string => fixture(`families/${name}`);

let folder = "";
beforeAll(async () => {
  await buildCli();
  folder = await mkdtemp(join(tmpdir(), "headscope-cli-verify-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("models verify", () => {
  const verify = (name: string, ...rest: string[]) =>
    headscope(["models", "verify", checkpoint(name), "--against", checkpoint(name), ...rest]);

  test("shows how far a checkpoint is from another implementation", async () => {
    const run = await verify("gpt2", "--json");
    const found = run.json<Verification & { family: string }>();
    expect({ code: run.code, family: found.family, passed: found.passed }).toEqual({
      code: 0,
      family: "gpt2",
      passed: true,
    });
    expect(found.deviations.map(({ what }) => what)).toEqual([
      "logits",
      "attention of layer 1",
      "hidden state after layer 0",
    ]);
    expect(found.error).toBeLessThan(2e-4);
    expect(found.greedy.map(({ cached, tokens, agree }) => [cached, tokens, agree])).toEqual([
      [true, 12, 12],
      [false, 12, 12],
    ]);
  });

  test("ends with 1 when a number is further off than the tolerance, and prints which", async () => {
    const run = await verify("llama-gqa", "--tolerance", "0");
    expect(run.code).toBe(1);
    expect(run.stdout).toMatch(/logits +776 +\d\.\de-6/);
    expect(run.stdout).toContain("The greedy continuation with the cache is the oracle's (12 tokens).");
    expect(run.stderr).toContain("by more than 0");
  });

  test("finds weights that were changed", async () => {
    const changed = join(folder, "changed");
    await cp(checkpoint("llama-gqa"), changed, { recursive: true });
    const bytes = await readFile(join(changed, "model.safetensors"));
    bytes.writeFloatLE(3, bytes.length - 64);
    await writeFile(join(changed, "model.safetensors"), bytes);
    const run = await headscope(["models", "verify", changed, "--against", changed]);
    expect(run.code).toBe(1);
    expect(run.stdout).toContain("does not agree");
  });

  test("refuses an oracle of another shape, and a folder without one", async () => {
    await writeFile(join(folder, "oracle.json"), '{"ids": [[1, 2], [3]]}');
    const against = (where: string) => headscope(["models", "verify", checkpoint("gpt2"), "--against", where]);
    expect((await against(folder)).stderr).toContain("its rows of ids differ in length");
    const other = await against(join(folder, "nowhere"));
    expect({ code: other.code, stderr: other.stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("oracle"),
    });
  });
});

describe("models info", () => {
  test("tells family, sizes, features and memory without reading the weights", async () => {
    const info = (await headscope(["models", "info", checkpoint("gemma2"), "--json"])).json<ModelDocument>();
    expect(info).toMatchObject({ family: "gemma2", stored: ["F32"], bytes: { f32: 4 * info.parameters } });
    expect(info.features).toEqual(
      expect.arrayContaining(["window of 8 tokens in 1 of 2 layers", "logits capped at 30", "tied embeddings"]),
    );
    const text = (await headscope(["models", "info", checkpoint("gpt2")])).stdout;
    expect(text).toMatch(
      /features +learned positions, layer norm, MLP with gelu_new, biases everywhere, tied embeddings/,
    );
  });
});

describe("loading", () => {
  test("that can't fit is refused with the numbers, before anything is read", async () => {
    const run = await headscope(["models", "verify", checkpoint("gpt2"), "--against", checkpoint("gpt2")], {
      env: { HEADSCOPE_MEMORY: "0.1MB" },
    });
    expect(run.code).toBe(1);
    expect(run.stderr).toMatch(/needs \d MB to load in f32 \(\d MB of weights\), and 0 MB of memory are free/);
  });

  test("names an unknown switch of weight processing, and says why one does not apply", async () => {
    const file = join(folder, "tokens.json");
    await writeFile(file, "[[1, 2, 3]]");
    const generate = (switches: string) =>
      headscope(["generate", "--model", checkpoint("olmo2"), "--tokens-file", file, "--process", switches]);
    expect(await generate("fold_nl")).toMatchObject({ code: 2, stderr: expect.stringContaining("fold_ln") });
    const post = await generate("fold_ln");
    expect(post.code).toBe(1);
    expect(post.stderr).toContain("fold_ln does not apply: its norms stand behind attention and MLP");
  });
});

test("docs/families.md names every family and checkpoint, and each was measured within 2e-4", async () => {
  const page = await readFile(join(ROOT, "docs/families.md"), "utf8");
  const rows = (await headscope(["models", "families", "--json"])).json() as unknown as FamilyRow[];
  expect(rows.map(({ family }) => family)).toEqual(FAMILIES.map(({ name }) => name));
  for (const { family, safetensors } of rows) expect(page).toContain(`| ${family} | \`${safetensors[0]}\``);
  const measured = page.split("\n").filter((line) => /\d\.\de-\d/.test(line) && line.startsWith("|"));
  expect(measured.length).toBeGreaterThanOrEqual(FAMILIES.length - 1);
  for (const line of measured) {
    const errors = [...line.matchAll(/\| (\d\.\de-\d) /g)].map(([, error]) => Number(error));
    expect(Math.max(...errors)).toBeLessThan(2e-4);
    expect(line).toContain("| equal |");
  }
});
