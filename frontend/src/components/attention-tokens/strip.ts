import { weightText } from "../../format.ts";
import { type Connector, connector, middle, type PixelPoint, type TokenBox } from "./boxes.ts";
import { strongestWeights } from "./statistics.ts";

/** Colour and height behind a strip of tokens. */
export interface StripMarks {
  /** Behind the upper and lower half of each token, from 0 to 1. */
  readonly upper: readonly number[];
  readonly lower: readonly number[];
  readonly lines: readonly StripLine[];
  readonly numbers: readonly StripNumber[];
}

export interface StripLine extends Connector {
  readonly kind: "outgoing" | "incoming";
  /** From 0 to 1. */
  readonly strength: number;
}

export interface StripNumber extends PixelPoint {
  readonly kind: "outgoing" | "incoming";
  readonly text: string;
}

/** Lines and numbers for so many of the strongest weights each way. */
const LINES = 12;
const NUMBERS = 6;
/** Weaker ones than this share of the largest have neither. */
const LEAST = 0.005;
/** Width of a digit of the numbers, in pixels. */
const DIGIT = 6;

/** Strength in which a weight is shown: the root of its share, so that weak ones next to a sink can be told from none. */
export function strength(weight: number, largest: number): number {
  return largest > 0 ? Math.sqrt(Math.min(1, weight / largest)) : 0;
}

/** The attention of one token. */
export interface TokenWeights {
  /** Its weights on every key. */
  readonly outgoing: Float32Array;
  /** Every query's weight on it. */
  readonly incoming: Float32Array;
  /** The weight that is shown strongest, the same for all tokens of a head. */
  readonly largest: number;
}

/** The marks for one token: where it looks above, who looks at it below. */
export function marksOf(focused: number, boxes: readonly TokenBox[], weights: TokenWeights): StripMarks {
  const { outgoing, incoming, largest } = weights;
  const above = oneWay("outgoing", focused, boxes, weights);
  const below = oneWay("incoming", focused, boxes, weights);
  return {
    upper: shares(outgoing, largest),
    lower: shares(incoming, largest),
    lines: [...above.lines, ...below.lines],
    numbers: [...above.numbers, ...below.numbers],
  };
}

/** The marks while no token is focused: below, what each token gets on average. */
export function restingMarks(meanIncoming: Float32Array, largest: number): StripMarks {
  return { upper: [], lower: shares(meanIncoming, largest), lines: [], numbers: [] };
}

function oneWay(
  kind: StripLine["kind"],
  focused: number,
  boxes: readonly TokenBox[],
  { [kind]: weights, largest }: TokenWeights,
): Pick<StripMarks, "lines" | "numbers"> {
  const side = kind === "outgoing" ? -1 : 1;
  const from = boxes[focused];
  const lines: StripLine[] = [];
  const numbers: StripNumber[] = [];
  for (const { token, weight } of strongestWeights(weights, LINES)) {
    const box = boxes[token];
    if (!box || !from || weight < LEAST * largest) break;
    if (token !== focused) lines.push({ ...connector(from, box, side), kind, strength: strength(weight, largest) });
    const number = {
      kind,
      x: middle(box).x,
      y: side < 0 ? box.y - 5 : box.y + box.height + 6,
      text: weightText(weight),
    };
    if (numbers.length < NUMBERS && !numbers.some((other) => overlap(other, number))) numbers.push(number);
  }
  return { lines, numbers };
}

function overlap(a: StripNumber, b: StripNumber): boolean {
  return a.y === b.y && Math.abs(a.x - b.x) < ((a.text.length + b.text.length) / 2) * DIGIT + DIGIT / 2;
}

/** Opacity of the strongest fill: the text in front must stay readable. */
export const FILL = 0.55;

/** Draws marks in the colours of the two ways. */
export function drawStrip(
  context: CanvasRenderingContext2D,
  boxes: readonly TokenBox[],
  marks: StripMarks,
  colours: Readonly<Record<"outgoing" | "incoming", string>>,
): void {
  for (const [i, { x, y, width, height }] of boxes.entries()) {
    half(context, colours.outgoing, (marks.upper[i] ?? 0) * FILL, x, y, width, height / 2);
    half(context, colours.incoming, (marks.lower[i] ?? 0) * FILL, x, y + height / 2, width, height / 2);
  }
  context.lineCap = "round";
  for (const { kind, strength: share, from, over, to } of marks.lines) {
    context.globalAlpha = 0.25 + 0.65 * share;
    context.strokeStyle = colours[kind];
    context.lineWidth = 0.75 + 1.75 * share;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.quadraticCurveTo(over.x, over.y, to.x, to.y);
    context.stroke();
  }
  context.globalAlpha = 1;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { kind, x, y, text } of marks.numbers) {
    context.fillStyle = colours[kind];
    context.fillText(text, x, y);
  }
}

function half(
  context: CanvasRenderingContext2D,
  colour: string,
  alpha: number,
  ...[x, y, width, height]: [number, number, number, number]
): void {
  if (alpha < 0.01) return;
  context.globalAlpha = alpha;
  context.fillStyle = colour;
  context.fillRect(x, y, width, height);
}

function shares(weights: Float32Array, largest: number): number[] {
  return Array.from(weights, (weight) => strength(weight, largest));
}
