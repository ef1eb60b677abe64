const SIZE = /^<svg [^>]*?width="(\d+(?:\.\d+)?)" height="(\d+(?:\.\d+)?)"/;
const GAP = 24;

/** Pictures beside each other as one SVG document, on white. @param svgs documents with a width and height in pixels */
export function sideBySide(svgs: readonly string[]): string {
  const sizes = svgs.map((svg) => {
    const [, width, height] = SIZE.exec(svg) ?? [];
    if (width === undefined) throw new Error("a picture without its size");
    return { width: Number(width), height: Number(height) };
  });
  let left = 0;
  const placed = svgs.map((svg, i) => {
    const own = svg.replace(/^<svg /, `<svg x="${left}" y="0" `);
    left += sizes[i]!.width + GAP;
    return own;
  });
  const width = left - GAP;
  const height = Math.max(...sizes.map((size) => size.height));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...placed,
    "</svg>",
  ].join("\n");
}
