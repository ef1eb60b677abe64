// The parts of plotly.js that the front end uses; the package brings no types of its own.
declare module "plotly.js/dist/plotly-cartesian.min.js" {
  export type Axis = Record<string, unknown>;
  export type Layout = Record<string, unknown>;
  export type Trace = Record<string, unknown>;

  /** A point that the pointer is at or has clicked. */
  export interface Point {
    curveNumber: number;
    pointIndex?: number;
    pointNumber: number | [number, number];
    x: unknown;
    y: unknown;
    data: Trace;
    customdata?: unknown;
  }

  export interface PlotElement extends HTMLElement {
    /** The event is absent where a selection was undone. */
    on(event: "plotly_click" | "plotly_selected", listener: (event: { points: Point[] } | undefined) => void): void;
    /** Undefined where a double click gave the selection up. */
    on(event: "plotly_selected", listener: (event: { points: Point[] } | undefined) => void): void;
    removeAllListeners(event: string): void;
  }

  export interface Plotly {
    react(root: HTMLElement, data: Trace[], layout: Layout, config: Record<string, unknown>): Promise<PlotElement>;
    toImage(
      figure: { data: Trace[]; layout: Layout },
      options: { format: "png" | "svg"; width: number; height: number; scale?: number },
    ): Promise<string>;
    purge(root: HTMLElement): void;
    Plots: { resize(root: HTMLElement): void };
  }

  const plotly: Plotly;
  export default plotly;
}
