import { PALETTES } from "../../../../backend/common/figures/palette.ts";
import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { type LensLine, rankText, tokenText } from "./rows.ts";

const [ROW, TOP, LEFT, TOKEN] = [20, 26, 190, 92];
/** Characters of a token that are drawn. */
const MOST = 11;

/** The lens as an SVG document of its own on white, the first layer at the top. @param answers ids that are marked */
export function lensSvg(
  rows: readonly LensLine[],
  answers: { readonly answer: number | undefined; readonly wrong: number | undefined },
): string {
  const [against, helps] = PALETTES.light.lines;
  const tokens = Math.max(0, ...rows.map(({ top }) => top.length));
  const [width, height] = [LEFT + tokens * TOKEN + 8, TOP + rows.length * ROW + 8];
  const text = (x: number, y: number, words: string, anchor = "start"): string =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${escapeXml(words)}</text>`;
  const lines = rows.map(({ name, rank, difference, top }, r) => {
    const y = TOP + r * ROW;
    const cells = top.map((token, i) => {
      const { id } = token;
      const x = LEFT + i * TOKEN;
      const mark = id === answers.answer ? helps : id === answers.wrong ? against : undefined;
      const box = mark
        ? `<rect x="${x}" y="${y}" width="${TOKEN - 4}" height="${ROW - 3}" rx="2" fill="${mark}" fill-opacity="0.3"/>`
        : "";
      const shown = tokenText(token);
      return box + text(x + 4, y + 13, shown.length > MOST ? `${shown.slice(0, MOST - 1)}…` : shown);
    });
    return [
      text(40, y + 13, name, "end"),
      text(110, y + 13, rankText(rank), "end"),
      text(175, y + 13, difference.toFixed(2), "end"),
      ...cells,
    ].join("");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#17202a">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(40, 14, "layer", "end") + text(110, 14, "rank", "end") + text(175, 14, "difference", "end"),
    text(LEFT + 4, 14, "likeliest tokens"),
    ...lines,
    "</svg>",
  ].join("\n");
}
