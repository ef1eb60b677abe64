import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { Pipeline, type TokenizerDocument } from "../../../../backend/models/tokenizers/pipeline.ts";
import { fixture } from "../../../helpers/fixtures.ts";

/** By test/oracles/tokenizer_steps.py: hostile texts, and what Rust's tokenizers make of them by each step. */
interface Steps {
  readonly chunk: number;
  readonly texts: readonly string[];
  /** Ids for the decoders. */
  readonly rows: readonly number[][];
  readonly models: Readonly<Record<string, object>>;
  readonly cases: readonly (TokenizerDocument & {
    readonly name: string;
    readonly model: string;
    /** Digest of the ids of each hundred texts; absent where `rows` are decoded. */
    readonly ids?: readonly string[];
    /** Digest of the decoded texts of each hundred, with special tokens and without; absent for steps before the model. */
    readonly texts?: readonly string[];
  })[];
}

const file = fixture("tokenizers/steps.json.gz");
const steps: Steps = JSON.parse(gunzipSync(readFileSync(file)).toString("utf8"));

function digests(rows: readonly unknown[]): string[] {
  const chunks = Array.from({ length: Math.ceil(rows.length / steps.chunk) }, (_, chunk) =>
    rows.slice(chunk * steps.chunk, (chunk + 1) * steps.chunk),
  );
  return chunks.map((chunk) => createHash("sha256").update(JSON.stringify(chunk)).digest("hex").slice(0, 12));
}

describe("steps of tokenizer.json on hostile texts", () => {
  test("there are at least 2,000 texts", () => {
    expect(steps.texts.length).toBeGreaterThan(2000);
  });

  test.each(steps.cases.map((step) => [step.name.slice(0, 100), step] as const))(
    "%s gives the ids and texts of Rust's tokenizers",
    (_, { model, ids, texts, name: __, ...document }) => {
      const pipeline = new Pipeline({ ...document, model: steps.models[model] });
      const rows = ids === undefined ? steps.rows : steps.texts.map((text) => pipeline.encode(text));
      if (ids !== undefined) expect(digests(rows)).toEqual(ids);
      if (texts === undefined) return;
      const decoded = rows.map((row) => [pipeline.decode(row, false), pipeline.decode(row, true)]);
      expect(digests(decoded)).toEqual(texts);
    },
  );
});
