import { beforeAll, describe, expect, it } from "vitest";
import { ablate } from "../../../backend/circuits/ablation/ablate.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { ownStops, type Stop } from "../../../backend/inference/stop-rule.ts";
import type { Checkpoint } from "../../../backend/models/formats/checkpoint.ts";
import { inspectModel, loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { stopsOf } from "../../../backend/models/stops.ts";
import { haystackFor } from "../../../probes/haystack.ts";
import { answerNeedle } from "../../../probes/needle.ts";
import { retrieval } from "../../../probes/retrieval.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { copyOf, removeCopies } from "../../helpers/formats/checkpoint-copy.ts";

removeCopies();

const TOKENLESS = "families/llama-gqa";
const TALKING = "formats/llama-tiny";
const ids = (model: Pick<Model, "stops">) => model.stops.tokens.map(({ id }) => id);

/** Greedy tokens to the limit. */
const freely = async (model: Model, tokens: number[], maxTokens = 8) =>
  (await generate(model, { tokens, maxTokens, stop: [] })).ids;

describe("a model's own stops", () => {
  it("are the union of generation_config.json, config.json and the tokenizer, with who says so", async () => {
    const folder = await copyOf(TALKING, {
      config: { eos_token_id: 7 },
      files: { "generation_config.json": { eos_token_id: [5, 7] } },
    });
    const { stops, tokenizer } = await inspectModel(folder);
    expect(stops.tokens).toEqual(
      [
        { id: tokenizer!.eos!, sources: ["tokenizer"] },
        { id: 5, sources: ["generation_config.json"] },
        { id: 7, sources: ["config.json", "generation_config.json"] },
      ].sort((a, b) => a.id - b.id),
    );
    expect(stops.notes).toEqual([]);
  });

  it("are of a GGUF file its ends of text, turn and message, as numbers or lists", async () => {
    const metadata = {
      "tokenizer.ggml.eos_token_id": 1,
      "tokenizer.ggml.eos_token_ids": new Int32Array([1, 4]),
      "tokenizer.ggml.eot_token_id": 3,
      "tokenizer.ggml.eom_token_id": 2,
    };
    const checkpoint = { path: "model.gguf", format: "gguf", metadata } as unknown as Checkpoint;
    const { tokens } = await stopsOf(checkpoint, { d_vocab: 9 }, { eos: 1 });
    expect(tokens).toEqual([
      { id: 1, sources: ["tokenizer", "eos"] },
      { id: 2, sources: ["eom"] },
      { id: 3, sources: ["eot"] },
      { id: 4, sources: ["eos"] },
    ]);
  });

  it("are texts too, where generation_config.json names some: one or a list, each once", async () => {
    const folderOf = (stop_strings: unknown) => copyOf(TALKING, { files: { "generation_config.json": { stop_strings } } });
    const texts = async (stop_strings: unknown) => (await inspectModel(await folderOf(stop_strings))).stops.texts;
    const sources = ["generation_config.json"];
    expect(await texts(["\nUser:", "###", "###"])).toEqual([{ text: "\nUser:", sources }, { text: "###", sources }]);
    expect(await texts("###")).toEqual([{ text: "###", sources }]);
    expect(await texts(null)).toEqual([]);
    const { stops } = await inspectModel(await folderOf(["", 7, "x".repeat(5_000), "ok"]));
    expect(stops.texts).toEqual([{ text: "ok", sources }]);
    expect(stops.notes).toHaveLength(1);
  }); // biome-ignore format: long lines

  it("leave texts out where there is no tokenizer to find them with, say so, and generate", async () => {
    const folder = await copyOf(TOKENLESS, { files: { "generation_config.json": { stop_strings: ["###"] } } });
    const { stops } = await inspectModel(folder);
    expect([stops.texts.length, stops.notes.length]).toEqual([0, 1]);
    const model = await loadModel(folder);
    const { ids: made } = await generate(model, { tokens: [3, 17, 5, 9], maxTokens: 2 });
    expect(made.length).toBeLessThanOrEqual(2);
    model.dispose();
  });

  it("leave out what is no token of the model, and say so", async () => {
    const listed = { eos_token_id: [2, 4_294_967_295, -1, "</s>", 1.5] };
    const folder = await copyOf(TOKENLESS, { config: { eos_token_id: null }, files: { "generation_config.json": listed } });
    const { stops } = await inspectModel(folder);
    expect(ids({ stops })).toEqual([2]);
    expect(stops.notes).toHaveLength(1);
  }); // biome-ignore format: one line

  it.each(["", "[1]", "version https://git-lfs.github.com/spec/v1\n"])(
    "do not lock the weights away where generation_config.json is %j",
    async (text) => {
      const { stops } = await inspectModel(await copyOf(TOKENLESS, { files: { "generation_config.json": text } }));
      expect(ids({ stops })).toEqual([2]); // config.json's
      expect(stops.notes).toHaveLength(1);
    },
  );
});

describe("a generation stops", () => {
  let folder: string;
  let model: Model;
  let free: number[];
  const prompt = [3, 17, 5, 9];
  beforeAll(async () => {
    const plain = await loadModel(fixture(TOKENLESS));
    free = await freely(plain, prompt);
    plain.dispose();
    folder = await copyOf(TOKENLESS, { files: { "generation_config.json": { eos_token_id: [2, free[2]] } } });
    model = await loadModel(folder);
  });

  it("at a second token of the list, in a model without a tokenizer", async () => {
    const { ids: made, stopped } = await generate(model, { tokens: prompt, maxTokens: 8 });
    expect(made).toEqual(free.slice(0, free.indexOf(free[2]!)));
    expect(stopped).toEqual({ by: "token", id: free[2] });
  });

  it("at the limit, and says so", async () => {
    const { stopped } = await generate(model, { tokens: prompt, maxTokens: 2, stop: [] });
    expect(stopped).toEqual({ by: "limit", tokens: 2 });
  });

  it("at a given token beside the model's own", async () => {
    const { ids: made, stopped } = await generate(model, { tokens: prompt, stop: ownStops(model, [free[0]!]) });
    expect(made).toEqual([]);
    expect(stopped).toEqual({ by: "token", id: free[0] });
  });

  it("in needles and in the retrieval probe too", async () => {
    const question = haystackFor(model, { tokens: 24 });
    const unbounded = await freely(model, question.ids);
    const stopping = await loadModel(
      await copyOf(TOKENLESS, { files: { "generation_config.json": { eos_token_id: [unbounded[1]] } } }),
    );
    const answer = await answerNeedle(stopping, question, { maxTokens: 8 });
    const before = unbounded.slice(0, unbounded.indexOf(unbounded[1]!));
    expect(answer.text).toBe(before.join(" "));
    const cases = [{ ids: question.ids, needleSpan: question.needleSpan, maxNewTokens: 8 }];
    const { perCase } = await retrieval.run(stopping, retrieval.parameters.parse({}), { cases });
    expect((perCase as { generated: number[] }[])[0]!.generated).toEqual([...before, unbounded[1]]); // the stop is scored
    stopping.dispose();
  });

  it.each([
    ["an id beyond the vocabulary", [100_000], "input"],
    ["a negative id", [-1], "input"],
    ["a text in a model without a tokenizer", ["\n"], "unsupported"],
  ] as [string, Stop[], string][])("refuses %s", async (_, stop, kind) => {
    await expect(generate(model, { tokens: prompt, stop })).rejects.toMatchObject({ kind });
  });
});

describe("a stop text", () => {
  let model: Model;
  let text: string;
  let tokens: string[];
  const prompt = [40, 50, 60];
  beforeAll(async () => {
    model = await loadModel(fixture(TALKING));
    const free = await freely(model, prompt, 12);
    tokens = free.map((id) => model.tokenizer!.token(id));
    text = model.tokenizer!.decode(free);
  });

  const run = async (stop: readonly Stop[], maxTokens = 12) => {
    let streamed = "";
    const onToken = (_: number, grown: string) => {
      streamed += grown;
    };
    const made = await generate(model, { tokens: prompt, maxTokens, stop, onToken });
    return { ...made, streamed };
  };

  it("is found over the border of two tokens; neither it nor anything after it is in text, stream or tokens", async () => {
    const border = tokens.slice(0, 4).join("").length;
    const stop = text.slice(border - 1, border + 1);
    const { text: made, streamed, ids: kept, stopped } = await run([stop]);
    const expected = text.slice(0, text.indexOf(stop));
    expect(stopped).toEqual({ by: "text", text: stop });
    expect(made).toBe(expected);
    expect(streamed).toBe(expected);
    // The tokens are those that the text has a part of.
    expect(model.tokenizer!.decode(kept).startsWith(expected)).toBe(true);
    expect(expected.startsWith(model.tokenizer!.decode(kept.slice(0, -1)))).toBe(true);
  });

  it("that only begins is shown after all", async () => {
    const stop = `${text.slice(-2)}\u0000never`;
    const { text: made, streamed, stopped } = await run([stop]);
    expect(stopped.by).toBe("limit");
    expect(made).toBe(text);
    expect(streamed).toBe(text);
  });

  it("ends at the one that comes first, whatever the order they are given in", async () => {
    const [early, late] = [text.slice(2, 4), text.slice(8, 10)];
    for (const stops of [
      [early, late],
      [late, early],
    ]) {
      const { text: made } = await run(stops);
      expect(made).toBe(text.slice(0, Math.min(text.indexOf(early), text.indexOf(late))));
    }
  });

  it("of the model's own files ends a generation that names no stops", async () => {
    const border = tokens.slice(0, 4).join("").length;
    const stop = text.slice(border - 1, border + 1);
    const own = await loadModel(await copyOf(TALKING, { files: { "generation_config.json": { stop_strings: [stop] } } }));
    const { stopped, text: made } = await generate(own, { tokens: prompt, maxTokens: 12 });
    expect(stopped).toEqual({ by: "text", text: stop });
    expect(made).toBe(text.slice(0, text.indexOf(stop)));
    expect(ownStops(own, ["x"])).toEqual([...ids(own), stop, "x"]);
    own.dispose();
  }); // biome-ignore format: long lines

  it("must have a character", async () => {
    await expect(run([""])).rejects.toMatchObject({ kind: "input" });
  });
});

describe("a model with ids beyond its tokenizer's", () => {
  it("generates and is ablated to the end: such an id has no text and a number for a label", async () => {
    const folder = await copyOf(TALKING, {
      config: { vocab_size: 410 },
      tensors: (own) => {
        const name = "model.embed_tokens.weight";
        const { data, shape } = own[name]!;
        const width = shape[1]!;
        const padded = new Float32Array(410 * width);
        padded.set(data as Float32Array);
        for (let i = 400 * width; i < padded.length; i++) padded[i] = 8 * Math.sin(i * i); // likelier than any other
        return { ...own, [name]: { dtype: "F32", shape: [410, width], data: padded } };
      },
    });
    const model = await loadModel(folder);
    const shown: string[] = [];
    const made = await generate(model, { tokens: [40, 50, 60], maxTokens: 6, onToken: (_, text) => shown.push(text) });
    expect(made.ids.some((id) => id >= 400)).toBe(true);
    expect(made.text).toBe(model.tokenizer!.decode(made.ids.filter((id) => id < 400)));
    expect(shown.join("")).toBe(made.text);
    const { nextToken } = await ablate(model, { tokens: [[40, 50, 60]], heads: [{ layer: 0, head: 0 }], method: "zero" });
    for (const { id, text } of nextToken[0]!) expect(text).toBe(id < 400 ? model.tokenizer!.token(id) : `[${id}]`);
    expect(nextToken[0]!.some(({ id }) => id >= 400)).toBe(true);
    model.dispose();
  }); // biome-ignore format: long lines
});
