import type { PromptInput } from "../../../../backend/common/api/prompts.ts";
import { promptCommand } from "../../../../backend/common/command-line.ts";
import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { visible } from "../../format.ts";
import { largest } from "../attention-tokens/statistics.ts";
import type { Table } from "../card/files.ts";
import { type ColourBar, colourBarSvg } from "../plot/colourBar.ts";

import type { Contrast } from "./contrast.ts";

/** A head's pattern with what names it. */
export interface NamedPattern {
  /** LAYER.HEAD */
  readonly head: string;
  readonly tokens: readonly string[];
  readonly ids: readonly number[];
  /** [tokens, tokens] */
  readonly pattern: Float32Array;
}

/** Longest prompts whose whole pattern goes into a CSV or a JSON file; of longer ones only what is not negligible does. */
export const MOST_DENSE = 512;
/** Weight that counts as negligible, as a share of the largest weight. */
const NEGLIGIBLE = 0.001;

/** Every weight that a query can have, or for long prompts those that are not negligible: query, key, both tokens, weight. */
export function patternTable({ tokens, pattern }: NamedPattern): Table {
  const rows: (string | number)[][] = [];
  for (const [query, key, weight] of weights(pattern, tokens.length))
    rows.push([query, key, tokens[query]!, tokens[key]!, weight]);
  return { columns: ["query", "key", "query_token", "key_token", "weight"], rows };
}

/**
 * The pattern as CircuitsVis' AttentionHeads takes it, `attention` [head][destination][source]. Of long prompts as HeadVis'
 * sequences have it: indices query * length + key, and values.
 */
export function patternJson(some: readonly NamedPattern[]): unknown {
  const { tokens } = some[0]!;
  const count = tokens.length;
  if (count > MOST_DENSE)
    return some.map(({ head, pattern }) => {
      const list = weights(pattern, count);
      return {
        head,
        tokens,
        attention_indices: list.map(([query, key]) => query * count + key),
        attention_values: list.map(([, , weight]) => weight),
        seq_len: count,
      };
    });
  return {
    attention: some.map(({ pattern }) =>
      tokens.map((_, query) => Array.from(pattern.subarray(query * count, (query + 1) * count), rounded)),
    ),
    tokens,
    attentionHeadNames: some.map(({ head }) => head),
    maskUpperTri: true,
  };
}

/**
 * The command that writes the layer's pattern. @param request what POST /api/prompts takes
 * Token ids go by a file, which the line writes first.
 */
export function patternCommand(layer: number, request: PromptInput): string {
  const options = { names: `blocks.${layer}.attn.hook_pattern`, out: "pattern.safetensors" };
  return promptCommand("forward", request, options);
}

/** The colours of patterns: at even steps of the scale from 0 to the highest value. */
export interface PatternScale {
  readonly stops: readonly string[];
  readonly high: number;
  readonly contrast: Contrast;
  /** Weights are multiplied by the values' norms. */
  readonly byValue: boolean;
}

/** Name of the numbers of a pattern. */
export function weightUnit(byValue: boolean): string {
  return byValue ? "weight × norm of value" : "attention weight";
}

/** The colour bar of a picture of patterns. */
export function patternBar({ stops, high, contrast, byValue }: PatternScale): ColourBar {
  const words = weightUnit(byValue);
  return {
    stops,
    ends: ["0", String(rounded(high))],
    words: contrast === "linear" ? words : `${words}, ${contrast} scale`,
  };
}

/** Colours of a matrix as SVG. */
export interface MatrixLook {
  readonly paper: string;
  readonly ink: string;
  /** Of its colour bar. */
  readonly scale?: PatternScale;
}

/** A matrix as SVG: an image of one pixel a cell, kept sharp, with the tokens as text. @param image data URL of the PNG */
export function matrixSvg({ head, tokens }: NamedPattern, image: string, { paper, ink, scale }: MatrixLook): string {
  const count = tokens.length;
  const cell = Math.max(10, 480 / count);
  const step = Math.ceil(12 / cell);
  const [left, top, side] = [120, 120, count * cell];
  const labels = tokens.flatMap((token, i) => {
    if (i % step !== 0) return [];
    const text = escapeXml(`${i}: ${visible(token)}`);
    const at = (i + 0.5) * cell;
    return [
      `<text x="${left - 6}" y="${top + at}" text-anchor="end" dominant-baseline="central">${text}</text>`,
      `<text transform="translate(${left + at} ${top - 6}) rotate(-90)" dominant-baseline="central">${text}</text>`,
    ];
  });
  const size = `width="${left + side + 16}" height="${top + side + (scale ? 52 : 16)}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="monospace" font-size="11" fill="${ink}">`,
    `<title>Attention pattern of ${escapeXml(head)}</title>`,
    `<rect width="100%" height="100%" fill="${paper}"/>`,
    `<image x="${left}" y="${top}" width="${side}" height="${side}" href="${image}" style="image-rendering:pixelated"/>`,
    `<text x="6" y="16">${escapeXml(head)}: query down, key across</text>`,
    ...labels,
    ...(scale ? colourBarSvg(patternBar(scale), [left, top + side + 14]) : []),
    "</svg>",
  ].join("\n");
}

/** [query, key, weight] of the keys that a query can see. */
function weights(pattern: Float32Array, tokens: number): [number, number, number][] {
  const least = tokens > MOST_DENSE ? largest(pattern) * NEGLIGIBLE : 0;
  const list: [number, number, number][] = [];
  for (let query = 0; query < tokens; query++)
    for (let key = 0; key <= query; key++) {
      const weight = pattern[query * tokens + key]!;
      if (weight >= least) list.push([query, key, rounded(weight)]);
    }
  return list;
}

/** To the four digits that half precision has. */
function rounded(weight: number): number {
  return Number(weight.toPrecision(4));
}
