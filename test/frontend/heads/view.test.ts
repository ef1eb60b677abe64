import { flushSync, mount, unmount } from "svelte";
import { beforeAll, describe, expect, it, vi } from "vitest";
import TopHeads from "../../../frontend/src/components/head-choice/TopHeads.svelte";
import { gridMetric } from "../../../frontend/src/components/head-metrics/gridMetric.svelte.ts";
import { metricParam } from "../../../frontend/src/components/head-metrics/params.ts";
import ProbeRunner from "../../../frontend/src/heads/ProbeRunner.svelte";
import { orderParam, probeParam } from "../../../frontend/src/heads/params.ts";
import { headsView } from "../../../frontend/src/heads/view.svelte.ts";
import { selection } from "../../../frontend/src/state/selection.svelte.ts";
import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const model = { ref: "toy", family: "llama", digest: `sha256:${"0".repeat(64)}`, layers: 2, heads: 4, kvHeads: 2 };
const metrics = {
  induction: {
    axis: "heads",
    values: [
      [0.1, 0.9, 0.3, 0.2],
      [0.5, 0.8, 0.4, 0],
    ],
  },
  alpha: {
    axis: "kvHeads",
    values: [
      [0.1, 0.9],
      [0.5, 0.2],
    ],
  },
};
const scores = { format: "headscope.head-scores/1", model, probe: "induction", params: {}, summary: {}, metrics };
const ANSWERS: Record<string, unknown> = {
  "/api/health": { version: "0", folder: "/" },
  "/api/models": [{ ref: "toy", title: "Toy", kind: "constructed", ready: true }],
  "/api/models/toy": { ...model, config: {} },
  "/api/scores": [{ id: "start/toy.json", model, probe: "induction", metrics: [] }],
  "/api/scores/start/toy.json": scores,
};

beforeAll(async () => {
  vi.stubGlobal("fetch", (path: string) => Promise.resolve(Response.json(ANSWERS[path] ?? [])));
  workspace.open();
  await vi.waitFor(() => {
    workspace.follow();
    expect(gridMetric.value).toBeDefined();
  }, patiently(5_000));
});

describe("the view of the Heads page", () => {
  it("begins with induction, and follows the metric of the address", () => {
    expect(gridMetric.value?.id).toBe("start/toy.json#induction");
    metricParam.value = "start/toy.json#alpha";
    expect(headsView.ranked.map(({ name }) => name)).toEqual(["0.1", "1.0", "1.1", "0.0"]);
    metricParam.value = "";
  });

  it("selects the top N, knows it again, and forgets it when the set is another", () => {
    headsView.selectTop(2);
    expect(selection.value).toEqual(["0.1", "1.1"]);
    expect([headsView.top, headsView.topOfAll]).toEqual([2, 2]);
    headsView.select(["0.0"], "toggle");
    expect([headsView.top, headsView.topOfAll]).toEqual([0, 0]);
  });

  it("takes the best also where the list is by place, and the lowest where it is the other way round", () => {
    orderParam.value = "layer";
    headsView.selectTop(1);
    expect(selection.value).toEqual(["0.1"]);
    orderParam.value = "lowest";
    headsView.selectTop(1);
    expect(selection.value).toEqual(["1.3"]);
    expect(headsView.topOfAll).toBe(0);
    orderParam.value = "highest";
  });

  it("selects the query heads that read a KV head, and shows the KV heads that selected heads read", () => {
    metricParam.value = "start/toy.json#alpha";
    headsView.select(["0.1"], "replace");
    expect(selection.value).toEqual(["0.2", "0.3"]);
    expect(headsView.chosen).toEqual(["0.1"]);
    expect(headsView.opened("0.1")).toBe("0.2");
    metricParam.value = "";
  });

  it("takes a selection back with undo", () => {
    selection.value = ["1.0"];
    vi.useFakeTimers({ now: Date.now() + 1000 });
    headsView.selectTop(3);
    vi.useRealTimers();
    expect(selection.value).toHaveLength(3);
    view.undo();
    expect(selection.value).toEqual(["1.0"]);
  });
});

describe("a probe that is measured for a question", () => {
  it("is shown by the metric that the question named, not by the probe's own", async () => {
    const sinks = { ...scores, probe: "sink", metrics: { sink: metrics.induction, importance: metrics.alpha } };
    const done = { id: 9, kind: "probe", title: "sink", status: "done", result: { scores: ["scores/s.json"] }, created: "" };
    const definition = { name: "sink", title: "Sinks", description: "", source: "", flags: [] };
    ANSWERS["/api/definitions"] = { probes: [definition], tasks: [], experiments: [], exports: [], imports: [] };
    ANSWERS["/api/scores/scores/s.json"] = sinks;
    ANSWERS["/api/jobs"] = [];
    workspace.refresh();
    view.change({ ...metricParam.to("probe:sink#importance"), ...probeParam.to("sink") });
    await vi.waitFor(() => expect(workspace.definitions.value?.probes).toHaveLength(1), patiently(5_000));
    expect(gridMetric.awaited).toEqual({ probe: "sink", name: "importance" });
    const target = document.createElement("div");
    const shown = mount(ProbeRunner, { target });
    flushSync();
    ANSWERS["/api/jobs"] = done;
    const measure = [...target.querySelectorAll("button")].find((each) => each.textContent.trim() === "Measure")!;
    measure.click();
    await vi.waitFor(() => expect(metricParam.value).toBe("scores/s.json#importance"), patiently(5_000));
    await unmount(shown);
    metricParam.value = "";
  });
}); // biome-ignore format: long lines

describe("the choice of a score's top heads", () => {
  it("selects what it shows as soon as it opens, and leaves other heads to compare with", async () => {
    selection.value = [];
    const target = document.createElement("div");
    const shown = mount(TopHeads, { target });
    await vi.waitFor(() => expect(selection.value).toEqual(["0.1", "1.1"]), patiently(5_000));
    flushSync();
    expect(target.querySelector<HTMLInputElement>("input[type=range]")?.value).toBe("2");
    expect(target.querySelector("[role=status]")?.textContent).toContain("2 heads");
    await unmount(shown);
  });
});
