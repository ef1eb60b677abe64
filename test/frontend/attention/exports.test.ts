import { describe, expect, it, vi } from "vitest";
import { RequestCache } from "../../../frontend/src/api/requestCache.ts";
import { layerSvg } from "../../../frontend/src/attention/layerSvg.ts";
import { stripSvg } from "../../../frontend/src/components/attention-tokens/stripSvg.ts";
import {
  MOST_DENSE,
  matrixSvg,
  patternCommand,
  patternJson,
  patternTable,
} from "../../../frontend/src/components/matrix/exports.ts";
import { pick } from "../../../frontend/src/components/matrix/patterns.ts";

const named = {
  head: "3.1",
  tokens: ["<s>", " a\n", "&"],
  ids: [0, 5, 6],
  pattern: Float32Array.of(1, 0, 0, 0.25, 0.75, 0, 0, 0.5, 0.5),
};

function longPattern(): typeof named {
  const count = MOST_DENSE + 1;
  const pattern = new Float32Array(count * count);
  pattern[count + 87] = 1; // query 1, key 87: after the query, never listed
  pattern[500 * count + 20] = 0.5;
  pattern[500 * count + 21] = 0.0004;
  return { head: "0.0", tokens: Array.from({ length: count }, (_, i) => `t${i}`), ids: [], pattern };
}

describe("what is taken from a pattern", () => {
  it("the table has a row for each key that a query can see, zeros too", () => {
    const { columns, rows } = patternTable(named);
    expect(columns).toEqual(["query", "key", "query_token", "key_token", "weight"]);
    expect(rows).toHaveLength(6);
    expect(rows[2]).toEqual([1, 1, " a\n", " a\n", 0.75]);
  });

  it("CircuitsVis gets heads by destination by source", () => {
    expect(patternJson([named])).toEqual({
      attention: [
        [
          [1, 0, 0],
          [0.25, 0.75, 0],
          [0, 0.5, 0.5],
        ],
      ],
      tokens: named.tokens,
      attentionHeadNames: ["3.1"],
      maskUpperTri: true,
    });
  });

  it("of long prompts only what is not negligible is listed", () => {
    const long = longPattern();
    expect(patternTable(long).rows).toEqual([[500, 20, "t500", "t20", 0.5]]);
    expect(patternJson([long])).toMatchObject([
      { attention_indices: [500 * (MOST_DENSE + 1) + 20], attention_values: [0.5], seq_len: MOST_DENSE + 1 },
    ]);
  });

  it("the command writes the same layer of the same text, with the same choice of BOS", () => {
    const text = { model: "smollm2-135m", text: "it's here" };
    const rest = "--names blocks.4.attn.hook_pattern --out pattern.safetensors";
    expect(patternCommand(4, text)).toBe(`npx headscope forward --model smollm2-135m --text 'it'\\''s here' ${rest}`);
    expect(patternCommand(4, { ...text, bos: true })).toContain("--prepend-bos ");
    expect(patternCommand(4, { ...text, bos: false })).toContain("--no-prepend-bos ");
    expect(patternCommand(4, { model: "run:r-1", tokens: [1, 2] })).toBe(
      `echo '[[1,2]]' > tokens.json && npx headscope forward --model run:r-1 --tokens-file tokens.json ${rest}`,
    );
  });

  it("pictures are well-formed whatever the tokens are", () => {
    const box = { x: 0, y: 0, width: 20, height: 20 };
    const marks = { upper: [0.5], lower: [], lines: [], numbers: [] };
    const theme = { outgoing: "#00f", incoming: "#f60", paper: "#fff", ink: "#000", border: "#ccc" };
    const pictures = [
      matrixSvg(named, "data:image/png;base64,AAAA", { paper: "#fff", ink: "#000" }),
      stripSvg({
        ...{ head: "3.1", tokens: named.tokens, boxes: [box, box, box], marks, fills: [] },
        ...{ size: { width: 100, height: 40 }, theme },
      }),
    ];
    for (const picture of pictures) {
      const parsed = new DOMParser().parseFromString(picture, "image/svg+xml");
      expect(parsed.querySelector("parsererror")).toBeNull();
      expect(parsed.documentElement.textContent).toContain("&");
      expect(parsed.documentElement.textContent).toContain("<s>");
    }
    // The strip says which of its colours is which.
    for (const words of ["looks at", "seen by"]) expect(pictures[1]).toContain(words);
  });

  it("pictures say what their colours are, those of a layer as those of one head", () => {
    const scale = { stops: ["#ffffff", "#888888", "#000000"], high: 2.5, contrast: "log", byValue: true } as const;
    const image = "data:image/png;base64,AAAA";
    const pictures = [
      matrixSvg(named, image, { paper: "#fff", ink: "#000", scale }),
      layerSvg([{ head: "3.0", image }, { head: "3.1", image }], scale),
    ]; // biome-ignore format: two pictures
    for (const picture of pictures) {
      const { documentElement: svg } = new DOMParser().parseFromString(picture, "image/svg+xml");
      const bar = svg.querySelector("rect.scale")!;
      const side = (element: Element, name: string): number => Number(element.getAttribute(name));
      expect([...svg.querySelectorAll("stop")].map((stop) => stop.getAttribute("stop-color"))).toEqual(scale.stops);
      const words = [...svg.querySelectorAll("text")].map(({ textContent }) => textContent);
      expect(words.slice(-3)).toEqual(["0", "2.5", "weight × norm of value, log scale"]);
      // Below the patterns, and within the picture.
      const lowest = Math.max(
        ...[...svg.querySelectorAll("image")].map((each) => side(each, "y") + side(each, "height")),
      );
      expect(side(bar, "y")).toBeGreaterThan(lowest);
      expect(side([...svg.querySelectorAll("text")].at(-2)!, "y")).toBeLessThan(side(svg, "height"));
    }
  });

  it("one head of a layer is its part of the layer's numbers", () => {
    const layer = { heads: 3, tokens: 2, data: Float32Array.from({ length: 12 }, (_, i) => i) };
    expect([...pick(layer, [1]).data]).toEqual([4, 5, 6, 7]);
    expect([...pick(layer, [2, 0]).data]).toEqual([8, 9, 10, 11, 0, 1, 2, 3]);
  });
});

