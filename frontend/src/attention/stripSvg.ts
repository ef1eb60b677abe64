import { inkOn } from "../colours.ts";
import { escaped } from "../components/text.ts";
import { visible } from "../components/tokens.ts";
import type { Box } from "./boxes.ts";
import { FILL, type StripMarks } from "./strip.ts";

interface Theme {
  readonly outgoing: string;
  readonly incoming: string;
  readonly paper: string;
  readonly ink: string;
  readonly border: string;
}

/** A strip of tokens with its marks as SVG, all of it vectors. @param fills colours of tokens that have their own */
export function stripSvg(
  head: string,
  tokens: readonly string[],
  boxes: readonly Box[],
  marks: StripMarks,
  fills: readonly (string | undefined)[],
  { width, height }: { readonly width: number; readonly height: number },
  theme: Theme,
): string {
  const cells = boxes.flatMap((box, i) => {
    const half = (y: number, share: number | undefined, colour: string): string[] =>
      share
        ? [rect({ ...box, y, height: box.height / 2 }, `fill="${colour}" fill-opacity="${round(share * FILL)}"`)]
        : [];
    const fill = fills[i];
    const { x, y } = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    return [
      ...half(box.y, marks.upper[i], theme.outgoing),
      ...half(box.y + box.height / 2, marks.lower[i], theme.incoming),
      rect(box, `fill="${fill ?? "none"}" stroke="${theme.border}"`),
      text(x, y, visible(tokens[i] ?? ""), fill ? inkOn(fill) : theme.ink, 13),
    ];
  });
  const lines = marks.lines.map(
    ({ from, over, to, kind, strength }) =>
      `<path d="M${round(from.x)} ${round(from.y)}Q${round(over.x)} ${round(over.y)} ${round(to.x)} ${round(to.y)}" fill="none" ` +
      `stroke="${theme[kind]}" stroke-width="${round(0.75 + 1.75 * strength)}" stroke-opacity="${round(0.25 + 0.65 * strength)}"/>`,
  );
  const numbers = marks.numbers.map(({ x, y, text: value, kind }) => text(x, y, value, theme[kind], 10));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="monospace">`,
    `<title>Attention of ${escaped(head)}</title>`,
    `<rect width="100%" height="100%" fill="${theme.paper}"/>`,
    ...lines,
    ...cells,
    ...numbers,
    "</svg>",
  ].join("\n");
}

function rect({ x, y, width, height }: Box, rest: string): string {
  return `<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ${rest}/>`;
}

function text(x: number, y: number, content: string, fill: string, size: number): string {
  const place = `x="${round(x)}" y="${round(y)}" text-anchor="middle" dominant-baseline="central"`;
  return `<text ${place} font-size="${size}" fill="${fill}">${escaped(content)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
