import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headModel } from "../../backend/common/heads/model.ts";
import type { HeadScores } from "../../backend/common/heads/scores.ts";
import { exportHeads, scoresImporter } from "../../backend/exports/index.ts";
import { createScores, writeScores } from "../../backend/heads/files.ts";
import { generate } from "../../backend/inference/generate.ts";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { initBackend } from "../../backend/runtime/backend.ts";
import { fixture } from "../helpers/fixtures.ts";
import { havePulled, loadSmollm2, onSmolLm2, oracle } from "../helpers/smollm2.ts";

/** Distance of logits, and margin between the best two from which on a token binds. */
const TOLERANCE = 1e-3;
/** Folder in which test/oracles/kvpress_folder.py is to read the exported folders; without it they go to a temporary one. */
const out = process.env["HEADSCOPE_FOLDERS_OUT"];

/** What kvpress did on a folder; the header of test/oracles/kvpress_folder.py describes it. */
interface FolderOracle {
  readonly sha256: Readonly<Record<string, string>>;
  readonly window: { readonly sink: number; readonly recent: number };
  readonly prompts: Readonly<Record<string, { readonly ids: number[] }>>;
  readonly cases: readonly FolderCase[];
}
interface FolderCase {
  readonly prompt: string;
  readonly ratio: number;
  readonly streaming: [layer: number, head: number][];
  readonly first: Top;
  readonly second: Top;
  readonly tokens: number[];
  readonly margin: number;
}
interface Top {
  readonly vocabulary: number[];
  readonly logits: number[];
}

/** Scores that the folders are exported from, and their window. */
const SOURCES = {
  /** Six gates, two of them outside [0, 1]. */
  llama: () => ({
    scores: createScores({
      model: { ref: "llama", layers: 3, heads: 4, kvHeads: 2 },
      probe: "gates",
      params: {},
      metrics: { gate: { axis: "kvHeads", values: [[0.31, 1.02], [-0.01, 0.87], [0.125, 0.6]] } }, // biome-ignore format: a table
    }),
    window: { sink: 4, recent: 16 },
  }),
  /** Induction scores of query heads as PyTorch found them, by KV head the best of a group. */
  smollm2: () => {
    const { repeated } = oracle<{ repeated: { metrics: { induction: { values: number[][] } } } }>("probes");
    return {
      scores: createScores({
        model: { ref: "smollm2-135m", layers: 30, heads: 9, kvHeads: 3 },
        probe: "induction",
        params: {},
        metrics: { induction: { axis: "heads", values: repeated.metrics.induction.values } },
      }),
      window: { sink: 8, recent: 48 },
    };
  },
} satisfies Record<string, () => { scores: HeadScores; window: { sink: number; recent: number } }>;
type Source = keyof typeof SOURCES;

const folder = out ?? mkdtempSync(join(tmpdir(), "headscope-kvpress-"));
beforeAll(async () => {
  await initBackend();
  mkdirSync(folder, { recursive: true });
  for (const name of Object.keys(SOURCES) as Source[]) {
    const { scores, window } = SOURCES[name]();
    await exportHeads("duo-attention", { scores }, join(folder, name), window, { force: true });
  }
});
afterAll(() => {
  if (out === undefined) rmSync(folder, { recursive: true });
});

function folderOracle(name: Source): FolderOracle | undefined {
  const path = new URL(`../oracles/policies/kvpress-folder-${name}.json`, import.meta.url);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as FolderOracle) : undefined;
}

describe.each(Object.keys(SOURCES) as Source[])("the exported folder %s", (name) => {
  it("is, byte for byte, the one that kvpress ran on", () => {
    const files = readdirSync(join(folder, name)).map((file) => {
      const bytes = readFileSync(join(folder, name, file));
      return [file, createHash("sha256").update(bytes).digest("hex")];
    });
    if (out === undefined) expect(Object.fromEntries(files)).toEqual(folderOracle(name)?.sha256);
  });

  describe.skipIf(out !== undefined || (name === "smollm2" && !havePulled))(
    name === "smollm2" ? onSmolLm2("read back") : "read back",
    () => {
      const found = folderOracle(name);
      let model: Model;
      let gates: string;
      beforeAll(async () => {
        model = name === "llama" ? await loadModel(fixture("policies/llama")) : await loadSmollm2();
        gates = join(folder, `${name}.gates.json`);
        await writeScores(gates, await scoresImporter("duo-attention").read(join(folder, name), headModel(model)));
      });
      afterAll(() => model.dispose());

      it.each(found?.cases ?? [])("streams the heads and goes on as kvpress does: $prompt, $ratio", async (each) => {
        const { prompts, window } = found!;
        const steps: Float32Array[] = [];
        const { ids } = prompts[each.prompt]!;
        const params = { gates, ratio: each.ratio, sinks: window.sink, recent: window.recent, when: "prefill" };
        const result = await generate(model, {
          tokens: ids,
          policies: [{ name: "duo-attention", params }],
          maxTokens: each.tokens.length,
          stop: [],
          onStep: ({ logits }) => void steps.push(logits!.dataSync().slice() as Float32Array),
        });
        const cut = result.cache.kept!.flatMap((row, layer) =>
          row.flatMap((kept, head) => (kept.filter((p) => p < ids.length).length < ids.length ? [[layer, head]] : [])),
        );
        expect(cut).toEqual(each.streaming);
        for (const [step, { vocabulary, logits }] of [each.first, each.second].entries()) {
          const away = vocabulary.map((id, i) => Math.abs(steps[step]![id]! - logits[i]!));
          expect(Math.max(...away)).toBeLessThan(TOLERANCE);
        }
        if (each.margin > TOLERANCE) expect(result.ids).toEqual(each.tokens);
      });
    },
  );
});
