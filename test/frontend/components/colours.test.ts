import { describe, expect, it } from "vitest";
import { inkOn } from "../../../backend/common/figures/palette.ts";
import { diverging, heat, heatStops, lineColour, plotlyScale } from "../../../frontend/src/colours.ts";
import { theme } from "../../../frontend/src/state/theme.svelte.ts";

function channels(colour: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

/** Contrast of two colours by WCAG 2, from 1 to 21. */
function contrast(one: string, other: string): number {
  const luminance = (colour: string): number => {
    const [r, g, b] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

describe("colours", () => {
  it("of a heat map are those of the nearest place of 256, and the ends beyond them", () => {
    theme.choice = "light";
    expect([heat(0), heat(1)]).toEqual([heatStops()[0], heatStops().at(-1)]);
    expect([heat(-1), heat(2), heat(Number.NaN)]).toEqual([heat(0), heat(1), heat(0)]);
    expect(plotlyScale("heat").map(([, colour]) => colour)).toEqual(heatStops());
  });

  it.each(["light", "dark"] as const)(
    "of a heat map leave the page's own the more, the higher the value is, %s",
    (choice) => {
      theme.choice = choice;
      const ground = choice === "light" ? "#ffffff" : "#1b2128";
      const away = heatStops().map((colour) => contrast(colour, ground));
      expect(away.toSorted((a, b) => a - b)).toEqual(away);
      expect(away[0]).toBeLessThan(1.5);
    },
  );

  it.each(["light", "dark"] as const)("of lines stand out from the page, %s", (choice) => {
    theme.choice = choice;
    const ground = choice === "light" ? "#ffffff" : "#1b2128";
    for (let n = 0; n < 7; n++) expect(contrast(lineColour(n), ground)).toBeGreaterThan(choice === "light" ? 2 : 4.5);
  });

  it.each(["light", "dark"] as const)("have an ink that can be read on them, %s", (choice) => {
    theme.choice = choice;
    for (let i = 0; i <= 255; i++)
      for (const colour of [heat(i / 255), diverging((2 * i) / 255 - 1)])
        expect(contrast(colour, inkOn(colour))).toBeGreaterThanOrEqual(4.5);
  });

  it.each(["light", "dark"] as const)("diverge from a quiet middle to blue below and orange above, %s", (choice) => {
    theme.choice = choice;
    const ground = choice === "light" ? "#ffffff" : "#1b2128";
    const away = (t: number): number => contrast(diverging(t), ground);
    for (const t of [0.25, 0.5, 0.75, 1]) {
      expect(away(t)).toBeGreaterThan(away(t - 0.25));
      expect(away(-t)).toBeGreaterThan(away(0.25 - t));
      const [below, above] = [channels(diverging(-t)), channels(diverging(t))];
      expect(below[2]).toBeGreaterThan(below[0]!);
      expect(above[0]).toBeGreaterThan(above[2]!);
    }
  });

  it("of lines come again after seven", () => {
    expect(new Set(Array.from({ length: 7 }, (_, n) => lineColour(n))).size).toBe(7);
    expect(lineColour(7)).toBe(lineColour(0));
  });
});
