import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { heldToken, wrongToken } from "../../../frontend/src/ablation/params.ts";
import { gridMetric } from "../../../frontend/src/components/head-metrics/gridMetric.svelte.ts";
import { metricParam, patternParam, textMetricId } from "../../../frontend/src/components/head-metrics/params.ts";
import { nothingFound } from "../../../frontend/src/components/head-metrics/scale.ts";
import { readPattern, textScores } from "../../../frontend/src/components/head-metrics/textScores.svelte.ts";
import { headsView } from "../../../frontend/src/heads/view.svelte.ts";
import { hold } from "../../../frontend/src/state/hold.ts";
import { prompt, promptText } from "../../../frontend/src/state/prompt.svelte.ts";
import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const model = { ref: "ids", family: "llama", digest: "sha256:ids", layers: 2, heads: 2, kvHeads: 2 };
const ANSWERS: Record<string, unknown> = {
  "/api/models": [{ ref: "ids", title: "ids", kind: "constructed", ready: true }],
  "/api/models/ids": { ...model, config: { d_vocab: 100, n_ctx: 64 } },
};

/** What was asked of the scores, and what each answer waits for. */
const asked: { body: Record<string, unknown>; answer: () => void }[] = [];

/** A table that names the text by its length. */
function scoresOf({ prompt: id }: { prompt: string }) {
  const value = Number(id.slice(1)) / 100;
  const values = [[value, 0], [0, 0]]; // biome-ignore format: a table
  const effects = [[value, 0], [0, -value]]; // biome-ignore format: a table
  return {
    scores: [
      { name: "first-token", values, chance: 0.4, queries: 3 },
      { name: "induction", absent: "no token of this text stood earlier in it" },
      { name: "held-token", values, chance: 0.2, queries: 1 },
      { name: "pattern", values, chance: 0.2, queries: 1 },
      { name: "direct-effect", values: effects, logitDiff: 1 },
    ],
    ms: 1,
  };
}

function respond(path: string, options?: RequestInit): Promise<Response> {
  const body = JSON.parse((options?.body as string | undefined) ?? "{}");
  if (path === "/api/prompts") {
    const ids: number[] = body.tokens;
    const tokens = ids.map(String);
    return Promise.resolve(Response.json({ id: `p${ids.length}`, ids, tokens, nll: [1], loss: 1, next: [] }));
  }
  if (path !== "/api/text-scores") return Promise.resolve(Response.json(ANSWERS[path] ?? []));
  return new Promise((resolve, reject) => {
    options?.signal?.addEventListener("abort", () => reject(new DOMException("gone", "AbortError")));
    asked.push({ body, answer: () => resolve(Response.json(scoresOf(body))) });
  });
}

/** Follows until something holds. */
async function until(holds: () => void): Promise<void> {
  await vi.waitFor(() => {
    workspace.follow();
    textScores.follow();
    holds();
  }, patiently(5_000));
}

beforeAll(async () => {
  vi.stubGlobal("fetch", respond);
  workspace.open();
  workspace.model = "ids";
  await until(() => expect(workspace.info.value).toBeDefined());
});
beforeEach(() => {
  view.change({ ...heldToken.to(undefined), ...wrongToken.to(-1), ...patternParam.to("") });
});

const shown = () => gridMetric.value!;
const settled = (value: number) => until(() => expect(shown().values[0]![0]).toBe(value));

