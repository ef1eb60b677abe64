import { type Component, flushSync, mount, unmount } from "svelte";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parseScores } from "../../../backend/common/heads/scores.ts";
import { compareScores } from "../../../backend/heads/compare.ts";
import { closest, probeParams } from "../../../frontend/src/compare/documents.ts";
import { chanceLevels, depthFigure } from "../../../frontend/src/compare/figure.ts";
import { headsCsv, layersCsv, topCsv } from "../../../frontend/src/compare/finding.ts";
import Compare from "../../../frontend/src/compare/Page.svelte";
import { sideBySide } from "../../../frontend/src/compare/svg.ts";
import {
  bestParam,
  comparisonView,
  secondParam,
  secondScoresParam,
} from "../../../frontend/src/compare/view.svelte.ts";
import { writeMetricName } from "../../../frontend/src/components/head-metrics/metrics.ts";
import { metricParam } from "../../../frontend/src/components/head-metrics/params.ts";

import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`;

/** Scores by induction of a model of two heads a layer. */
function scoresOf(ref: string, n: number, values: number[][], more: object = {}) {
  const model = { ref, family: "llama", digest: digest(n), layers: values.length, heads: 2, kvHeads: 2 };
  return parseScores(
    {
      format: "headscope.head-scores/1",
      model,
      probe: "induction",
      params: { length: 50, samples: 4 },
      seed: 0,
      created: "2026-01-01T00:00:00.000Z",
      metrics: { induction: { axis: "heads", values, range: [0, 1], chance: 0.02 } },
      ...more,
    },
    ref,
  );
}

const SHALLOW = [
  [0.1, 0.3],
  [0.9, 0.2],
];
const DEEP = [
  [0, 0],
  [0.8, 0.1],
  [0.6, 0],
];
const DOCUMENTS = {
  "start/shallow.json": scoresOf("shallow", 1, SHALLOW),
  "scores/deep/long.json": scoresOf("deep", 2, DEEP),
  "scores/deep/short.json": scoresOf("deep", 2, DEEP, {
    params: { length: 20, samples: 4 },
    created: "2026-02-01T00:00:00.000Z",
    metrics: { induction: { axis: "heads", values: DEEP, range: [0, 1], chance: 0.05 } },
  }),
};
const kept = Object.entries(DOCUMENTS).map(([id, document]) => ({ ...document, id }));

describe("the scores that two models are compared by", () => {
  it("are those made most alike, of two as like the newer ones", () => {
    expect(closest(kept.slice(1), kept[0])?.id).toBe("scores/deep/long.json");
    expect(closest(kept.slice(1), undefined)?.id).toBe("scores/deep/short.json");
    expect(closest([], kept[0])).toBeUndefined();
  });

  it("are asked for with the parameters that the probe takes, and no others", () => {
    const flags = [{ name: "length", type: "integer", description: "", range: "" }];
    expect(probeParams({ params: { length: 20, cases: 3 } }, flags)).toEqual({ length: 20 });
  });
});

describe("figures and files of a comparison", () => {
  const comparison = compareScores(kept[0]!, kept[1]!, { top: 2 });

  it("draw best and mean of each layer over relative depth, the heads' names with them", () => {
    const styles = [
      { name: "a%{x}", colour: "#000000" },
      { name: "b", colour: "#ffffff" },
    ];
    const { data } = depthFigure(comparison.models, styles, "induction");
    expect(data.map(({ x, y }) => [x, y])).toEqual([
      [[0, 1], [0.3, 0.9]],
      [[0, 1], [0.2, 0.55]],
      [[0, 0.5, 1], [0, 0.8, 0.6]],
      [[0, 0.5, 1], [0, 0.45, 0.3]],
    ]); // biome-ignore format: a line a trace
    expect(data[0]!["customdata"]).toEqual(["0.1", "1.0"]);
    expect(data[0]!["name"]).toBe("a&#37;{x}: best");
  });

  it("mark chance once where it is the same for both, else of each model by its name", () => {
    const [first, second] = comparison.models;
    expect(chanceLevels([first, second])).toEqual([{ value: 0.02, label: "chance 0.020" }]);
    expect(chanceLevels([first, { ...second, chance: 0.05 }])).toEqual([
      { value: 0.02, label: "chance of shallow 0.020" },
      { value: 0.05, label: "chance of deep 0.050" },
    ]);
    const { chance: _, ...unknown } = second;
    expect(chanceLevels([unknown, unknown])).toEqual([]);
    const { layout } = depthFigure(
      [first, second],
      [
        { name: "a", colour: "#000000" },
        { name: "b", colour: "#ffffff" },
      ],
      "x",
    );
    expect(layout!["shapes"]).toMatchObject([{ y0: 0.02, y1: 0.02, name: "chance 0.020", showlegend: true }]);
  });

  it("name the model of every row", () => {
    expect(topCsv(comparison).rows).toEqual([
      ["shallow", 1, "1.0", 1, 0.9],
      ["shallow", 2, "0.1", 0, 0.3],
      ["deep", 1, "1.0", 0.5, 0.8],
      ["deep", 2, "2.0", 1, 0.6],
    ]);
    expect(layersCsv(comparison).rows[3]).toEqual(["deep", 1, 0.5, 0.8, "1.0", 0.45]);
    expect(headsCsv(comparison).rows).toHaveLength(10);
  });

  it("put two pictures beside each other, as wide as both and as high as the higher one", () => {
    const picture = (width: number, height: number): string =>
      `<svg xmlns="x" width="${width}" height="${height}"><g/></svg>`;
    const both = sideBySide([picture(100, 50), picture(60, 80)]);
    expect(both).toMatch(/^<svg [^>]*width="184" height="80"/);
    expect(both).toContain('<svg x="124" y="0" xmlns="x" width="60"');
  });
});

describe("the page that compares two models", () => {
  const infos = [kept[0]!.model, kept[1]!.model, { ...kept[1]!.model, ref: "bare", digest: digest(3) }];
  const PROBES = ["induction", "retrieval"].map((name) => ({
    name, title: name, description: "", source: "", flags: [{ name: "length", type: "integer", description: "", range: "" }], schema: {},
    meanings: { [name]: { meaning: "a share", range: [0, 1] } },
  })); // biome-ignore format: as data
  const ANSWERS: Record<string, unknown> = {
    "/api/health": { version: "0", folder: "/" },
    "/api/definitions": { probes: PROBES, tasks: [], experiments: [], exports: [], imports: [] },
    "/api/models": infos.map(({ ref }) => ({ ref, title: ref, kind: "constructed", ready: true })),
    ...Object.fromEntries(infos.map((info) => [`/api/models/${info.ref}`, { ...info, config: {} }])),
    "/api/scores": kept.map(({ id, model, probe }) => ({ id, model, probe, metrics: [] })),
    ...Object.fromEntries(kept.map((document) => [`/api/scores/${document.id}`, document])),
  };
  const posted: unknown[] = [];
  const page = document.createElement("div");
  let shown: Record<string, unknown>;

  function answer(path: string, init?: RequestInit): Response {
    if (init?.method === "POST") {
      posted.push(JSON.parse(String(init.body)));
      return Response.json({
        id: 7,
        kind: "probe",
        title: "induction on bare",
        status: "failed",
        error: "too short",
        created: "",
      });
    }
    const { pathname, searchParams } = new URL(path, "http://localhost");
    if (pathname !== "/api/comparison") return Response.json(ANSWERS[path] ?? []);
    const of = (name: string) => kept.find(({ id }) => id === searchParams.get(name))!;
    return Response.json(compareScores(of("first"), of("second"), { top: Number(searchParams.get("top")) }));
  }

  async function settles(check: () => void): Promise<void> {
    await vi.waitFor(() => {
      workspace.follow();
      flushSync();
      check();
    }, patiently(5_000));
  }
  const text = (): string => page.textContent.replace(/\s+/g, " ");

  beforeAll(() => {
    vi.stubGlobal("fetch", (path: string, init?: RequestInit) => Promise.resolve(answer(path, init)));
    document.body.append(page);
    workspace.open();
    workspace.model = "shallow";
    shown = mount(Compare as Component, { target: page });
  });
  afterAll(() => unmount(shown));

  it("asks for a second model before it compares", async () => {
    await settles(() => expect(text()).toContain("Choose a second model"));
    expect(page.querySelector('[role="grid"]')).toBeNull();
  });

  it("shows the finding, both grids on one scale, and the heads with their depth", async () => {
    secondParam.value = "deep";
    bestParam.value = 2;
    await settles(() =>
      expect(text()).toContain("lie at depth 0.00 to 1.00 in shallow (0.30 to 0.90) and 0.50 to 1.00 in deep"),
    );
    const grids = [...page.querySelectorAll('[role="grid"]')].map((grid) => grid.getAttribute("aria-label"));
    expect(grids).toEqual(["induction of each head of shallow", "induction of each head of deep"]);
    // What a share can be, not what the better model reaches.
    expect(page.querySelectorAll('[aria-label^="colours from 0 to 1"]')).toHaveLength(1);
    expect(page.querySelector('[aria-label^="colours from 0 to 1"]')?.getAttribute("aria-label")).toContain(
      "chance 0.02",
    );
    const paint = (head: string): string[] =>
      [...page.querySelectorAll<HTMLElement>(`[data-head="${head}"]`)].map(({ style }) => style.backgroundColor);
    // 0 in the deep one; 0.1 in the shallow one and in the deep one's 1.1.
    expect(paint("0.0")[0]).toBe(paint("1.1")[1]);
    expect(paint("0.0")[0]).not.toBe(paint("0.0")[1]);
  });

  it("takes the scores made most alike, and says in which parameters others differ", async () => {
    expect(comparisonView.second?.id).toBe("scores/deep/long.json");
    secondScoresParam.value = "scores/deep/short.json";
    await settles(() => expect(text()).toContain("Not the same for both: length 50 and 20."));
    const legends = [...page.querySelectorAll("figure [role=img]")].map((each) => each.getAttribute("aria-label"));
    expect(legends).toEqual([expect.stringContaining("chance 0.02"), expect.stringContaining("chance 0.05")]);
    expect(comparisonView.command()).toBe(
      "npx headscope compare .headscope/start/shallow.json .headscope/scores/deep/short.json --metric induction --top 2",
    );
    expect(view.href("compare")).toContain("second-scores=");
    const links = [...page.querySelectorAll("table a")].map(
      (link) => new URL(link.getAttribute("href")!, "http://localhost"),
    );
    const of = ({ searchParams }: URL): (string | null)[] =>
      ["model", "second", "head"].map((name) => searchParams.get(name));
    expect(links.map(of)).toEqual([
      ["shallow", "deep", "1.0"],
      ["deep", "shallow", "1.0"],
      ["shallow", "deep", "0.1"],
      ["deep", "shallow", "2.0"],
    ]);
  });

  it("scores a model that has no such scores by the same parameters; where that fails, offers the probe's own", async () => {
    secondParam.value = "bare";
    secondScoresParam.value = "";
    const button = (words: string) =>
      [...page.querySelectorAll("button")].find((each) => each.textContent.includes(words));
    await settles(() => expect(text()).toContain("bare has not been scored by induction yet"));
    expect(comparisonView.comparison).toBeUndefined();
    button("Score bare")!.click();
    await settles(() => expect(text()).toContain("too short"));
    button("own parameters")!.click();
    await settles(() => expect(posted).toHaveLength(2));
    const job = { kind: "probe", model: "bare" };
    expect(posted).toEqual([
      { ...job, probes: [{ name: "induction", params: { length: 50 } }], seed: 0 },
      { ...job, probes: [{ name: "induction", params: {} }] },
    ]);
  });

  it("offers to score both where neither has been scored by a probe", async () => {
    metricParam.value = writeMetricName({ probe: "retrieval", name: "retrieval" });
    await settles(() => {
      for (const ref of ["shallow", "bare"]) expect(text()).toContain(`${ref} has not been scored by retrieval yet`);
    });
    metricParam.value = "";
  });
});
