import { flushSync, mount, unmount } from "svelte";
import { SvelteMap } from "svelte/reactivity";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { PlotFigure } from "../../../frontend/src/components/plot/figure.ts";
import Plot from "../../../frontend/src/components/plot/Plot.svelte";

const { react } = vi.hoisted(() => ({ react: vi.fn() }));
vi.mock("plotly.js/dist/plotly-cartesian.min.js", () => ({
  default: { react, purge: () => {}, toImage: async () => "", Plots: { resize: () => {} } },
}));

const figures = new SvelteMap<"shown", PlotFigure>();
let close: () => void;
/** Runs the callbacks of the next frame. */
let frame: () => void;

beforeEach(async () => {
  const callbacks: (() => void)[] = [];
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => callbacks.push(run));
  frame = () => {
    for (const run of callbacks.splice(0)) run();
  };
  const drawn = { removeAllListeners: () => {}, on: () => {} };
  react.mockReset().mockResolvedValue(drawn);
  show([1, 2]);
  const props = {
    get figure() {
      return figures.get("shown")!;
    },
    height: 100,
    label: "losses",
  };
  const plot = mount(Plot, { target: document.body, props });
  close = () => void unmount(plot);
  await vi.dynamicImportSettled();
  flushSync();
});
afterEach(() => {
  close();
  vi.unstubAllGlobals();
});

function show(y: readonly number[]): void {
  figures.set("shown", { data: [{ type: "scatter", y }] });
}

/** The task after a frame. */
function task(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

it("a plot is drawn behind the frame in which the rest of its page is painted, once for all changes before it", async () => {
  show([3, 4]);
  flushSync();
  expect(react).not.toHaveBeenCalled();
  frame();
  expect(react).not.toHaveBeenCalled();
  await task();
  expect(react).toHaveBeenCalledTimes(1);
  expect(react.mock.lastCall?.[1]).toMatchObject([{ y: [3, 4] }]);
});

it("a plot whose figure says the same is not drawn again", async () => {
  frame();
  await task();
  show([1, 2]);
  flushSync();
  frame();
  await task();
  expect(react).toHaveBeenCalledTimes(1);
});
