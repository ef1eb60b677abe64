import { z } from "zod";

const axis = z.object({
  title: z.string(),
  /** Logarithmic; values that are not above 0 are then left out. */
  log: z.boolean().optional(),
  /** Ticks at whole numbers only. */
  whole: z.boolean().optional(),
  /** From and to, in the axis's own units; default what the data covers. */
  range: z.tuple([z.number(), z.number()]).optional(),
});

/** A value that was measured; null where there is none, so that JSON can hold it. */
const values = z.array(z.number().nullable());

/** From and to, a pair a value of x. */
const ranges = z.object({ low: values, high: values });

const head = {
  /** File name without its extension: lower case with hyphens. */
  name: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/),
  title: z.string(),
  /** One or two sentences under the figure: what is drawn, over how many runs. */
  caption: z.string().optional(),
};

const line = z.object({
  name: z.string(),
  x: z.array(z.number()),
  y: values,
  dashed: z.boolean().optional(),
  /** False: the values stand for themselves, such as one a seed, and no line joins them. */
  joined: z.boolean().optional(),
  /** Marks every value, for lines of few. */
  points: z.boolean().optional(),
  /** Range over runs. */
  band: ranges.optional(),
  /** Intervals of values that each stand for themselves. */
  whiskers: ranges.optional(),
});

/** Schema of a figure of lines over one pair of axes. */
const lineFigureSchema = z
  .object({
    kind: z.literal("lines"),
    ...head,
    x: axis,
    y: axis,
    lines: z.array(line),
    /** Vertical rules with a word beside them. */
    marks: z.array(z.object({ x: z.number(), label: z.string() })).optional(),
  })
  .refine(
    ({ lines }) =>
      lines.every(({ x, y, band, whiskers }) =>
        [y, ...[band, whiskers].flatMap((range) => (range ? [range.low, range.high] : []))].every(
          (column) => column.length === x.length,
        ),
      ),
    "every line has as many values of y, of its band and of its whiskers, as of x",
  );

/** Schema of a table of numbers as colours. */
const heatmapFigureSchema = z
  .object({
    kind: z.literal("heatmap"),
    ...head,
    /** Columns, from the left. */
    x: z.object({ title: z.string(), labels: z.array(z.string()) }),
    /** Rows, from the top. */
    y: z.object({ title: z.string(), labels: z.array(z.string()) }),
    /** [rows][columns] */
    z: z.array(values),
    /** Meaning of the colours, and the values of the first and last colour. */
    scale: z.object({ title: z.string(), range: z.tuple([z.number(), z.number()]).optional() }),
  })
  .refine(
    ({ x, y, z: table }) => table.length === y.labels.length && table.every((row) => row.length === x.labels.length),
    "a heatmap has a row for every label of y and a column for every label of x",
  );

/** Schema of every kind of figure. */
export const figureSchema = z.discriminatedUnion("kind", [lineFigureSchema, heatmapFigureSchema]);

/** Lines over one pair of axes. */
export type LineFigure = z.output<typeof lineFigureSchema>;
/** A table of numbers as colours. */
export type HeatmapFigure = z.output<typeof heatmapFigureSchema>;
/** A drawing of a report, as data: `toPlotly` and `toSvg` make pictures of it. */
export type Figure = z.output<typeof figureSchema>;
