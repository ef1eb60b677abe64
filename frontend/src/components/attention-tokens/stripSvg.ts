import { inkOn } from "../../../../backend/common/figures/palette.ts";
import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { visible } from "../../format.ts";

import type { TokenBox } from "./boxes.ts";
import { FILL, type StripMarks } from "./strip.ts";

interface Theme {
  readonly outgoing: string;
  readonly incoming: string;
  readonly paper: string;
  readonly ink: string;
  readonly border: string;
}

/** Height and least width in pixels of the line below the strip that says which half of a token means what. */
const [LEGEND, LEGEND_WIDTH] = [24, 340];

/** A strip of tokens as it is drawn. */
interface Strip {
  readonly head: string;
  readonly tokens: readonly string[];
  readonly boxes: readonly TokenBox[];
  readonly marks: StripMarks;
  /** Colours of tokens that have their own. */
  readonly fills: readonly (string | undefined)[];
  /** In pixels. */
  readonly size: { readonly width: number; readonly height: number };
  readonly theme: Theme;
}

/** A strip of tokens with its marks and their legend as SVG, all of it vectors. */
export function stripSvg({ head, tokens, boxes, marks, fills, size: { width, height }, theme }: Strip): string {
  const cells = boxes.flatMap((box, i) => {
    const half = (y: number, share: number | undefined, colour: string): string[] =>
      share
        ? [rect({ ...box, y, height: box.height / 2 }, `fill="${colour}" fill-opacity="${round(share * FILL)}"`)]
        : [];
    const fill = fills[i];
    const middle = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    return [
      ...half(box.y, marks.upper[i], theme.outgoing),
      ...half(box.y + box.height / 2, marks.lower[i], theme.incoming),
      rect(box, `fill="${fill ?? "none"}" stroke="${theme.border}"`),
      text(middle, visible(tokens[i] ?? ""), fill ? inkOn(fill) : theme.ink, 13),
    ];
  });
  const lines = marks.lines.map(
    ({ from, over, to, kind, strength }) =>
      `<path d="M${round(from.x)} ${round(from.y)}Q${round(over.x)} ${round(over.y)} ${round(to.x)} ${round(to.y)}" fill="none" ` +
      `stroke="${theme[kind]}" stroke-width="${round(0.75 + 1.75 * strength)}" stroke-opacity="${round(0.25 + 0.65 * strength)}"/>`,
  );
  const numbers = marks.numbers.map((number) => text(number, number.text, theme[number.kind], 10));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.max(width, LEGEND_WIDTH)}" height="${height + LEGEND}" font-family="monospace">`,
    `<title>Attention of ${escapeXml(head)}</title>`,
    `<rect width="100%" height="100%" fill="${theme.paper}"/>`,
    ...lines,
    ...cells,
    ...numbers,
    ...legend(height, theme),
    "</svg>",
  ].join("\n");
}

function legend(top: number, theme: Theme): string[] {
  const y = top + LEGEND / 2;
  const entries = [
    [theme.outgoing, "upper half: looks at", 4],
    [theme.incoming, "lower half: seen by", 184],
  ] as const;
  return entries.flatMap(([colour, words, x]) => [
    rect({ x, y: y - 5, width: 10, height: 10 }, `fill="${colour}"`),
    `<text x="${x + 16}" y="${y}" dominant-baseline="central" font-size="11" fill="${theme.ink}">${words}</text>`,
  ]);
}

function rect({ x, y, width, height }: TokenBox, rest: string): string {
  return `<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ${rest}/>`;
}

function text({ x, y }: Pick<TokenBox, "x" | "y">, content: string, fill: string, size: number): string {
  const place = `x="${round(x)}" y="${round(y)}" text-anchor="middle" dominant-baseline="central"`;
  return `<text ${place} font-size="${size}" fill="${fill}">${escapeXml(content)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