describe("answers that are shared", () => {
  const soon = () => new Promise((resolve) => setTimeout(resolve, 5));

  it("one question at once is one request, and its answer is kept", async () => {
    const shared = new RequestCache<string>(10, (value) => value.length);
    const ask = vi.fn(async () => "abc");
    expect(await Promise.all([shared.get("k", ask), shared.get("k", ask)])).toEqual(["abc", "abc"]);
    expect(await shared.get("k", ask)).toBe("abc");
    expect(ask).toHaveBeenCalledTimes(1);
  });

  it("what was used longest ago makes room", async () => {
    const shared = new RequestCache<string>(6, (value) => value.length);
    for (const key of ["a", "b"]) await shared.get(key, async () => "xxx");
    shared.held("a");
    await shared.get("c", async () => "xxx");
    expect(["a", "b", "c"].map((key) => shared.held(key) !== undefined)).toEqual([true, false, true]);
  });

  it("a request ends when nobody waits for it, not before", async () => {
    const shared = new RequestCache<string>(10, (value) => value.length);
    let given!: AbortSignal;
    const ask = (signal: AbortSignal) => {
      given = signal;
      return new Promise<string>(() => {});
    };
    const [one, two] = [new AbortController(), new AbortController()];
    const waits = [one, two].map(({ signal }) => shared.get("k", ask, signal).catch((error: Error) => error.name));
    one.abort();
    await soon();
    expect(given.aborted).toBe(false);
    two.abort();
    expect(await Promise.all(waits)).toEqual(["AbortError", "AbortError"]);
    await soon();
    expect(given.aborted).toBe(true);
  });

  it("a failure is not kept", async () => {
    const shared = new RequestCache<string>(10, (value) => value.length);
    await expect(shared.get("k", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await shared.get("k", async () => "yes")).toBe("yes");
  });
});