describe("a grid that is coloured by the reader's text", () => {
  it("asks nothing until it is chosen, and then for all scores at once", async () => {
    promptText.value = "0 5 9";
    textScores.follow();
    expect(asked).toEqual([]);
    metricParam.value = textMetricId("first-token");
    await until(() => expect(asked).toHaveLength(1));
    expect(asked[0]!.body).toEqual({ prompt: "p3" });
    expect([shown().name, shown().text?.missing]).toEqual(["first-token", "Measuring…"]);
    // Without values there is no top that could be selected.
    expect(headsView.ranked).toEqual([]);
    asked[0]!.answer();
    await settled(0.03);
    expect(headsView.ranked[0]!.name).toBe("0.0");
    expect(gridMetric.scale).toEqual({ range: [0, 1], chance: 0.4 });
    metricParam.value = textMetricId("induction");
    textScores.follow();
    expect(asked).toHaveLength(1);
    expect(shown().text?.missing).toContain("stood earlier");
  });

  it("never has values of another text: they are the values before, and a late answer is dropped", async () => {
    metricParam.value = textMetricId("first-token");
    await settled(0.03);
    promptText.value = "0 5 9 5";
    await until(() => expect(asked).toHaveLength(2));
    expect(shown().values.flat().every(Number.isNaN)).toBe(true);
    expect(shown().text?.before?.[0]?.[0]).toBe(0.03);
    promptText.value = "0 5 9 5 9";
    await until(() => expect(asked).toHaveLength(3));
    asked[1]!.answer();
    await until(() => expect(shown().text?.missing).toBe("Measuring…"));
    asked[2]!.answer();
    await settled(0.05);
    expect(shown().text?.before).toBeUndefined();
    // On a page that does not keep to it, another text has no values either.
    promptText.value = "0 7 7";
    expect(shown().text?.missing).toBe("Not measured yet.");
    promptText.value = "0 5 9 5 9";
  });

  it("asks anew for another held token, another wrong answer and another pattern, with each in the command", async () => {
    metricParam.value = textMetricId("held-token");
    heldToken.value = hold(2, prompt.request);
    await until(() => expect(asked.at(-1)!.body).toEqual({ prompt: "p5", held: 2 }));
    expect(shown().label).toContain("(2 9)");
    expect(shown().text?.command).toBe(
      "echo '[[0,5,9,5,9]]' > tokens.json && npx headscope probe pattern --model ids --tokens-file tokens.json --param 'expression=key == 2 and query > 2'",
    );
    metricParam.value = textMetricId("direct-effect");
    wrongToken.value = 7;
    await until(() => expect(asked.at(-1)!.body["question"]).toEqual({ position: 2, wrong: 7 }));
    expect(shown().text?.command).toBe(
      "printf '%s' '[[0,5]]' > tokens.json && npx headscope attribute --model ids --tokens-file tokens.json --answer 9 --wrong 7",
    );
    metricParam.value = textMetricId("pattern");
    expect(shown().text?.command).toBeUndefined();
    patternParam.value = "[[3, 1]]";
    await until(() => expect(asked.at(-1)!.body["pattern"]).toEqual({ pairs: [[3, 1]] }));
    expect(shown().text?.command).toContain("--param 'pairs=[[3,1]]'");
    asked.at(-1)!.answer();
    await settled(0.05);
  });

  it("has a colour on each side of 0 for the direct effect alone", async () => {
    metricParam.value = textMetricId("direct-effect");
    await until(() => expect(asked.at(-1)!.body["pattern"]).toBeUndefined());
    asked.at(-1)!.answer();
    await settled(0.05);
    expect(gridMetric.scale).toEqual({ range: [-0.05, 0.05], diverging: true });
  });
});

describe("a pattern as it is typed", () => {
  it("is pairs where it is a list of them, and an expression otherwise", () => {
    expect(readPattern(" ")).toBeUndefined();
    expect(readPattern("[[4,1],[4, 2]]")).toEqual({ pairs: [[4, 1], [4, 2]] }); // biome-ignore format: pairs
    expect(readPattern("key == 0")).toEqual({ expression: "key == 0" });
    for (const odd of ["[[4]]", "[[4,-1]]", "[4, 1]", "[[4,1]"]) expect(readPattern(odd)).toEqual({ expression: odd });
  });
});

it("no table is called chance where nothing could be far above it", () => {
  expect(nothingFound([[0.5, 0.4]], 0.3, 1)).toBeUndefined();
  expect(nothingFound([[0.05, 0.04]], 0.03, 1)).toContain("0.05");
  // On a short text chance is high: most of the attention there is, is far above it all the same.
  expect(nothingFound([[0.8, 0.2]], 0.17, 1)).toBeUndefined();
});
