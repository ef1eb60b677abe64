import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { Model } from "../../backend/models/model.ts";
import { kernelsHere } from "../helpers/kernels/here.ts";
import { policyOracle } from "../helpers/oracles/policies.ts";
import { expectCase, policyCases, writeGates } from "../helpers/oracles/policy-cases.ts";
import { havePulled, loadSmollm2, onSmolLm2 } from "../helpers/smollm2.ts";

describe.skipIf(!havePulled)(onSmolLm2("policies on SmolLM2 keep what kvpress keeps and go on as it does"), () => {
  const oracle = policyOracle("smollm2");
  const folder = mkdtempSync(join(tmpdir(), "headscope-policies-"));
  let gates: string;
  let model: Model;

  beforeAll(async () => {
    await kernelsHere();
    model = await loadSmollm2();
    gates = await writeGates(folder, model, oracle.shape);
  });
  afterAll(() => {
    model.dispose();
    rmSync(folder, { recursive: true });
  });

  it.each(policyCases(oracle))("$name", ({ each }) => expectCase(model, oracle, each, gates));
});
