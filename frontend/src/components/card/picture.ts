import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { theme } from "../../state/theme.svelte.ts";
import { type Provenance, provenanceLines } from "./provenance.ts";

/** A figure of a card. */
export interface Picture {
  /** Document with width and height in pixels. */
  readonly svg: string;
  /** Default: the card's. */
  readonly title?: string;
}

/** Draws a card's figure; what it looks up of the theme it looks up before it waits for anything. */
export type Draw = () => Picture | Promise<Picture>;

/** A figure as it leaves the page, whatever theme that has. @param provenance of the card, whose title stands where the figure has none */
export async function leaving(draw: Draw, provenance: Provenance): Promise<string> {
  const { svg, title = provenance.title } = await theme.light(draw);
  return framed(svg, { ...provenance, title });
}

const [PAD, TITLE, LINE, FONT, LEAST] = [16, 30, 15, 11, 480];
/** Of the caption's font, as a share of its size. */
const CHARACTER = 0.61;

/**
 * A figure as it leaves the page: on white, under its title, over a caption with where it comes from.
 * @param svg document with width and height in pixels
 */
export function framed(svg: string, provenance: Provenance): string {
  const root = /<svg\b[^>]*>/.exec(svg)?.[0] ?? "";
  const side = (name: string): number => Number(new RegExp(`\\s${name}="([\\d.]+)`).exec(root)?.[1] ?? 480);
  const [inner, tall] = [side("width"), side("height")];
  const width = Math.max(inner, LEAST) + 2 * PAD;
  const letters = Math.floor((width - 2 * PAD) / (FONT * CHARACTER));
  const caption = provenanceLines(provenance).flatMap((line) => wrapped(line, letters));
  const bottom = PAD + TITLE + tall;
  const height = Math.ceil(bottom + PAD / 2 + caption.length * LINE + PAD);
  const placed = svg.slice(svg.indexOf(root)).replace("<svg", `<svg x="${PAD}" y="${PAD + TITLE}"`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" fill="#17202a">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${PAD}" y="${PAD + 14}" font-size="15" font-weight="600">${escapeXml(provenance.title)}</text>`,
    placed,
    ...caption.map(
      (line, i) =>
        `<text x="${PAD}" y="${bottom + PAD / 2 + (i + 1) * LINE}" font-family="monospace" font-size="${FONT}" fill="#52606d">${escapeXml(line)}</text>`,
    ),
    "</svg>",
  ].join("\n");
}

/** Text in lines of at most so many characters, broken at spaces where there are some. */
function wrapped(text: string, most: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > most) {
    const space = rest.lastIndexOf(" ", most);
    const cut = space > most / 2 ? space : most;
    lines.push(rest.slice(0, cut));
    rest = rest.slice(cut).trimStart();
  }
  return [...lines, rest];
}

/** Pixels of the longest side of a picture that browsers draw. */
const LARGEST = 8192;

/** An SVG document as PNG, at twice its size where that can be drawn. @throws Error where the browser cannot draw it */
export async function png(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const scale = Math.min(2, LARGEST / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * image.naturalWidth);
  canvas.height = Math.round(scale * image.naturalHeight);
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob === null ? reject(new Error("the picture could not be drawn")) : resolve(blob)),
      "image/png",
    );
  });
}
