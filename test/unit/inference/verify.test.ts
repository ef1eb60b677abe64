import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verifyModel } from "../../../backend/inference/verify.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { readOracle } from "../../../backend/models/oracle.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { functions } from "../../../backend/runtime/capture.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { failure } from "../../helpers/errors.ts";
import { fixture } from "../../helpers/fixtures.ts";

beforeAll(() => initBackend());
afterAll(() => functions.clear());

const folder = (name: string): string => fixture(`families/${name}`);

async function withOracle<T>(document: unknown, use: (folder: string) => Promise<T>): Promise<T> {
  const where = await mkdtemp(join(tmpdir(), "headscope-oracle-"));
  try {
    await writeFile(join(where, "oracle.json"), JSON.stringify(document));
    return await use(where);
  } finally {
    await rm(where, { recursive: true });
  }
}

describe("verifying a model", () => {
  it("says where the worst number is, and how many tokens of the continuation agree", async () => {
    const before = tf.memory().numTensors;
    const oracle = await readOracle(folder("llama-gqa"));
    const model = await loadModel(folder("llama-gqa"));
    const hidden = oracle.hidden!.map((value, i) => (i === 5 ? value + 0.5 : value));
    const { prompt, continuation } = oracle.greedy!;
    const wrong = continuation.map((id, i) => (i === 4 ? id + 1 : id));
    const found = await verifyModel(
      model,
      { ...oracle, hidden, greedy: { prompt, continuation: wrong } },
      { tolerance: 2e-4 },
    );
    const deviation = found.deviations.find(({ what }) => what === "hidden state after layer 0")!;
    expect(deviation).toMatchObject({ at: [5], compared: 32 });
    expect(deviation.error).toBeCloseTo(0.5, 4);
    expect(found.greedy.map(({ agree }) => agree)).toEqual([4, 4]);
    expect(found.passed).toBe(false);
    expect((await verifyModel(model, oracle, { tolerance: 2e-4 })).passed).toBe(true);
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("of a bfloat16 checkpoint held in bfloat16 gives what float32 gives", async () => {
    const oracle = await readOracle(folder("mistral-window"));
    const model = await loadModel(folder("mistral-window"), { weights: "bf16" });
    const found = await verifyModel(model, oracle, { tolerance: 2e-4 });
    expect(found.passed).toBe(true);
    model.dispose();
  });

  it("refuses an oracle of another model", async () => {
    const model = await loadModel(folder("gpt2"));
    const other = { ...(await readOracle(folder("gpt2"))), hidden: [1, 2, 3] };
    const error = await failure(() => verifyModel(model, other, { tolerance: 1 }));
    expect(error.message).toContain("hidden state after layer 0 is for [3], and the model gives [32]");
    model.dispose();
  });
});

describe("an oracle", () => {
  const REFUSED: [string, unknown, RegExp][] = [
    ["no ids", { logits: [] }, /ids/],
    ["ids that are no numbers", { ids: [["a"]] }, /ids\.0\.0/],
    [
      "logits for other rows",
      { ids: [[1, 2]], logits: [], logit_positions: [0] },
      /not \[1 rows, 1 positions, d_vocab\]/,
    ],
    ["a continuation of something else", { ids: [[1, 2]], greedy: [2, 1] }, /not the beginning of the first row/],
  ];
  it.each(REFUSED)("with %s is refused, naming the file", async (_, document, why) => {
    await withOracle(document, async (where) => {
      const error = await failure(() => readOracle(where));
      expect(error.kind).toBe("corrupt");
      expect(error.message).toContain(join(where, "oracle.json"));
      expect(error.message).toMatch(why);
    });
  });
});
