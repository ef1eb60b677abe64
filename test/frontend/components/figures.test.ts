import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { heat, heatStops, lineColour } from "../../../frontend/src/colours.ts";
import { tableCsv } from "../../../frontend/src/components/card/files.ts";
import { leaving } from "../../../frontend/src/components/card/picture.ts";
import {
  csvWithProvenance,
  type Provenance,
  withProvenance,
} from "../../../frontend/src/components/card/provenance.ts";
import { gridSvg } from "../../../frontend/src/components/head-grid/svg.ts";
import { theme } from "../../../frontend/src/state/theme.svelte.ts";

const provenance: Provenance = {
  title: "Loss on your text",
  model: "smollm2-135m",
  digest: `sha256:${"ab".repeat(32)}`,
  headscope: "0.1.0",
  command: 'npx headscope ablate --text "a\n<b>"',
  settings: { text: "a\n<b>", method: "mean", seed: 3 },
  created: "2026-01-01T00:00:00.000Z",
};

const parsed = (svg: string): Document => new DOMParser().parseFromString(svg, "image/svg+xml");

beforeEach(() => {
  theme.choice = "dark";
});
afterEach(() => {
  theme.choice = "auto";
});

describe("a figure that leaves the page", () => {
  const grid = () =>
    gridSvg([[0, 1, 0.5, 0.2]], { groups: 2, selected: [], range: [0, 1], chance: 0.25, unit: "induction" });

  it("is light on a dark page, which stays dark", async () => {
    const dark = lineColour(0);
    const svg = await leaving(() => ({ svg: grid() }), provenance);
    expect(theme.dark).toBe(true);
    expect(document.documentElement.dataset["theme"]).toBe("dark");
    const colours = theme.light(() => [heat(0), heat(1), heatStops()[8], lineColour(0)]);
    expect(colours).not.toContain(dark);
    for (const colour of colours.slice(0, 3)) expect(svg).toContain(colour);
    expect(lineColour(0)).toBe(dark);
  });

  it("says its title, model, digest, version, command and settings, as text and never as markup", async () => {
    const svg = await leaving(() => ({ svg: grid(), title: "A <title>" }), provenance);
    const root = parsed(svg);
    const words = [...root.querySelectorAll("text")].map(({ textContent }) => textContent).join(" ");
    for (const part of [
      "A <title>",
      "smollm2-135m",
      "abababababab",
      "headscope 0.1.0",
      "npx headscope ablate",
      "method mean",
      "seed 3",
    ])
      expect(words).toContain(part);
    expect(root.querySelector("b")).toBeNull();
  });

  it("has a colour bar with chance marked, and brackets around the heads of a KV head", () => {
    const root = parsed(grid());
    expect(root.querySelectorAll("path.kv")).toHaveLength(2);
    expect(root.querySelector("rect.scale")).not.toBeNull();
    expect(root.querySelector("path.chance")).not.toBeNull();
    expect(
      parsed(gridSvg([[0, 1]], { groups: 1, selected: [] })).querySelectorAll("path.kv, path.chance"),
    ).toHaveLength(0);
  });
});

describe("provenance", () => {
  it("is a field of a JSON object, and stands beside a list", () => {
    expect(withProvenance({ a: 1 }, provenance)).toEqual({ a: 1, provenance });
    expect(withProvenance([1], provenance)).toEqual({ provenance, data: [1] });
  });

  it("stands above a CSV in lines that begin with #, whatever the text holds", () => {
    const text = tableCsv({ columns: ["token", "loss"], rows: [["# not a comment", 1]] });
    const lines = csvWithProvenance(text, provenance).split("\r\n");
    const head = lines.filter((line) => line.startsWith("#"));
    expect(head.join(" ")).toContain("smollm2-135m");
    expect(lines.slice(head.length)).toEqual(["token,loss", '"# not a comment",1', ""]);
  });
});
