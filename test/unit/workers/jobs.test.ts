import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { readScores } from "../../../backend/heads/files.ts";
import { generate } from "../../../backend/inference/generate.ts";
import type { JobResults } from "../../../backend/jobs/kinds/index.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { slug } from "../../../backend/paths.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { haystackFor } from "../../../probes/haystack.ts";
import { type HeadHistory, probeHistory } from "../../../probes/history.ts";
import { probe } from "../../../probes/index.ts";
import { refused } from "../../helpers/errors.ts";
import { smallConfig } from "../../helpers/models.ts";
import { apart, handled, ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";

const CONFIG = smallConfig({ n_layers: 2, n_ctx: 200 });
const TOY = "toy-induction";
const folder = ownDataFolder();
let toy: Model;
beforeAll(async () => {
  await saveRandomRun("grouped-1", 0, CONFIG, 1);
  await saveRandomRun("grouped-1", 7, CONFIG, 2);
  toy = await loadModel(TOY);
});

/** What a score document says, without when it was made. */
const undated = ({ created: _, ...rest }: object & { created?: unknown }) => rest;

describe("a probe job", () => {
  it("writes each probe's scores below scores/, and the same work again into the same file", async () => {
    const probes = [
      { name: "retrieval", params: { lengths: [60], depths: [0.5], needles: 1 } },
      { name: "induction", params: { length: 20 } },
      { name: "previous-token", params: { length: 20 } },
    ];
    const job = { kind: "probe", model: TOY, probes, seed: 3 };
    const { value, events } = await handled<{ scores: string[] }>("probe", job);
    expect(value.scores.map((id) => id.replace(/-[0-9a-f]{8}\.json$/, ""))).toEqual(
      probes.map(({ name }) => `scores/toy-induction/${name}`),
    );
    for (const [i, { name, params }] of probes.entries()) {
      const kept = await readScores(join(folder.path, value.scores[i]!));
      const alone = await probe(toy, name, params, { seed: 3 });
      expect(kept).toMatchObject({ model: alone.model, params: alone.params, tokens: alone.tokens, seed: 3 });
      for (const [metric, { values }] of Object.entries(alone.metrics))
        expect(apart(kept.metrics[metric]!.values.flat(), values.flat()), metric).toBeLessThan(1e-5);
    }
    expect(events.every((event) => (event as { event: string }).event === "progress")).toBe(true);
    expect((await handled<{ scores: string[] }>("probe", job)).value).toEqual(value);
    const others = await handled<{ scores: string[] }>("probe", { ...job, seed: 4 });
    expect(others.value.scores.filter((id) => value.scores.includes(id))).toEqual([]);
  });

  it("is refused before the model is loaded for a parameter that there is not, and frees it when it is cancelled", async () => {
    const wrong = { kind: "probe", model: "no-such-model", probes: [{ name: "induction", params: { lenght: 5 } }] };
    await expect(handled("probe", wrong)).rejects.toMatchObject({ kind: "usage", field: "lenght" });
    const before = tf.memory().numTensors;
    const stop = new AbortController();
    const job = { kind: "probe", model: TOY, probes: [{ name: "induction", params: { length: 20 } }] };
    const onEvent = () => stop.abort(new Error("enough"));
    await expect(handled("probe", job, { signal: stop.signal, onEvent })).rejects.toThrow("enough");
    expect(tf.memory().numTensors).toBe(before);
  });

  it("names folders after models", () => {
    expect(slug("run:induction-1@500")).toBe("run-induction-1-500");
    expect(slug("../up/model.gguf")).toBe("up-model.gguf");
  });
});

describe("a history job", () => {
  it("writes what a probe says of every saved step", async () => {
    const job = { kind: "history", run: "grouped-1", probe: "induction", params: { length: 9 } };
    const { value } = await handled<{ history: string }>("history", job);
    expect(value.history).toMatch(/^histories\/grouped-1\/induction-[0-9a-f]{8}\.json$/);
    const kept = JSON.parse(readFileSync(join(folder.path, value.history), "utf8")) as HeadHistory;
    const load = (step: number) => loadModel(`run:grouped-1@${step}`);
    const direct = await probeHistory("induction", { length: 9 }, { run: "grouped-1", steps: [0, 7], load });
    expect(undated(kept)).toEqual(undated(JSON.parse(JSON.stringify(direct))));
    await expect(handled("history", { ...job, run: "gruoped-1" })).rejects.toThrow('unknown run "gruoped-1"');
  });
});

describe("a needle job", () => {
  it("asks at every length and depth, with all heads full and with the mask", async () => {
    const mask = maskFromKvHeads(headModel(toy), [], { sink: 2, recent: 4 });
    const job = { kind: "needle", model: TOY, mask, lengths: [40, 80], depths: [0.2, 0.8], needles: 2, seed: 5 };
    const { value, events } = await handled<JobResults["needle"]>("needle", job);
    expect(value.trials.map(({ length, depth, needle }) => [length, depth, needle])).toEqual(
      [40, 80].flatMap((length) => [0.2, 0.8].flatMap((depth) => [0, 1].map((needle) => [length, depth, needle]))),
    );
    for (const trial of value.trials) {
      // The toy model copies what followed; with all heads streaming it cannot see the needle.
      expect(trial.full).toMatchObject({ text: trial.expected, right: true });
      expect(trial.masked!.right).toBe(false);
      expect(trial.masked!.bytes).toBeLessThan(trial.full.bytes);
    }
    const third = value.trials[3]!;
    const question = haystackFor(toy, { tokens: 40, depth: 0.8, seed: 6 });
    expect(third).toMatchObject({ question: question.question, expected: question.answer });
    const { ids } = await generate(toy, { tokens: question.ids, maxTokens: 4, mask });
    expect(third.masked!.text).toBe(ids.join(" "));
    expect(events.at(-1)).toEqual({ event: "progress", done: 16, total: 16, label: "needle questions" });
  });

  it("is refused before anything is asked where a length is too short, or the mask is another model's", async () => {
    const job = { kind: "needle", model: TOY, lengths: [80, 5], depths: [0.5] };
    const events: unknown[] = [];
    await expect(handled("needle", job, { onEvent: (event) => void events.push(event) })).rejects.toThrow(
      refused("usage"),
    );
    expect(events).toEqual([]);
    const mask = maskFromKvHeads({ ...headModel(toy), layers: 3 }, []);
    await expect(handled("needle", { ...job, lengths: [80], mask })).rejects.toThrow(refused("mismatch"));
  });
});

describe("an export and an import", () => {
  it("take scores to another project's file and back", async () => {
    const scores = await probe(toy, "induction", { length: 20 });
    const out = join(folder.path, "exports", "one", "heads.json");
    const { value } = await handled<object>("export", { format: "retrieval-head", scores, out });
    expect(value).toEqual({ path: out, files: [out] });
    const back = await handled<typeof scores>("import", { format: "retrieval-head", model: TOY, path: out });
    const [metric] = Object.values(back.value.metrics);
    expect(back.value.model).toMatchObject({ ref: TOY, digest: toy.digest });
    metric!.values.forEach((row, l) => {
      row.forEach((value, h) => {
        expect(value).toBeCloseTo(scores.metrics["induction"]!.values[l]![h]!, 5);
      });
    });
  });

  it("write weights of the model that the mask is for, and refuse another", async () => {
    const ref = "run:grouped-1@7";
    const { config, digest, family } = await loadModel(ref);
    const mask = { ...maskFromKvHeads(headModel({ ref, config, digest, family }), [{ layer: 0, head: 1 }]) };
    const out = join(folder.path, "exports", "two");
    const wrong = handled("export", { format: "pruned-checkpoint", mask, model: "run:grouped-1@0", out });
    await expect(wrong).rejects.toThrow(refused("mismatch"));
    await expect(handled("export", { format: "pruned-checkpoint", mask, out })).rejects.toThrow(refused("usage"));
    await expect(handled("export", { format: "csv", scores: { format: "no" }, out })).rejects.toThrow(refused("input"));
    expect(existsSync(out)).toBe(false);
  }); // biome-ignore format: long lines
});

describe("a pull", () => {
  it("of a model that is built in memory is refused with what to do instead", async () => {
    await expect(handled("pull", { kind: "pull", model: TOY })).rejects.toMatchObject({ remedy: "use it as --model toy-induction" }); // biome-ignore format: a line
  });
});
