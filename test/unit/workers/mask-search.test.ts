import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseMask } from "../../../backend/common/heads/mask.ts";
import { writeScores } from "../../../backend/heads/files.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { searchCurve, searchedMask } from "../../../frontend/src/inference/mask/choice.ts";
import { probe } from "../../../probes/index.ts";
import { searchMask } from "../../../probes/mask-search.ts";
import { handled, ownDataFolder } from "../../helpers/processes/workers.ts";

const folder = ownDataFolder();
const ASKED = { sink: 1, recent: 8, lengths: [64] };

test("the job keeps the mask that the search finds, with its curve, where the page finds it again", async () => {
  const model = await loadModel("toy-induction");
  const scores = await probe(model, "induction");
  const expected = await searchMask(model, scores, ASKED);
  model.dispose();
  await writeScores(join(folder.path, "scores", "mine.json"), scores);
  const events: unknown[] = [];
  const { value } = await handled<{ mask: string }>(
    "mask-search",
    { kind: "mask-search", model: "toy-induction", scores: "scores/mine.json", ...ASKED },
    { onEvent: (event) => events.push(event) },
  );
  const mask = parseMask(JSON.parse(readFileSync(join(folder.path, value.mask), "utf8")), "the mask");
  expect(mask.kvHeads).toEqual(expected.mask.kvHeads);
  expect(searchCurve(mask.source)!.points).toEqual(expected.points);
  expect(events.length).toBeGreaterThan(3);

  const entry = { id: value.mask, model: mask.model, ablated: 0, sink: 1, recent: 8, source: mask.source };
  const by = { probe: "induction", metric: "induction", sink: 1, recent: 8 };
  expect(searchedMask([entry], by)).toBe(entry);
  expect(searchedMask([entry], { ...by, recent: 9 })).toBeUndefined();
  expect(searchedMask([{ ...entry, source: "user" }], by)).toBeUndefined();
});
