import { type Component, flushSync, mount, unmount } from "svelte";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import HeadPicker from "../../../frontend/src/components/head-choice/HeadPicker.svelte";
import TopHeads from "../../../frontend/src/components/head-choice/TopHeads.svelte";
import { gridMetric } from "../../../frontend/src/components/head-metrics/gridMetric.svelte.ts";
import { headMetrics } from "../../../frontend/src/components/head-metrics/headMetrics.svelte.ts";
import { metricParam } from "../../../frontend/src/components/head-metrics/params.ts";
import FinderFilters from "../../../frontend/src/heads/finder/FinderFilters.svelte";
import Heads from "../../../frontend/src/heads/Page.svelte";

import { kind } from "../../../frontend/src/patching/params.ts";
import WhatCard from "../../../frontend/src/patching/WhatCard.svelte";
import { selection } from "../../../frontend/src/state/selection.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const LAYERS = 2;
const HEADS = 4;
const shape = { family: "llama", digest: `sha256:${"0".repeat(64)}`, layers: LAYERS, heads: HEADS, kvHeads: HEADS };
const scores = [
  [0.1, 0.2, 0, 0.3],
  [0.5, 0.9, 0.4, 0],
];
const measured = scores.flatMap((row, layer) =>
  row.map((value, head) => [`induction.induction[${layer}.${head}]`, [[10, value]]]),
);
const ANSWERS: Record<string, unknown> = {
  "/api/health": { version: "0", folder: "/" },
  "/api/definitions": { probes: [], tasks: [], experiments: [], exports: [], imports: [] },
  "/api/models": ["run:r-1", "bare"].map((ref) => ({ ref, title: ref, kind: "constructed", ready: true })),
  "/api/models/run%3Ar-1": { ...shape, ref: "run:r-1", config: { attn_only: true } },
  "/api/models/bare": { ...shape, ref: "bare", config: { attn_only: true } },
  "/api/runs/r-1": { id: "r-1", checkpoints: [10], evenScores: { "induction.induction": 0.02 } },
  "/api/runs/r-1/metrics": Object.fromEntries(measured),
};

async function use(model: string): Promise<void> {
  workspace.model = model;
  await vi.waitFor(() => {
    workspace.follow();
    headMetrics.follow();
    expect(workspace.info.value?.ref).toBe(model);
    expect(headMetrics.metrics.length).toBe(model === "bare" ? 0 : 1);
    expect(headMetrics.detail.loading).toBe(false);
  }, patiently(5_000));
}

let shown: Record<string, unknown> | undefined;
afterEach(async () => {
  if (shown) await unmount(shown);
  shown = undefined;
  document.body.replaceChildren();
});

function show(component: unknown): HTMLElement {
  const target = document.body.appendChild(document.createElement("div"));
  shown = mount(component as Component, { target });
  flushSync();
  return target;
}

beforeAll(() => {
  vi.stubGlobal("fetch", (path: string) => Promise.resolve(Response.json(ANSWERS[path] ?? [])));
  workspace.open();
});

describe("a toy run of two layers that has no scores but those of its training", () => {
  it.each(["bare", "run:r-1"])("is given heads that it has as examples (%s)", async (model) => {
    await use(model);
    kind.value = "path";
    for (const component of [FinderFilters, WhatCard]) {
      const examples = [...show(component).querySelectorAll("input")].flatMap(
        ({ placeholder }) => placeholder.match(/\d+\.\d*/g) ?? [],
      );
      expect(examples.length).toBeGreaterThan(0);
      for (const example of examples) {
        const [layer, head] = example.split(".");
        expect(Number(layer)).toBeLessThan(LAYERS);
        expect(Number(head)).toBeLessThan(HEADS);
      }
      await unmount(shown!);
      shown = undefined;
    }
    kind.value = "node";
  });

  it("has the top of what its training measured", async () => {
    await use("run:r-1");
    selection.value = [];
    expect(show(HeadPicker).textContent).toContain("Top of a score");
    await unmount(shown!);
    show(TopHeads);
    await vi.waitFor(() => expect(selection.value).toEqual(["1.0", "1.1"]), patiently(5_000));
  });

  it("is coloured with chance marked, as its run tells it", async () => {
    await use("run:r-1");
    expect(gridMetric.value?.document).toBeUndefined();
    expect(gridMetric.scale.chance).toBe(0.02);
  });

  it("has no figure of its one metric against itself, whatever the address says", async () => {
    await use("run:r-1");
    for (const id of ["", "training#induction.induction"]) {
      metricParam.value = id;
      const page = show(Heads);
      expect(page.querySelector('[role="grid"]')).not.toBeNull();
      expect(page.textContent).not.toContain("Two metrics");
      await unmount(shown!);
      shown = undefined;
    }
  });
});
