import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { policyOracle } from "../../../helpers/oracles/policies.ts";
import { expectCase, policyCases, writeGates } from "../../../helpers/oracles/policy-cases.ts";

await kernelsHere();
const oracle = policyOracle("llama");
const folder = mkdtempSync(join(tmpdir(), "headscope-policies-"));
let gates: string;
let model: Model;

beforeAll(async () => {
  model = await loadModel(fixture("policies/llama"));
  gates = await writeGates(folder, model, oracle.shape);
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe("policies keep what kvpress keeps and go on as it does", () => {
  it.each(policyCases(oracle))("$name", ({ each }) => expectCase(model, oracle, each, gates));
});
